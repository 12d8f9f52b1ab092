/** Plants, replaces, dials and removes a socket on the host, and prints what came of it as one line of JSON. */
import { readdirSync, statSync } from "node:fs";
import { Journal } from "../../../src/inject/journal.ts";
import { ProviderDialer, probeSocketType } from "../../../src/inject/provider.ts";
import { ContainerRoot } from "../../../src/inject/root.ts";
import { plantSocket, removeSocket, verifySocket } from "../../../src/inject/socket.ts";
import { canGuard } from "../../../src/sys/guarded.ts";
import { ProcessHandle } from "../../../src/sys/process.ts";
import { openFds } from "../../support/open-fds.ts";

const directory = process.argv[2] ?? "";
const journal = new Journal(directory, "boot");
const root = ContainerRoot.host();
const target = `${directory}/x/y/a.sock`;
const first = plantSocket({ root, target, seqpacket: false, journal });
const fds = openFds();
const second = plantSocket({ root, target, seqpacket: false, journal, previous: first });
const verdict = verifySocket(root, second);
const dialer = new ProviderDialer({ pid: 0, path: target, seqpacket: false });
const dialled = dialer.dial();
const probe = probeSocketType({ pid: 0, path: target, seqpacket: false });
const names = readdirSync(`${directory}/x/y`);
const mode = statSync(target).mode & 0o7777;
const removed = removeSocket(root, second, journal) ?? "removed";
let refused = "";
try {
  plantSocket({
    root: ContainerRoot.of(new ProcessHandle(Number(process.argv[3])), 'consumer "app"'),
    target: "/run/a.sock",
    seqpacket: false,
    journal,
  });
} catch (error) {
  refused = (error as Error).message;
}
console.log(
  JSON.stringify({
    canGuard: canGuard(),
    verdict: verdict.state,
    dialled: dialled.ok,
    probe,
    names,
    mode,
    removed,
    left: readdirSync(`${directory}/x/y`),
    // The second listening socket and the dialled one.
    fds: openFds() - fds,
    cwd: process.cwd(),
    umask: process.umask(),
    refused,
  }),
);
process.exit(0);
