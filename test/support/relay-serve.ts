/**
 * The relay's data plane as a program: what relay-rig.ts drives.
 *
 * argv: JSON of `{ fdLimit, splice }`. Each line on stdin is an order with an `id`, answered by
 * `{"event":"reply","id":...}`; what links say comes as `{"event":"link","slot":...,"said":...}`.
 */
import { createInterface } from "node:readline";
import type { LinkIdentity } from "../../src/relay/filter.ts";
import { PlaneClient } from "../../src/relay/plane-client.ts";
import { checked } from "../../src/sys/errno.ts";
import { cstring } from "../../src/sys/memory.ts";
import { pvx } from "../../src/sys/shim.ts";
import { listen, unixSocket } from "../../src/sys/unix-socket.ts";

export type RigOrder =
  | { op: "open"; path: string; type: number; link: LinkIdentity; config: unknown }
  | { op: "replace"; slot: number; path: string; type: number }
  | { op: "configure"; slot: number; config: unknown }
  | { op: "close"; slot: number }
  | { op: "counters"; slot: number };

const say = (event: object): void => console.log(JSON.stringify(event));
const { fdLimit, splice } = JSON.parse(process.argv[2]!) as { fdLimit: number; splice?: boolean };

const plane = new PlaneClient(
  new URL("./relay-worker.ts", import.meta.url),
  fdLimit,
  {
    onLink: (slot, said) => say({ event: "link", slot, said }),
    onFatal: (error) => {
      say({ event: "fatal", error: String(error) });
      process.exit(1);
    },
  },
  splice,
);

function listenAt(path: string, type: number): number {
  const fd = unixSocket(type);
  checked(pvx.pvx_bind(fd, cstring(path), 0o666), () => `bind(${path})`);
  listen(fd, 4096);
  return fd;
}

async function obey(order: RigOrder): Promise<unknown> {
  switch (order.op) {
    case "open":
      return plane.open(listenAt(order.path, order.type), order.type === 5, order.link, order.config);
    case "replace":
      return plane.replaceListener(order.slot, listenAt(order.path, order.type), order.type === 5);
    case "configure":
      return plane.configure(order.slot, order.config);
    case "close":
      return plane.close(order.slot);
    case "counters":
      return plane.counters(order.slot);
  }
}

await plane.ready();
say({ event: "ready", pid: process.pid });
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const order = JSON.parse(line) as RigOrder & { id: number };
    void obey(order).then((value) => say({ event: "reply", id: order.id, value: value ?? null }));
  })
  .on("close", () => process.exit(0));
