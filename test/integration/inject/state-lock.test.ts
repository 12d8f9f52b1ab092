import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { heldMessage, prepareStateDirectory, tryStateLock, waitForStateLock } from "../../../src/inject/state-lock.ts";
import { Program } from "../../support/program.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});
function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), "pvx-lock-"));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
function daemon(directory: string): Program {
  const program = new Program([process.execPath, join(import.meta.dir, "lock-holder.ts"), directory]);
  cleanups.push(() => program.stop());
  return program;
}

describe("the state directory", () => {
  test("is made 0700, with what is missing above it", () => {
    const top = scratch();
    prepareStateDirectory(`${top}/a/b/state`);
    expect(statSync(`${top}/a/b/state`).mode & 0o7777).toBe(0o700);
    expect(statSync(`${top}/a/b`).mode & 0o7777).toBe(0o755);
  });

  test("one that is there is closed to others", () => {
    const top = scratch();
    mkdirSync(`${top}/state`);
    chmodSync(`${top}/state`, 0o777);
    prepareStateDirectory(`${top}/state`);
    expect(statSync(`${top}/state`).mode & 0o7777).toBe(0o700);
  });

  test("a link, a file and somebody else's directory are refused with the reason", () => {
    const top = scratch();
    symlinkSync("/tmp", `${top}/link`);
    expect(() => prepareStateDirectory(`${top}/link`)).toThrow(
      `Cannot use ${top}/link as the state directory: it is a symbolic link`,
    );
    expect(statSync("/tmp").mode & 0o7777).toBe(0o1777);
    writeFileSync(`${top}/file`, "");
    expect(() => prepareStateDirectory(`${top}/file`)).toThrow("ENOTDIR");
    if (process.getuid?.() !== 0) return;
    mkdirSync(`${top}/theirs`, { mode: 0o755 });
    Bun.spawnSync(["chown", "1234", `${top}/theirs`]);
    expect(() => prepareStateDirectory(`${top}/theirs`)).toThrow("it belongs to uid 1234");
    expect(statSync(`${top}/theirs`).mode & 0o7777).toBe(0o755);
  });
});

describe("the state lock", () => {
  test("has one owner; the other says who it is, waits, and follows at once when that one is killed", async () => {
    const directory = scratch();
    const first = daemon(directory);
    await first.line(/^owner$/);
    const second = daemon(directory);
    expect(await second.line(/another/)).toBe(`another pv-xconnect (pid ${first.pid}) uses ${directory}`);
    await Bun.sleep(150);
    expect(second.stdout).not.toContain("owner");
    const killed = performance.now();
    first.signal("SIGKILL");
    await second.line(/^owner$/);
    expect(performance.now() - killed).toBeLessThan(1_000);
    expect(readFileSync(`${directory}/lock`, "utf8")).toBe(`${second.pid}\n`);
  });

  test("can be asked for without waiting", async () => {
    const directory = scratch();
    const first = daemon(directory);
    await first.line(/^owner$/);
    const held = tryStateLock(directory);
    if ("release" in held) throw new Error("two owners");
    expect(held.heldBy).toBe(first.pid);
    expect(heldMessage(directory, held)).toContain(`(pid ${first.pid})`);
    first.closeInput();
    await first.line(/^released$/);
    const lock = tryStateLock(directory);
    if (!("release" in lock)) throw new Error("still held");
    lock.release();
    lock.release();
  });

  test("a lock file that is a link is not followed", () => {
    const directory = scratch();
    writeFileSync(`${directory}/precious`, "precious");
    symlinkSync("precious", `${directory}/lock`);
    expect(() => tryStateLock(directory)).toThrow("ELOOP");
    expect(readFileSync(`${directory}/precious`, "utf8")).toBe("precious");
  });

  test("waiting ends when it is told to", async () => {
    const directory = scratch();
    const lock = tryStateLock(directory);
    const abort = new AbortController();
    const waiting = waitForStateLock(directory, {
      signal: abort.signal,
      onWait: () => abort.abort(new Error("enough")),
    });
    expect(waiting).rejects.toThrow("enough");
    await waiting.catch(() => {});
    if ("release" in lock) lock.release();
  });
});
