/**
 * One link served by a real data plane, as a program of its own: what a mediator's control
 * half would set up, without a graph. For integration tests and benches of one link type.
 *
 * argv: JSON of `ServeOptions`. Prints `{"event":"serving"}`, then every event of the link as a
 * line of JSON. Each line on stdin is a new config; "counters" prints the link's counters.
 */
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";
import type { LinkIdentity } from "../../src/relay/filter.ts";
import { PlaneClient } from "../../src/relay/plane-client.ts";
import { SOCK_STREAM } from "../../src/sys/flags.ts";
import { bindAt, listen, unixSocket } from "../../src/sys/unix-socket.ts";
import { openDirectory } from "./open-directory.ts";

export interface ServeOptions {
  readonly directory: string;
  readonly name: string;
  readonly link: LinkIdentity;
  readonly config: unknown;
}

const say = (event: object): void => console.log(JSON.stringify(event));
const { directory, name, link, config } = JSON.parse(process.argv[2]!) as ServeOptions;

const plane = new PlaneClient(new URL("../../src/dataplane.ts", import.meta.url), 4096, {
  onLink: (_slot, event) => say(event),
  onFatal: (error) => {
    console.error(error);
    process.exit(1);
  },
});
await plane.ready();
rmSync(`${directory}/${name}`, { force: true });
const dir = openDirectory(directory);
const fd = unixSocket(SOCK_STREAM);
bindAt(fd, dir, name, 0o666);
listen(fd, 128);
const slot = plane.open(fd, false, link, config);
say({ event: "serving", pid: process.pid });
createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line === "counters") say({ event: "counters", counters: plane.counters(slot) });
    else plane.configure(slot, JSON.parse(line));
  })
  .on("close", () => process.exit(0));
