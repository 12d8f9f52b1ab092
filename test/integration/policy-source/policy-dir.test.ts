import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lookupService } from "../../../src/policy/merge.ts";
import { PolicyDir } from "../../../src/policy-source/policy-dir.ts";
import { withoutFds } from "../../support/without-fds.ts";

let directory: string;
let dir: PolicyDir;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-policy-"));
  dir = new PolicyDir(directory);
});
afterEach(() => {
  dir.close();
  rmSync(directory, { recursive: true, force: true });
});
function write(name: string, services: unknown): void {
  const text = typeof services === "string" ? services : JSON.stringify({ "#spec": "xconnect-policy@1", services });
  writeFileSync(join(directory, name), text);
}
const UNIX = { type: "unix", roles: { any: {} } };
const kind = (name: string, policy = dir.load()) => lookupService(policy, name).kind;

describe("a policy directory", () => {
  test("that does not exist, or is empty, is no policy", () => {
    expect(dir.load().errors).toEqual([]);
    expect(kind("a", new PolicyDir(join(directory, "nowhere")).load())).toBe("defaults");
  });
  test("is all its JSON files and nothing else", () => {
    write("10-a.json", { a: UNIX });
    write("20-b.json", { b: UNIX });
    write("c.json~", { c: UNIX });
    write(".d.json", { d: UNIX });
    const policy = dir.load();
    expect([...policy.services.keys()]).toEqual(["a", "b"]);
  });
  test("keeps what was good when a file breaks, and takes the repaired one", () => {
    write("a.json", { a: UNIX });
    expect(kind("a")).toBe("policy");
    write("a.json", "{");
    const broken = dir.load();
    expect(kind("a", broken)).toBe("policy");
    expect(broken.errors[0]).toStartWith(`${directory}/a.json: the text ends here`);
    write("a.json", { b: UNIX });
    expect(kind("a")).toBe("defaults");
    expect(kind("b")).toBe("policy");
  });
  test("refuses every service without a policy while a file can't be read at all", () => {
    write("a.json", { a: UNIX });
    mkdirSync(join(directory, "b.json"));
    const policy = dir.load();
    expect(policy.errors).toEqual([`${directory}/b.json: is not a regular file`]);
    expect(kind("a", policy)).toBe("policy");
    expect(kind("c", policy)).toBe("refused");
  });
  test("that becomes unreadable keeps what was good and refuses the rest", () => {
    write("a.json", { a: UNIX });
    dir.load();
    rmSync(directory, { recursive: true });
    writeFileSync(directory, "");
    const policy = dir.load();
    expect(kind("a", policy)).toBe("policy");
    expect(kind("c", policy)).toBe("refused");
    expect(policy.errors).toEqual([`${directory}: readdir: ENOTDIR`]);
  });
  test("that can't be read for want of fds stays as it was, and is read again when there are some", async () => {
    write("a.json", { a: UNIX });
    dir.load();
    let told = 0;
    dir.onChange(() => {
      told++;
      dir.load();
    });
    write("b.json", { b: UNIX });
    const policy = withoutFds(() => dir.load());
    expect(kind("a", policy)).toBe("policy");
    expect(kind("c", policy)).toBe("defaults");
    expect(policy.errors).toEqual([`Cannot read ${directory} now (EMFILE): the policy from before stays in force`]);
    const end = performance.now() + 8_000;
    while (told === 0 && performance.now() < end) await Bun.sleep(20);
    expect(kind("b")).toBe("policy");
    // Then it is quiet.
    const before = told;
    await Bun.sleep(2_500);
    expect(told).toBe(before);
  }, 20_000);
  test("with bytes that are no UTF-8, or with more than a megabyte, is broken", () => {
    writeFileSync(join(directory, "a.json"), new Uint8Array([0x7b, 0xff]));
    writeFileSync(join(directory, "b.json"), new Uint8Array(1024 * 1024 + 1).fill(0x20));
    expect(dir.load().errors).toEqual([
      `${directory}/a.json: is not UTF-8`,
      `${directory}/b.json: has more than 1048576 bytes`,
    ]);
  });
  test.each<[string, () => void]>([
    ["written", () => write("a.json", { a: UNIX })],
    [
      "replaced",
      () => {
        write("a.json.new", { a: UNIX });
        renameSync(join(directory, "a.json.new"), join(directory, "a.json"));
      },
    ],
    ["removed", () => rmSync(join(directory, "old.json"))],
  ])("tells at once that a file was %s", async (_, change) => {
    write("old.json", {});
    const seen = Promise.withResolvers<number>();
    const start = performance.now();
    dir.onChange(() => seen.resolve(performance.now() - start));
    change();
    expect(await Promise.race([seen.promise, Bun.sleep(1500).then(() => 9999)])).toBeLessThan(500);
  });
});
