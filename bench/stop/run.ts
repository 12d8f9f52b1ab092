/**
 * run.ts [--links N] [--rounds N] [--json]: how long a daemon takes from SIGTERM to its exit, with so many
 * sockets planted in five containers, and what of them is left then. Needs root, which it says where it is missing.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Container, startContainer } from "../../test/support/containers.ts";
import { Program } from "../../test/support/program.ts";
import { BINARY } from "../bed.ts";
import { printBars } from "../figures.ts";

const { values: flags } = parseArgs({
  options: {
    links: { type: "string", default: "5000" },
    rounds: { type: "string", default: "1" },
    seconds: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const LINKS = Number(flags.links);
const CONSUMERS = 5;
const PLANT_MS = 120_000;

const folder = mkdtempSync(join(tmpdir(), "pvx-bench-stop-"));

function standing(consumers: readonly Container[]): number {
  let count = 0;
  for (const { hostPath } of consumers) {
    try {
      count += readdirSync(hostPath("/run/links")).filter((name) => name.endsWith(".sock")).length;
    } catch {
      // Nothing planted there yet.
    }
  }
  return count;
}

async function round(consumers: readonly Container[], provider: Container): Promise<{ ms: number; left: number }> {
  const graph = Array.from({ length: LINKS }, (_, i) => {
    const { name: consumer, pid } = consumers[i % CONSUMERS] as Container;
    return {
      type: "unix",
      name: `s${i}`,
      consumer,
      consumer_pid: pid,
      provider: provider.name,
      provider_pid: provider.pid,
      socket: "/run/api.sock",
      target: `/run/links/s${i}.sock`,
    };
  });
  writeFileSync(join(folder, "graph.json"), JSON.stringify(graph));
  mkdirSync(join(folder, "policy"), { recursive: true });
  const files = ["--graph", join(folder, "graph.json"), "--state-dir", join(folder, "state")];
  const daemon = new Program([BINARY, "run", ...files, "--policy", join(folder, "policy"), "--log-level", "warn"]);
  const end = performance.now() + PLANT_MS;
  while (standing(consumers) < LINKS) {
    if (performance.now() > end) throw new Error(`Cannot measure the end: ${standing(consumers)} of ${LINKS} planted`);
    await Bun.sleep(50);
  }
  await Bun.sleep(1000);
  const started = performance.now();
  process.kill(daemon.pid, "SIGTERM");
  const { code } = await daemon.finished(30_000);
  if (code !== 0) throw new Error(`Cannot measure the end: exit ${code}`);
  return { ms: performance.now() - started, left: standing(consumers) };
}

if (process.getuid?.() !== 0) console.log("the end of a daemon: not measured, its containers need root");
else {
  const consumers = await Promise.all(Array.from({ length: CONSUMERS }, (_, i) => startContainer({ name: `app${i}` })));
  const provider = await startContainer({ name: "provider" });
  await provider.start(["peer", "serve", "/run/api.sock", "--mode", "echo"]).event("listening");
  const rounds: { ms: number; left: number }[] = [];
  for (let i = 0; i < Number(flags.rounds); i++) rounds.push(await round(consumers, provider));
  if (flags.json) console.log(JSON.stringify({ stop: { links: LINKS, rounds } }));
  else {
    console.log(`\nSIGTERM with ${LINKS} links in ${CONSUMERS} containers, the slowest of ${rounds.length}:\n`);
    const [ms, left] = [Math.max(...rounds.map((r) => r.ms)), Math.max(...rounds.map((r) => r.left))];
    printBars([
      { what: "SIGTERM to exit 0", measured: ms, bar: 1000, kind: "most", unit: "ms" },
      { what: "sockets left", measured: left, bar: 0, kind: "most", unit: "" },
    ]);
  }
  for (const box of [...consumers, provider]) await box.stop();
}
rmSync(folder, { recursive: true, force: true });
