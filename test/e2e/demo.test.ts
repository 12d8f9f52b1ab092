/** `make demo` is the first thing that a person sees: it must end well, and leave nothing behind however it ends. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../support/native.ts";
import { Program, run } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

const DEMO = [process.execPath, join(ROOT, "scripts/demo.ts")];
const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };

/** The demo's own folder, as it named it: other runs may have theirs at the same time. */
const folderOf = (output: string) => /\/tmp\/pvx-demo-[^/)]+/.exec(output)?.[0] ?? "no folder was named";
/** Pids of processes whose command line has `word`. */
function processes(word: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(word);
      } catch {
        return false;
      }
    });
}

describe.skipIf(!requireRealPart("root", "busybox"))("make demo", () => {
  test("shows each step with its time, exits 0, and leaves nothing behind", async () => {
    const { code, stdout, stderr } = await run(DEMO, { env, ms: 60_000 });
    expect(stderr).toBe("");
    expect(code).toBe(0);
    for (const line of [
      /app:\/run\/pv\/services\/network-manager.sock {2}-> {2}network-manager:\/run\/nm\/api.sock/,
      /[\d.]+ ms after its start the socket is inside the consumer/,
      /srw-rw-rw- .* \/run\/pv\/services\/network-manager.sock/,
      /app sent "hello from app" and had it back/,
      /50 messages with 28 descriptors each: all in order, each at its own byte/,
      /[\d.]+ ms after pv-ctrl knew the new pid \d+, bytes went through again/,
      /established +app +network-manager +unix/,
      /exit 0 after [\d.]+ ms, and the socket is gone/,
    ])
      expect(stdout).toMatch(line);
    expect(stdout).not.toContain("\x1b["); // No terminal, no colours.
    expect(folderOf(stdout)).toStartWith("/tmp/pvx-demo-");
    expect(existsSync(folderOf(stdout))).toBe(false);
    expect(processes(folderOf(stdout))).toEqual([]);
  }, 70_000);

  test("cleans up when it is interrupted", async () => {
    const demo = new Program(DEMO, { env });
    await demo.line(/the socket is inside the consumer/);
    const folder = folderOf(demo.stdout.join("\n"));
    demo.signal("SIGINT");
    expect((await demo.finished()).code).toBe(130);
    expect(existsSync(folder)).toBe(false);
    expect(processes(folder)).toEqual([]);
  });

  test("says why when it is not root", async () => {
    const { code, stderr } = await run(["setpriv", "--reuid=65534", "--clear-groups", ...DEMO], {
      env: { ...env, HOME: "/tmp" },
    });
    expect(stderr).toContain("makes containers (mount, pid and user namespaces) and plants sockets in them");
    expect(code).toBe(1);
  });
});
