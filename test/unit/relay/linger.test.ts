import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COLUMN, counterTable } from "../../../src/relay/counters.ts";
import { DataPlane } from "../../../src/relay/data-plane.ts";
import type { LinkHandler } from "../../../src/relay/filter.ts";
import { LINGER_MS } from "../../../src/relay/limits.ts";
import { cstring } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { connectPath, listen, unixSocket } from "../../../src/sys/unix-socket.ts";
import { Peer, Provider } from "../../support/relay-rig.ts";

/** The data plane in this thread, turned by hand, on a clock that can be moved. */
describe("a session of which one direction is over", () => {
  const folder = mkdtempSync(join(tmpdir(), "pvx-linger-"));
  const clock = performance.now.bind(performance);
  let ahead = 0;
  let number = 0;
  let plane: DataPlane;
  let provider: Provider;
  let consumer: Peer;
  let upstream: Peer;

  const turn = (times = 5) => {
    for (let i = 0; i < times; i++) plane.reactor.turn(0);
  };
  const pass = (ms: number) => {
    ahead += ms;
    turn();
  };
  const sessions = () => plane.counters[COLUMN.sessions];

  beforeEach(() => {
    ahead = 0;
    performance.now = () => clock() + ahead;
    provider = new Provider(join(folder, `p${++number}`));
    const handler: LinkHandler = {
      dialsAtAccept: true,
      exactFdPosition: true,
      maxFdsPerMessage: 253,
      dial() {
        const fd = unixSocket(1);
        connectPath(fd, provider.path);
        return { ok: true, fd };
      },
      open: () => undefined,
      configure() {},
      close() {},
    };
    const wakeFd = pvx.pvx_eventfd();
    plane = new DataPlane(
      { wakeFd, counters: counterTable(), fdLimit: 4096, splice: true, spin: false },
      { unix: () => handler },
      () => {},
    );
    const path = join(folder, `l${number}`);
    const listenFd = unixSocket(1);
    pvx.pvx_bind(listenFd, cstring(path), 0o666);
    listen(listenFd, 16);
    const link = { type: "unix", name: "n", consumer: "c", provider: "p", role: "any", interface: "i", target: "/t" };
    plane.obey({ op: "open-link", slot: 0, listenFd, seqpacket: false, link, config: {} });
    const fd = unixSocket(1);
    connectPath(fd, path);
    consumer = new Peer(fd);
    turn();
    upstream = provider.accept();
    expect(sessions()).toBe(1);
  });
  afterEach(() => {
    performance.now = clock;
    consumer.close();
    upstream.close();
    provider.close();
    if (number === 5) rmSync(folder, { recursive: true, force: true });
  });

  test("ends when no byte has moved for a minute", async () => {
    consumer.shutdown();
    turn();
    pass(LINGER_MS - 1000);
    expect(sessions()).toBe(1);
    pass(2000);
    expect(sessions()).toBe(0);
    expect(await upstream.next()).toBe("end");
  });

  test("goes on as long as bytes move in the other one", async () => {
    consumer.shutdown();
    turn();
    for (let i = 0; i < 5; i++) {
      pass(LINGER_MS - 1000);
      upstream.send("tick");
      turn();
      expect(await consumer.text(4)).toBe("tick");
    }
    expect(sessions()).toBe(1);
    pass(LINGER_MS + 1000);
    expect(sessions()).toBe(0);
  });

  test("ends when the consumer is gone and the provider never takes what it left behind", () => {
    const piece = new Uint8Array(65536);
    for (let i = 0; i < 50; i++) {
      consumer.send(piece);
      turn(1);
    }
    consumer.close();
    turn();
    expect(sessions()).toBe(1);
    pass(LINGER_MS + 1000);
    expect(sessions()).toBe(0);
    expect(plane.queuedBytes).toBe(0);
  });

  test("whole sessions stay, however long they are silent", () => {
    pass(100 * LINGER_MS);
    expect(sessions()).toBe(1);
  });

  test("a side that waits wakes nobody", () => {
    const piece = new Uint8Array(65536);
    for (let i = 0; i < 50; i++) {
      consumer.send(piece);
      turn(1);
    }
    consumer.shutdown(2);
    turn();
    // Each turn would return at once if anything were reported again and again.
    const start = clock();
    plane.reactor.turn(150);
    expect(clock() - start).toBeGreaterThan(140);
  });
});
