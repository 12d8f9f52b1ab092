import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PvCtrlSource } from "../../../src/graph/pv-ctrl-source.ts";
import { NO_POLICY } from "../../../src/policy/schema.ts";
import { Controller } from "../../../src/reconcile/controller.ts";
import { ProcessWatch } from "../../../src/reconcile/process-watch.ts";
import { systemClock } from "../../../src/reconcile/system-clock.ts";
import { MemoryMediator } from "../../support/memory-mediator.ts";
import { entry } from "../../support/memory-source.ts";
import { PvCtrl } from "../../support/pv-ctrl.ts";

/** Real processes, a real socket and the real clock; only the planting is noted instead of done. */
let directory: string;
let socket: string;
let ctrl: PvCtrl | undefined;
let unix: MemoryMediator;
let controller: Controller;
const children: Bun.Subprocess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-restart-"));
  socket = join(directory, "pv-ctrl");
  unix = new MemoryMediator();
  controller = new Controller({
    source: new PvCtrlSource(socket),
    mediators: new Map([[unix.type, unix]]),
    watch: new ProcessWatch(),
    policy: NO_POLICY,
    clock: systemClock,
    random: Math.random,
    intervalMs: 5000,
    log: { log() {} },
  });
});
afterEach(async () => {
  await controller.stop(1000);
  await ctrl?.close();
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

function container(): Bun.Subprocess {
  const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
  children.push(child);
  return child;
}
async function until(what: () => boolean, withinMs = 2000): Promise<number> {
  const start = performance.now();
  while (!what()) {
    if (performance.now() - start > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await Bun.sleep(1);
  }
  return performance.now() - start;
}
const state = () => controller.status()[0]?.state;

test("a socket that appears some milliseconds after the start is found at once", async () => {
  const [app, backend] = [container(), container()];
  ctrl = await PvCtrl.start({ socket, lateMs: 20, mode: { notLoaded: 2 } });
  ctrl.setGraph([entry("app", app.pid, "backend", backend.pid)]);
  controller.start();
  expect(await until(() => state() === "established")).toBeLessThan(150);
});

test("a consumer that restarts is planted again within 50 ms of its pid being in the graph, over HTTP/1.0 as well", async () => {
  const took: number[] = [];
  let app = container();
  const backend = container();
  ctrl = await PvCtrl.start({ socket, mode: { version: "1.0" } });
  ctrl.setGraph([entry("app", app.pid, "backend", backend.pid)]);
  controller.start();
  await until(() => state() === "established");
  for (let round = 0; round < 6; round++) {
    app.kill("SIGKILL");
    await until(() => state() === "pending");
    await Bun.sleep(60 + 17 * round);
    app = container();
    ctrl.setContainer("app", app.pid);
    took.push(await until(() => state() === "established"));
  }
  const worst = Math.max(...took);
  console.log(`consumer back in the graph to established, ms: ${took.map((ms) => ms.toFixed(0)).join(" ")}`);
  expect(worst).toBeLessThan(50);
});

test("a provider that restarts is dialled again within 50 ms of its pid being in the graph", async () => {
  const app = container();
  let backend = container();
  ctrl = await PvCtrl.start({ socket });
  ctrl.setGraph([entry("app", app.pid, "backend", backend.pid)]);
  controller.start();
  await until(() => state() === "established");
  const asked = ctrl.requests.length;
  backend.kill("SIGKILL");
  await until(() => state() === "degraded");
  await until(() => (ctrl?.requests.length ?? 0) > asked, 50);
  await Bun.sleep(100);
  backend = container();
  ctrl.setContainer("backend", backend.pid);
  expect(await until(() => state() === "established")).toBeLessThan(50);
  expect([...unix.standing][0]?.config.providerPid).toBe(backend.pid);
  expect(unix.calls.filter((call) => call.startsWith("establish"))).toHaveLength(1);
});
