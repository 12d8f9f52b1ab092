/** The filter in the real relay, over real sockets, against a compositor that does as the test says. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { fstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { encodeMessage } from "../../../src/protocol/wayland/wire.ts";
import { cstring } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { type FakeClient, FakeCompositor } from "../../support/fake-compositor.ts";
import { RawClient } from "../../support/wayland-client.ts";
import { ServedLink } from "../../support/wayland-link.ts";
import { client, joined, server } from "../../support/wayland-session.ts";
import { until } from "../../support/wayland-socket.ts";

const SCREENCOPY = "zwlr_screencopy_manager_v1";
let directory: string;
let compositor: FakeCompositor;
let link: ServedLink;
const clients: RawClient[] = [];

beforeAll(async () => {
  directory = mkdtempSync("/tmp/pvx-wayland-");
  compositor = new FakeCompositor(`${directory}/compositor`, [
    [1, "wl_compositor", 5],
    [2, SCREENCOPY, 3],
    [3, "wl_shm", 1],
  ]);
  link = await ServedLink.start(directory, "consumer", `${directory}/compositor`);
});
afterEach(() => {
  for (const c of clients.splice(0)) c.close();
});
afterAll(async () => {
  await link.stop();
  compositor.stop();
  rmSync(directory, { recursive: true });
});

/** A client through the link, and what the compositor has of it. */
async function connected(): Promise<{ raw: RawClient; fake: FakeClient }> {
  const before = compositor.clients.length;
  const raw = new RawClient(link.path);
  clients.push(raw);
  const fake = await until("the session reaches the compositor", () => compositor.clients[before]);
  return { raw, fake };
}
const requestsOf = (fake: FakeClient) => fake.requests.map((r) => [r.id, r.opcode, r.body.length]);
const inode = (fd: number): number => fstatSync(fd).ino;
/** Files that can be told apart wherever they arrive. Close them. */
function files(n: number): number[] {
  return Array.from({ length: n }, () => pvx.pvx_memfd(cstring("wayland-test")));
}
const closeAll = (fds: readonly number[]): void => {
  for (const fd of fds) pvx.pvx_close(fd);
};
const daemonFds = (): number => readdirSync(`/proc/${link.program.pid}/fd`).length;
const daemonRss = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${link.program.pid}/status`, "utf8"))![1]) * 1024;

describe("a client of the link", () => {
  test("sees the role's globals and is refused the rest with libwayland's error", async () => {
    const { raw, fake } = await connected();
    const { registry, shown } = await raw.globals();
    expect(shown).toEqual(["1 wl_compositor v5", "3 wl_shm v1"]);
    raw.send(client.bind(registry, 2, SCREENCOPY, 1, raw.newId()));
    expect(await raw.ended()).toBe("closed");
    expect(raw.errors).toEqual([`error ${registry} 0 invalid global ${SCREENCOPY} (2)`]);
    expect(fake.binds).toEqual([]);
    const denied = await link.program.event<{ record: unknown }>("denied");
    expect(denied.record).toMatchObject({ action: "wayland.bind", asked: { interface: SCREENCOPY, hidden: true } });
  });
  test("hears of globals that come and go, but for hidden ones", async () => {
    const { raw } = await connected();
    const { registry } = await raw.globals();
    const before = raw.messages.length;
    compositor.announce([10, "wl_output", 4]);
    compositor.announce([11, "zwlr_virtual_pointer_manager_v1", 2]);
    compositor.remove(11);
    compositor.remove(10);
    await until("two events come", () => raw.messages.length >= before + 2);
    await raw.roundTrip();
    const said = raw.messages.slice(before).filter((m) => m.id === registry);
    expect(said.map((m) => [m.opcode, m.body.readUInt32LE(0)])).toEqual([
      [0, 10],
      [1, 10],
    ]);
  });
  test("that the compositor leaves is left too", async () => {
    const { raw, fake } = await connected();
    fake.socket.close();
    expect(await raw.ended()).toBe("closed");
  });
});

describe("fds", () => {
  test.each([1, 28, 29, 253])("%d at once arrive whole and in order, in both directions", async (n) => {
    const { raw, fake } = await connected();
    const sent = files(n);
    const message = encodeMessage(9, 1, "carries fds");
    raw.send(message, sent);
    fake.send(message, sent);
    await until("all have arrived", () => fake.socket.fds.length === n && raw.socket.fds.length === n);
    const wanted = sent.map(inode);
    expect(fake.socket.fds.map(inode)).toEqual(wanted);
    expect(raw.socket.fds.map(inode)).toEqual(wanted);
    expect(fake.socket.ended).toBeUndefined();
    closeAll(sent);
  });
  test("come at or before the bytes they were sent with, however these are cut", async () => {
    const { raw, fake } = await connected();
    const message = encodeMessage(9, 1, 1, 2, 3, 4);
    const sent = files(message.length);
    for (let at = 0; at < message.length; at++) {
      raw.send(message.subarray(at, at + 1), [sent[at]!]);
      await Bun.sleep(0);
    }
    await until("the message has arrived", () => fake.requests.length === 1);
    expect(fake.socket.fds.map(inode)).toEqual(sent.map(inode));
    for (const [i, at] of fake.socket.fdsAt.entries()) expect(at).toBeLessThanOrEqual(i);
    closeAll(sent);
  });
  test("of a thousand messages stay with their messages", async () => {
    const { raw, fake } = await connected();
    const lengths: number[] = [];
    let total = 0;
    const before = daemonFds();
    for (let i = 0; i < 1000; i++) {
      const message = encodeMessage(9, i % 5, i, "x".repeat(i % 61));
      const fds = i % 3 === 0 ? files(1 + (i % 4)) : [];
      total += message.length;
      lengths.push(...fds.map(() => total));
      raw.send(message, fds);
      closeAll(fds);
      if (i % 50 === 0) await Bun.sleep(1);
    }
    await until("all have arrived", () => fake.requests.length === 1000 && fake.socket.fds.length === lengths.length);
    // Each is there when the last byte of its message is.
    for (const [i, at] of fake.socket.fdsAt.entries()) expect(at).toBeLessThan(lengths[i]!);
    expect(daemonFds()).toBe(before);
  });
});

describe("the same stream", () => {
  const largest = encodeMessage(12, 2, "L".repeat(65_532 - 13));
  const stream = joined(
    client.sync(5),
    encodeMessage(20, 0, 1, 2),
    largest,
    client.bind(2, 1, "wl_compositor", 5, 4),
    encodeMessage(21, 1, "text"),
    largest,
    encodeMessage(22, 3),
  );
  const events = joined(server.done(40), largest, encodeMessage(41, 1, "text"), largest, server.deleteId(40));
  const cut = (bytes: Uint8Array, sizes: (at: number) => number) => {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const n = Math.max(1, sizes(at));
      pieces.push(bytes.subarray(at, at + n));
      at += n;
    }
    return pieces;
  };
  test.each([
    ["whole", () => 1 << 20],
    ["in pieces of 64 KiB", () => 65_536],
    ["in pieces of 65,532 bytes", () => 65_532],
    ["in pieces of 4,096 bytes", () => 4096],
    ["byte by byte around every message's head", (at: number) => (at % 65_532 < 60 || at > 131_000 ? 1 : 30_000)],
  ])("arrives the same, sent %s", async (_how, sizes) => {
    const { raw, fake } = await connected();
    // Registry 2 and callback 3.
    await raw.globals();
    for (const piece of cut(stream, sizes)) {
      raw.send(piece);
      if (piece.length < 10) await Bun.sleep(0);
    }
    await until("all requests have arrived", () => fake.requests.length === 5, 10_000);
    expect(requestsOf(fake)).toEqual([
      [20, 0, 8],
      [12, 2, 65_524],
      [21, 1, 12],
      [12, 2, 65_524],
      [22, 3, 0],
    ]);
    expect(fake.binds).toEqual(["1 wl_compositor v5"]);
    // Only now: the fake compositor answers the sync by itself, and that must not stand inside a message.
    for (const piece of cut(events, sizes)) {
      fake.send(piece);
      if (piece.length < 10) await Bun.sleep(0);
    }
    const seen = () => raw.messages.filter((m) => m.id >= 12 || (m.id === 1 && m.body.readUInt32LE(0) === 40));
    await until("all events have arrived", () => seen().length === 5, 10_000);
    expect(seen().map((m) => [m.id, m.opcode, m.body.length])).toEqual([
      [40, 0, 4],
      [12, 2, 65_524],
      [41, 1, 12],
      [12, 2, 65_524],
      [1, 1, 4],
    ]);
  });
});

describe("a client that never reads", () => {
  test("pauses the compositor and costs little memory; what it reads later is complete and in order", async () => {
    const { raw, fake } = await connected();
    raw.socket.deaf = true;
    const rss = daemonRss();
    const event = (i: number) => encodeMessage(9, 1, i, "x".repeat(16_000));
    const TOTAL = 3000;
    for (let i = 0; i < TOTAL; i++) fake.send(event(i));
    await until("the flow stands still", () => fake.socket.unsent > 0);
    await Bun.sleep(500);
    const stuck = fake.socket.unsent;
    expect(stuck).toBeGreaterThan(TOTAL * 16_000 * 0.9);
    expect(daemonRss() - rss).toBeLessThan(8 * 1024 * 1024);
    // Another session of the same link is as quick as ever.
    const other = await connected();
    await other.raw.globals();
    raw.socket.deaf = false;
    let next = 0;
    const end = performance.now() + 20_000;
    while (next < TOTAL && performance.now() < end) {
      while (raw.socket.received.length >= event(0).length) {
        const message = raw.socket.take(event(0).length);
        expect(message.readUInt32LE(8)).toBe(next++);
      }
      await Bun.sleep(1);
    }
    expect(next).toBe(TOTAL);
  }, 30_000);
  test("and binds what is hidden is gone within seconds all the same", async () => {
    const { raw, fake } = await connected();
    const { registry } = await raw.globals();
    raw.socket.deaf = true;
    for (let i = 0; i < 100; i++) fake.send(encodeMessage(9, 1, i, "x".repeat(16_000)));
    await until("the flow stands still", () => fake.socket.unsent > 0);
    raw.send(client.bind(registry, 2, SCREENCOPY, 1, 9));
    await until("the compositor's side is closed", () => fake.socket.ended !== undefined, 6000);
    expect(fake.binds).toEqual([]);
  });
});

describe("a policy change", () => {
  test("shows and hides globals on the open connection", async () => {
    const { raw } = await connected();
    const { registry } = await raw.globals();
    const before = raw.messages.length;
    link.policy({ profile: "capture", hide: ["wl_shm"] });
    await until("the change is told", () => raw.messages.length >= before + 2);
    expect(raw.messages.slice(before).map((m) => [m.id, m.opcode, m.body.readUInt32LE(0)])).toEqual([
      [registry, 1, 3],
      [registry, 0, 2],
    ]);
    link.policy(undefined);
    await until("it is taken back", () => raw.messages.length >= before + 4);
  });
});

test("no session leaves an fd behind, whatever its end", async () => {
  const count = daemonFds();
  for (let i = 0; i < 20; i++) {
    const { raw, fake } = await connected();
    const fds = files(5);
    raw.send(encodeMessage(9, 1, "part").slice(0, 9), fds);
    fake.send(server.global(2, 2, SCREENCOPY, 1).slice(0, 11), fds);
    closeAll(fds);
    await Bun.sleep(2);
    if (i % 3 === 0) fake.socket.close();
    else if (i % 3 === 1) raw.send(encodeMessage(9, 9).with(6, 3));
    raw.close();
  }
  await until("the fds are back", () => daemonFds() <= count, 5000);
});
