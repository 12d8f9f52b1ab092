/** `make demo` is the first thing that a person sees: it must end well, and leave nothing behind however it ends. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../support/native.ts";
import { Program, run } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

const DEMO = [process.execPath, join(ROOT, "scripts/demo.ts")];
const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };

const leftovers = () => readdirSync("/tmp").filter((name) => /^pvx-(?:demo|container)-/.test(name));
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
    const before = leftovers();
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
    expect(leftovers()).toEqual(before);
  }, 70_000);

  test("cleans up when it is interrupted", async () => {
    const before = leftovers();
    const demo = new Program(DEMO, { env });
    await demo.line(/the socket is inside the consumer/);
    const folder = demo.stdout.join("\n").match(/\/tmp\/pvx-demo-[^/]+/)?.[0] ?? "no folder was named";
    demo.signal("SIGINT");
    expect((await demo.finished()).code).toBe(130);
    expect(leftovers()).toEqual(before);
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
