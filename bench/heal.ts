/** How long a link is away after a provider's container came back: from pv-ctrl knowing the new pid to the first byte. */
import { connect } from "node:net";
import { join } from "node:path";
import { type Container, startContainer } from "../test/support/containers.ts";
import { PvCtrl } from "../test/support/pv-ctrl.ts";
import { type Bed, BINARY } from "./bed.ts";

const PROVIDER_SOCKET = "/run/echo.sock";
const TARGET = "/run/link.sock";
/** Times between a container's death and its new pid in the graph: a quick restart, an ordinary one, a slow one. */
const AWAY_MS = [50, 300, 1000, 3000, 6000];
const GIVE_UP_MS = 15_000;

async function startProvider(): Promise<Container> {
  const provider = await startContainer({ name: "provider" });
  await provider.start(["peer", "serve", PROVIDER_SOCKET]).event("listening");
  return provider;
}

/** One byte there and back; false when it does not work now. */
function echoes(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => socket.write("x"));
    const end = (worked: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(worked);
    };
    const timer = setTimeout(() => end(false), 1000);
    socket.on("data", () => end(true));
    socket.on("error", () => end(false));
    socket.on("close", () => end(false));
  });
}

async function untilEchoes(path: string): Promise<number> {
  const started = performance.now();
  while (!(await echoes(path))) {
    if (performance.now() - started > GIVE_UP_MS) throw new Error(`Cannot measure healing: nothing answers at ${path}`);
    await Bun.sleep(1);
  }
  return performance.now() - started;
}

/**
 * Milliseconds, one for each of AWAY_MS: the better of two, since one scheduling delay of a shared
 * machine is as long as all of the wait that is looked for. Needs root.
 */
export async function measureHealing(bed: Bed): Promise<number[]> {
  const consumer = await startContainer({ name: "consumer" });
  let provider = await startProvider();
  const ctrl = await PvCtrl.start({ socket: bed.path("pv-ctrl") });
  const state = join(bed.folder, "heal-state");
  try {
    ctrl.setContainer("consumer", consumer.pid);
    ctrl.setContainer("provider", provider.pid);
    ctrl.setGraph([
      {
        type: "unix",
        name: "heal",
        role: "any",
        consumer: "consumer",
        provider: "provider",
        target: TARGET,
        socket: PROVIDER_SOCKET,
      },
    ]);
    bed.start([BINARY, "run", "--ctrl", ctrl.socket, "--state-dir", state, "--policy", state, "--log-level", "error"]);
    await untilEchoes(consumer.hostPath(TARGET));
    const times: number[] = AWAY_MS.map(() => Number.POSITIVE_INFINITY);
    for (let pass = 0; pass < 2; pass++)
      for (const [i, away] of AWAY_MS.entries()) {
        await provider.stop();
        provider = await startProvider();
        await Bun.sleep(away);
        ctrl.setContainer("provider", provider.pid);
        times[i] = Math.min(times[i] as number, await untilEchoes(consumer.hostPath(TARGET)));
      }
    return times;
  } finally {
    await ctrl.close();
    await provider.stop();
    await consumer.stop();
  }
}
