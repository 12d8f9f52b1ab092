/** SIGTERM with many links: nothing of what was planted is left, and the daemon says so by its exit code. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compiled } from "../support/binary.ts";
import { startContainer } from "../support/containers.ts";
import { Program } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

const LINKS = 600;
const folder = mkdtempSync(join(tmpdir(), "pvx-stop-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!requireRealPart("root", "busybox"))("the compiled binary on SIGTERM", () => {
  test(`takes ${LINKS} sockets of three consumers away, and exits 0`, async () => {
    const consumers = await Promise.all(["a", "b", "c"].map((name) => startContainer({ name })));
    const provider = await startContainer({ name: "provider" });
    const serving = provider.start(["peer", "serve", "/run/api.sock", "--mode", "echo"]);
    await serving.event("listening");
    const graph = Array.from({ length: LINKS }, (_, i) => ({
      type: "unix",
      name: `s${i}`,
      consumer: consumers[i % 3]!.name,
      consumer_pid: consumers[i % 3]!.pid,
      provider: "provider",
      provider_pid: provider.pid,
      socket: "/run/api.sock",
      target: `/run/links/s${i}.sock`,
    }));
    writeFileSync(join(folder, "graph.json"), JSON.stringify(graph));
    mkdirSync(join(folder, "policy"));
    const flags = ["--graph", join(folder, "graph.json"), "--state-dir", join(folder, "state")];
    const daemon = new Program([compiled(), "run", ...flags, "--policy", join(folder, "policy"), "--interval", "60"]);
    const standing = () =>
      consumers.flatMap(({ hostPath }) => {
        try {
          return readdirSync(hostPath("/run/links"));
        } catch {
          return [];
        }
      });
    const sockets = () => standing().filter((name) => /^s\d+\.sock$/.test(name)).length;
    const end = performance.now() + 30_000;
    while (sockets() < LINKS && performance.now() < end) await Bun.sleep(20);
    expect(sockets()).toBe(LINKS);
    process.kill(daemon.pid, "SIGTERM");
    const done = await daemon.finished(10_000);
    expect(done.code).toBe(0);
    expect(standing()).toEqual([]);
    for (const box of [...consumers, provider]) await box.stop();
  }, 60_000);
});
