import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { LINK_QUEUE_MAX } from "../../../src/relay/limits.ts";
import { type Peer, Provider, Rig } from "../../support/relay-rig.ts";

describe("a link's budget of unsent bytes", () => {
  test("bounds what its never-readers cost, and its sessions go on when some of it has left", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const other = await rig.open({ path: provider.path }, { name: "other" });
    const consumers: Peer[] = [];
    const upstreams: Peer[] = [];
    const add = async () => {
      const consumer = rig.connect(link);
      consumers.push(consumer);
      upstreams.push(provider.accept());
      await consumer.fill(15, 3_000_000);
    };
    for (let i = 0; i < 500 && (await rig.counters(link)).queued_bytes <= LINK_QUEUE_MAX; i++) await add();
    const full = await rig.counters(link);
    expect(full.queued_bytes).toBeGreaterThan(LINK_QUEUE_MAX);
    expect(full.queued_bytes).toBeLessThan(LINK_QUEUE_MAX + 512 * 1024);
    // One more of this link is not read; another link does not notice.
    const late = rig.connect(link);
    const lateUp = provider.accept();
    late.send("waits");
    expect(await lateUp.next(150)).toBe("nothing");
    const elsewhere = rig.connect(other);
    const elsewhereUp = provider.accept();
    elsewhere.send("hello");
    expect(await elsewhereUp.text(5)).toBe("hello");
    // All wait without a spin.
    const before = rig.cpuTicks;
    await Bun.sleep(500);
    expect(rig.cpuTicks - before).toBeLessThanOrEqual(3);
    // A few readers: room again, also for the late one.
    let resumed = false;
    for (let i = 0; i < upstreams.length && !resumed; i++) {
      consumers[i]!.close();
      upstreams[i]!.close();
      resumed = (await lateUp.next(20)) === "bytes";
    }
    expect(resumed).toBeTrue();
    for (const peer of [...consumers, ...upstreams, late, lateUp, elsewhere, elsewhereUp, provider]) peer.close();
    await rig.noSessions(link);
    expect((await rig.counters(link)).queued_bytes).toBe(0);
    await rig.stop();
  }, 60_000);
});

describe("memory", () => {
  test("of the data plane stays small: idle, per session, and with eight that never read", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    await Bun.sleep(500);
    const idle = rig.anonymousKb;
    const peers: Peer[] = [];
    for (let i = 0; i < 1000; i++) peers.push(await rig.connectSoon(link), provider.accept());
    await Bun.sleep(500);
    const perSession = (rig.anonymousKb - idle) / 1000;
    for (const peer of peers) peer.close();
    await rig.noSessions(link);
    const before = rig.anonymousKb;
    const readers = Array.from({ length: 8 }, () => {
      const reader = rig.connect(link);
      return { reader, writer: provider.accept() };
    });
    await Promise.all(readers.map(({ writer }) => writer.fill(300)));
    await Bun.sleep(300);
    const never = rig.anonymousKb - before;
    console.log(
      `anonymous memory: idle ${idle} kB, ${perSession.toFixed(1)} kB a session, 8 never-readers ${never} kB`,
    );
    expect(perSession).toBeLessThanOrEqual(8);
    expect(never).toBeLessThanOrEqual(24 * 1024);
    for (const { reader, writer } of readers) {
      reader.close();
      writer.close();
    }
    provider.close();
    await rig.stop();
  }, 30_000);
});

describe("out of fds", () => {
  test("accepting pauses without a spin, those who are there are served, and it goes on when fds are free", async () => {
    // EMFILE itself: the data plane believes in more than the kernel gives.
    const rig = await Rig.start({ rlimit: 150, fdLimit: 1 << 20 });
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const consumers: Peer[] = [];
    const upstreams: Peer[] = [];
    for (let i = 0; i < 120; i++) {
      consumers.push(rig.connect(link));
      if (i % 10 === 0) await Bun.sleep(2);
      while (provider.waiting) upstreams.push(provider.accept());
    }
    await rig.until("accepting has paused", async () => (await rig.counters(link)).accept_pauses > 0);
    await Bun.sleep(100);
    const before = rig.cpuTicks;
    await Bun.sleep(1000);
    expect(rig.cpuTicks - before).toBeLessThanOrEqual(5);
    // The first session works as ever.
    consumers[0]!.send("still here");
    expect(await upstreams[0]!.text(10)).toBe("still here");
    // Half of them leave: the others come in, all of them.
    for (const peer of consumers.slice(0, 60)) peer.close();
    await rig.until("the rest was accepted", async () => {
      while (provider.waiting) upstreams.push(provider.accept());
      return (await rig.counters(link)).sessions_total === 120;
    });
    expect((await rig.counters(link)).session_errors).toBe(0);
    for (const peer of [...consumers, ...upstreams, provider]) peer.close();
    await rig.noSessions(link, 8000);
    await rig.stop();
  }, 30_000);

  test("accepting stops before the limit is reached", async () => {
    const rig = await Rig.start({ fdLimit: 400 });
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const consumers = Array.from({ length: 200 }, () => rig.connect(link));
    await rig.until("accepting has paused", async () => (await rig.counters(link)).accept_pauses > 0);
    const { sessions } = await rig.counters(link);
    expect(sessions).toBeGreaterThan(90);
    expect(sessions).toBeLessThan(110);
    // It looks again ten times a second, and says so once.
    await Bun.sleep(1_000);
    expect((await rig.counters(link)).accept_pauses).toBeGreaterThan(5);
    expect(rig.said(link, "log").filter(({ message }) => message.includes("Cannot accept"))).toHaveLength(1);
    for (const peer of [...consumers, provider]) peer.close();
    await rig.stop();
  });

  test("consumers that open as much as they can leave room for the others", async () => {
    const rig = await Rig.start({ fdLimit: 400 });
    const provider = new Provider(rig.path());
    const greedy = [await rig.open({ path: provider.path }), await rig.open({ path: provider.path })];
    const link = await rig.open({ path: provider.path });
    const crowd: Peer[] = [];
    for (const one of greedy) {
      for (let i = 0; i < 200; i++) crowd.push(rig.connect(one));
      await rig.until("accepting has paused", async () => (await rig.counters(one)).accept_pauses > 0);
    }
    while (provider.waiting) crowd.push(provider.accept());
    for (let i = 0; i < 10; i++) {
      const modest = rig.connect(link);
      const upstream = provider.accept();
      modest.send("let me in");
      expect(await upstream.text(9)).toBe("let me in");
      crowd.push(modest, upstream);
    }
    for (const peer of [...crowd, provider]) peer.close();
    await rig.stop();
  });
});

describe("fairness", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig.stop());

  test("a burst of 3,000 connections is served whole, and a round trip in its midst stays short", async () => {
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const talker = rig.connect(link);
    const answerer = provider.accept();
    const crowd: Peer[] = [];
    let longest = 0;
    for (let i = 0; i < 3000; i++) {
      crowd.push(await rig.connectSoon(link));
      if (i % 300 !== 299) continue;
      const start = performance.now();
      talker.send("ping");
      await answerer.text(4);
      longest = Math.max(longest, performance.now() - start);
    }
    while ((await rig.counters(link)).sessions < 3001) while (provider.waiting) crowd.push(provider.accept());
    expect(longest).toBeLessThan(500);
    for (const peer of [...crowd, talker, answerer, provider]) peer.close();
    await rig.noSessions(link);
  }, 30_000);

  test("two streams that saturate the thread do not starve a third that whispers", async () => {
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const loud = Array.from({ length: 2 }, () => {
      const writer = rig.connect(link);
      return { writer, reader: provider.accept() };
    });
    const quiet = rig.connect(link);
    const quietUp = provider.accept();
    let running = true;
    const piece = new Uint8Array(65536);
    const flow = (async () => {
      while (running) {
        for (const { writer, reader } of loud) {
          writer.send(piece);
          await reader.recv(undefined, 0);
        }
        await Bun.sleep(0);
      }
    })();
    for (let i = 0; i < 20; i++) {
      quiet.send("psst");
      expect(await quietUp.text(4, 1000)).toBe("psst");
    }
    running = false;
    await flow;
    for (const peer of [...loud.flatMap(({ writer, reader }) => [writer, reader]), quiet, quietUp, provider])
      peer.close();
    await rig.noSessions(link);
  });
});
