import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  closeAll,
  numbered,
  numberOf,
  type Peer,
  Provider,
  Rig,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from "../../support/relay-rig.ts";

const numbersFrom = (first: number, count: number) => Array.from({ length: count }, (_, i) => numbered(first + i));

/**
 * Everything until `length` bytes are there: at which byte which fds came. Reading has to be
 * careful as well: of what is received at once, only the first byte's place is certain.
 */
async function places(peer: Peer, length: number, most = 1): Promise<{ at: number; numbers: number[] }[]> {
  const found: { at: number; numbers: number[] }[] = [];
  for (let at = 0; at < length; ) {
    const got = most === 1 ? await peer.recv(1) : await peer.recvPlaced(most);
    if (got.n === undefined || got.n <= 0) throw new Error(`Only ${at} of ${length} bytes came: ${got.n}`);
    if (got.fds.length > 0) found.push({ at, numbers: got.fds.map(numberOf) });
    closeAll(got.fds);
    at += got.n;
  }
  return found;
}

describe.each([
  ["spliced", true],
  ["copied", false],
])("fds on a straight stream, %s", (_name, splice) => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start({ splice });
  });
  afterAll(() => rig.stop());

  test.each([1, 28, 253])("%d in one message arrive in order and stay open nowhere else", async (count) => {
    const { provider, link, consumer, accept } = await rig.session();
    const upstream = accept();
    const before = rig.fds;
    const fds = numbersFrom(1, count);
    expect(consumer.send("with fds", fds)).toBe(8);
    closeAll(fds);
    const got = await upstream.recv();
    expect([got.n, got.fds.map(numberOf)]).toEqual([8, Array.from({ length: count }, (_, i) => i + 1)]);
    // And back again.
    upstream.send("back", got.fds);
    closeAll(got.fds);
    const back = await consumer.recv();
    expect(back.fds.map(numberOf)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
    closeAll(back.fds);
    expect((await rig.counters(link)).fds).toBe(2 * count);
    expect(rig.fds).toBe(before);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("each keeps its exact byte among 50 small messages with fd-less bytes glued in between", async () => {
    const { provider, link, consumer, accept } = await rig.session();
    const expected: { at: number; numbers: number[] }[] = [];
    let at = 0;
    // Sent before the relay can read any of it: the provider is accepted later, and so is the dial's other end.
    for (let i = 0; i < 50; i++) {
      at += consumer.send("x".repeat(1 + ((i * 7) % 31)));
      const fds = numbersFrom(10 * i, 1 + (i % 3));
      expected.push({ at, numbers: fds.map(numberOf) });
      at += consumer.send("y".repeat(1 + ((i * 5) % 17)), fds);
      closeAll(fds);
      if (i % 4 === 0) at += consumer.send("z".repeat(i));
    }
    const upstream = accept();
    expect(await places(upstream, at)).toEqual(expected);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("one behind, between and before large pieces keeps its byte, also when the reader is slow", async () => {
    const { provider, link, consumer, accept } = await rig.session();
    const upstream = accept();
    const expected: { at: number; numbers: number[] }[] = [];
    let total = 0;
    const sending = (async () => {
      const large = new Uint8Array(40_000).fill(0x61);
      for (let i = 0; i < 40; i++) {
        const fds = numbersFrom(i, 2);
        for (;;) {
          const n = consumer.send("fd", fds);
          if (n > 0) break;
          await Bun.sleep(1);
        }
        expected.push({ at: total, numbers: [i, i + 1] });
        total += 2;
        closeAll(fds);
        const size = (i * 9973) % 40_000;
        await consumer.sendAll(large.subarray(0, size));
        total += size;
      }
    })();
    const length = Array.from({ length: 40 }, (_, i) => 2 + ((i * 9973) % 40_000)).reduce((a, b) => a + b);
    const found = await places(upstream, length, 7001);
    await sending;
    expect(found).toEqual(expected);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("more than a link's messages may carry leave in several, each within the limit", async () => {
    const { provider, link, consumer, accept } = await rig.session({ maxFds: 28 });
    const upstream = accept();
    const fds = numbersFrom(1, 100);
    consumer.send("ten bytes!", fds);
    closeAll(fds);
    const found = await places(upstream, 10);
    expect(found.map(({ at, numbers }) => [at, numbers.length])).toEqual([
      [0, 28],
      [1, 28],
      [2, 28],
      [3, 16],
    ]);
    expect(found.flatMap(({ numbers }) => numbers)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("more than fit behind the bytes they came with end that session, not the data plane", async () => {
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path, maxFds: 28 });
    const before = rig.fds;
    const consumer = rig.connect(link);
    const upstream = provider.accept();
    const fds = numbersFrom(1, 253);
    consumer.send("!", fds);
    closeAll(fds);
    expect(await upstream.next()).toBe("end");
    expect(rig.running).toBeTrue();
    await rig.noSessions(link);
    await rig.until("as many fds are open as before", () => rig.fds === before);
    for (const peer of [consumer, upstream, provider]) peer.close();
  });

  test("wait for a provider that does not read, are counted, and are closed with the session", async () => {
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const before = rig.fds;
    const consumer = rig.connect(link);
    const upstream = provider.accept();
    await consumer.fill(50);
    const fds = numbersFrom(1, 200);
    for (let i = 0; i < 3; i++) consumer.send("fds", fds);
    await rig.until("room", async () => {
      const part = await upstream.recv(4096, 20);
      closeAll(part.fds);
      return (await rig.counters(link)).queued_fds > 0 || part.n === undefined;
    });
    closeAll(fds);
    consumer.close();
    upstream.close();
    await rig.noSessions(link);
    expect(await rig.counters(link)).toMatchObject({ queued_fds: 0, queued_bytes: 0 });
    expect(rig.fds).toBe(before);
    provider.close();
  });
});

describe("fds on a link that passes none", () => {
  test("end the session of who sends them, and are closed", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path, maxFds: 0 });
    const before = rig.fds;
    const consumer = rig.connect(link);
    const upstream = provider.accept();
    consumer.send("plain");
    expect(await upstream.text(5)).toBe("plain");
    const fd = numbered(1);
    consumer.send("with an fd", [fd]);
    closeAll([fd]);
    expect(await upstream.next()).toBe("end");
    await rig.noSessions(link);
    await rig.until("as many fds are open as before", () => rig.fds === before);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.stop();
  });
});

describe("fds that can't be taken over", () => {
  test("end the session when the process is out of fds (MSG_CTRUNC), and none stays open", async () => {
    const rig = await Rig.start({ rlimit: 120, fdLimit: 4096 });
    const { provider, link, consumer, accept } = await rig.session();
    const upstream = accept();
    const before = rig.fds;
    const fds = numbersFrom(1, 200);
    consumer.send("too many", fds);
    closeAll(fds);
    expect(["end", "ECONNRESET"]).toContain(await consumer.next());
    await rig.noSessions(link);
    expect(rig.fds).toBe(before - 2);
    await rig.logged(link, "MSG_CTRUNC");
    // The next one is served as if nothing had been.
    const again = rig.connect(link);
    again.send("hello");
    const second = provider.accept();
    expect(await second.text(5)).toBe("hello");
    for (const peer of [again, second, consumer, upstream, provider]) peer.close();
    await rig.stop();
  });
});

describe("fds that a filter was given", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig.stop());

  test.each([
    ["throws", "throw"],
    ["keepsFds", "keep"],
    ["misuses", "misuse"],
    ["refuses", "refuse"],
  ])("are closed when it %s", async (filter, word) => {
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path, filter });
    const before = rig.fds;
    const consumer = rig.connect(link);
    const upstream = provider.accept();
    const fds = numbersFrom(1, 20);
    consumer.send(word, fds);
    closeAll(fds);
    await rig.until("it was seen", async () => (await rig.counters(link)).messages_in === 1);
    consumer.close();
    upstream.close();
    await rig.noSessions(link);
    await rig.until("as many fds are open as before", () => rig.fds === before);
    provider.close();
  });
});

describe.each([
  ["stream", SOCK_STREAM],
  ["seqpacket", SOCK_SEQPACKET],
])("after 10,000 abrupt connections of kind %s", (_name, type) => {
  test("as many fds are open as before, and no session is left", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path(), type);
    const link = await rig.open({ path: provider.path, type });
    const before = rig.fds;
    const fd = numbered(1);
    const ways: ((peer: Peer) => void)[] = [
      () => {},
      (peer) => peer.send("bytes"),
      (peer) => peer.send("with an fd", [fd, fd, fd]),
      (peer) => {
        peer.send("half");
        peer.shutdown();
      },
      (peer) => peer.shutdown(0),
      (peer) => peer.shutdown(2),
    ];
    for (let i = 0; i < 10_000; i++) {
      const consumer = await rig.connectSoon(link, type);
      ways[i % ways.length]!(consumer);
      // The provider is as rude: every third answers, every fifth leaves first, some are never accepted in time.
      if (provider.waiting && i % 7 !== 0) {
        const upstream = provider.accept();
        if (i % 3 === 0) upstream.send("answer nobody reads", i % 2 === 0 ? [fd] : []);
        if (i % 5 === 0) consumer.close();
        upstream.close();
      }
      consumer.close();
      if (i % 100 === 0) await Bun.sleep(0);
    }
    while (provider.waiting) provider.accept().close();
    closeAll([fd]);
    await rig.noSessions(link);
    await rig.until("as many fds are open as before", () => rig.fds === before);
    await rig.until("that is noticed", async () => (await rig.counters(link)).queued_fds === 0);
    expect((await rig.counters(link)).sessions_total).toBe(10_000);
    expect(await rig.counters(link)).toMatchObject({ session_errors: 0, queued_bytes: 0, held: 0 });
    provider.close();
    await rig.stop();
  }, 60_000);
});
