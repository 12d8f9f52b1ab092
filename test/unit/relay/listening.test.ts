import { afterAll, afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COLUMN, counterTable } from "../../../src/relay/counters.ts";
import { DataPlane } from "../../../src/relay/data-plane.ts";
import type { LinkHandler } from "../../../src/relay/filter.ts";
import { LISTEN_RETRY_MS } from "../../../src/relay/limits.ts";
import type { FromDataPlane } from "../../../src/relay/messages.ts";
import { cstring } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { connectPath, listen, unixSocket } from "../../../src/sys/unix-socket.ts";

/** epoll_ctl(2) refuses a regular file (EPERM) as it does a watch for which there is no room (ENOSPC). */
const folder = mkdtempSync(join(tmpdir(), "pvx-listening-"));
const clock = performance.now.bind(performance);
let ahead = 0;
let number = 0;
let said: (string | null)[];
let plane: DataPlane;

beforeEach(() => {
  performance.now = () => clock() + ahead;
  said = [];
  const handler: LinkHandler = {
    dialsAtAccept: false,
    exactFdPosition: false,
    maxFdsPerMessage: 0,
    dial: () => ({ ok: false, retry: false, reason: "nobody is there" }),
    open: () => undefined,
    configure() {},
    close() {},
  };
  const tell = (message: FromDataPlane) => {
    if (message.event === "serving") said.push(message.trouble);
  };
  const start = { wakeFd: pvx.pvx_eventfd(), counters: counterTable(), fdLimit: 1024, splice: false, spin: false };
  plane = new DataPlane(start, { test: () => handler }, tell);
});
afterEach(() => {
  plane.obey({ op: "close-link", slot: 0 });
  performance.now = clock;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const refused = () => openSync(join(folder, "refused"), "w");

/** A listening socket with one consumer in its queue. */
function waitedOn(): number {
  const path = join(folder, `s${++number}`);
  const fd = unixSocket(1);
  expect(pvx.pvx_bind(fd, cstring(path), 0o666)).toBe(0);
  listen(fd, 8);
  connectPath(unixSocket(1), path);
  return fd;
}
function open(listenFd: number): void {
  const link = { type: "test", name: "n", consumer: "c", provider: "p", role: "r", interface: "", target: "/t" };
  plane.obey({ op: "open-link", slot: 0, listenFd, seqpacket: false, link, config: {} });
}
const turn = () => {
  for (let i = 0; i < 3; i++) plane.reactor.turn(0);
};
const served = () => plane.counters[COLUMN.sessions_total];

test("a link whose socket can't be waited on says so, and is served as soon as it can be", () => {
  const fd = refused();
  open(fd);
  expect(said).toEqual([`Cannot wait for consumers: epoll_ctl(ADD, ${fd}): EPERM`]);
  ahead += LISTEN_RETRY_MS;
  turn();
  expect(said).toHaveLength(1);
  // The kernel has room again: here, a socket takes the number.
  closeSync(fd);
  const socket = waitedOn();
  if (socket !== fd) {
    expect(pvx.pvx_dup(socket)).toBe(fd);
    pvx.pvx_close(socket);
  }
  ahead += LISTEN_RETRY_MS;
  turn();
  expect(said).toEqual([said[0]!, null]);
  expect(served()).toBe(1);
});

test("another listening socket ends the trouble at once, and one that can't be waited on breaks nothing", () => {
  open(waitedOn());
  turn();
  expect([said, served()]).toEqual([[], 1]);
  plane.obey({ op: "replace-listener", slot: 0, listenFd: refused(), seqpacket: false });
  expect(said).toHaveLength(1);
  plane.obey({ op: "replace-listener", slot: 0, listenFd: waitedOn(), seqpacket: false });
  turn();
  expect(said).toEqual([said[0]!, null]);
  expect(served()).toBe(2);
  ahead += LISTEN_RETRY_MS;
  turn();
  expect(said).toHaveLength(2);
});
