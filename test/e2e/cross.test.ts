/** The binaries of `make cross`: each with the native parts of its own architecture, and the foreign one really works. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compiled } from "../support/binary.ts";
import { nativeProgram, ROOT } from "../support/native.ts";
import { Program, run } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

/** e_machine of the ELF header (elf(5)): EM_X86_64, EM_AARCH64. */
const MACHINE = { x86_64: 62, aarch64: 183 } as const;
const NATIVE = { x86_64: "x64", aarch64: "arm64" } as const;
/** What emulation costs: the daemon's start takes seconds under qemu on a busy machine. */
const EMULATED_MS = 60_000;

/** The aarch64 binary's command line on this machine. */
function aarch64(...argv: readonly string[]): string[] {
  const binary = compiled("aarch64");
  return process.arch === "arm64"
    ? [binary, ...argv]
    : ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", binary, ...argv];
}

describe.each(["x86_64", "aarch64"] as const)("the binary for %s", (machine) => {
  test("is for that machine, and holds its own shim and koffi addon and not the other's", () => {
    const binary = readFileSync(compiled(machine));
    expect(binary.readUInt16LE(18)).toBe(MACHINE[machine]);
    const other = machine === "x86_64" ? "aarch64" : "x86_64";
    for (const part of ["libpvx.so", "koffi.addon"]) {
      const has = (which: typeof machine) =>
        binary.includes(readFileSync(join(ROOT, "build/native", NATIVE[which], part)));
      expect([part, has(machine), has(other)]).toEqual([part, true, false]);
    }
  });
});

const emulated = process.arch === "arm64" || requireRealPart("qemu-aarch64", "aarch64-libc");
describe.skipIf(!emulated || !requireRealPart("root"))("the aarch64 binary, emulated", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "pvx-cross-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test(
    "says its version and architecture",
    async () => {
      const { code, stdout } = await run(aarch64("version", "--json"), { ms: EMULATED_MS });
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ arch: "arm64" });
    },
    EMULATED_MS,
  );

  test(
    "mediates a unix link between host-side peers: bytes, descriptors in order, and a clean end",
    async () => {
      const provider = join(folder, "provider.sock");
      const target = join(folder, "consumer.sock");
      const graph = join(folder, "graph.json");
      const peers = { consumer: "app", consumer_pid: 0, provider: "service", provider_pid: 0 };
      writeFileSync(
        graph,
        JSON.stringify([{ type: "unix", name: "echo", role: "any", ...peers, target, socket: provider }]),
      );
      const echo = new Program([nativeProgram("peer"), "serve", provider]);
      await echo.event("listening");
      const daemon = new Program(
        aarch64("run", "--graph", graph, "--state-dir", join(folder, "state"), "--policy", join(folder, "none")),
      );
      try {
        const end = performance.now() + EMULATED_MS;
        while (!existsSync(target) && daemon.running && performance.now() < end) await Bun.sleep(20);
        const sent = await run(
          [
            nativeProgram("peer"),
            "send",
            target,
            "--messages",
            "20",
            "--size",
            "5000",
            "--fds",
            "5",
            "--timeout-ms",
            "30000",
          ],
          {
            ms: EMULATED_MS,
          },
        );
        expect(`${sent.stdout}\n${daemon.stdout.join("\n")}`).toContain('"event":"done"');
        expect(JSON.parse(sent.stdout)).toMatchObject({
          bytes: 100_000,
          fds: 100,
          exact: 100,
          in_order: true,
          intact: true,
        });
        daemon.signal("SIGTERM");
        expect((await daemon.finished(EMULATED_MS)).code).toBe(0);
        expect(existsSync(target)).toBe(false);
      } finally {
        await daemon.stop();
        await echo.stop();
      }
    },
    3 * EMULATED_MS,
  );
});
