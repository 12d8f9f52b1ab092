import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { HOLD_MS } from "../../../src/relay/limits.ts";
import { type Peer, Provider, Rig } from "../../support/relay-rig.ts";

describe("a consumer whose provider is not there", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig.stop());

  test("is held, and nothing it said is lost when the provider comes", async () => {
    const path = rig.path();
    const link = await rig.open({ path });
    const consumers = Array.from({ length: 30 }, () => rig.connect(link));
    consumers.forEach((consumer, i) => {
      consumer.send(String(i).padStart(2, "0"));
    });
    // One says its word and leaves: it is delivered all the same.
    consumers[7]!.close();
    await rig.until("all are held", async () => (await rig.counters(link)).held === 30);
    await Bun.sleep(300);
    const provider = new Provider(path);
    const words: string[] = [];
    const upstreams: Peer[] = [];
    for (let i = 0; i < 30; i++) {
      const upstream = provider.accept();
      upstreams.push(upstream);
      words.push(await upstream.text(2));
    }
    expect(words).toEqual(Array.from({ length: 30 }, (_, i) => String(i).padStart(2, "0")));
    expect((await rig.counters(link)).held).toBe(0);
    await rig.until("both were told", () => rig.said(link, "provider").length === 2);
    expect(rig.said(link, "provider").map(({ reachable }) => reachable)).toEqual([false, true]);
    for (const peer of [...consumers, ...upstreams, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("is let go after the hold, within a second of it, and costs no fd after", async () => {
    const path = rig.path();
    const link = await rig.open({ path });
    const before = rig.fds;
    const start = performance.now();
    const consumer = rig.connect(link);
    consumer.send("anybody?");
    const ticks = rig.cpuTicks;
    expect(["end", "ECONNRESET"]).toContain(await consumer.next(HOLD_MS + 2000));
    const waited = performance.now() - start;
    expect(waited).toBeGreaterThan(HOLD_MS - 50);
    expect(waited).toBeLessThan(HOLD_MS + 1000);
    // Redialling for five seconds is fifty dials, not a poll.
    expect(rig.cpuTicks - ticks).toBeLessThanOrEqual(10);
    await rig.noSessions(link);
    // "anybody?" was never read: what holds something unread is closed by a process of its own.
    await rig.until("as many fds are open as before", () => rig.fds === before);
    consumer.close();
  }, 15_000);

  test("is closed at once when the provider can't ever be reached that way", async () => {
    const provider = new Provider(rig.path(), 5);
    const link = await rig.open({ path: provider.path });
    const start = performance.now();
    const consumer = rig.connect(link);
    expect(["end", "ECONNRESET"]).toContain(await consumer.next());
    expect(performance.now() - start).toBeLessThan(1000);
    await rig.until("it was told", () => rig.said(link, "provider").length > 0);
    expect(rig.said(link, "provider")[0]).toMatchObject({ reachable: false, reason: "connect(): EPROTOTYPE" });
    consumer.close();
    provider.close();
  });

  test("gets the filter's answer at the end of the hold", async () => {
    const path = rig.path();
    const link = await rig.open({ path, filter: "dials", dialsAtAccept: false });
    const consumer = rig.connect(link);
    consumer.send("GET");
    const answer = await consumer.text(4, HOLD_MS + 2000);
    expect(answer).toBe("502 ");
    consumer.close();
    await rig.noSessions(link);
  }, 15_000);

  test("that leaves during the hold is not dialled for by a filter any more", async () => {
    const path = rig.path();
    const link = await rig.open({ path });
    const consumers = Array.from({ length: 5 }, () => rig.connect(link));
    await rig.until("held", async () => (await rig.counters(link)).held === 5);
    for (const consumer of consumers) consumer.close();
    await rig.close(link);
    expect(rig.running).toBeTrue();
  });
});

describe("a provider that restarts", () => {
  test("is dialled again for the next consumer, and those in between are held", async () => {
    const rig = await Rig.start();
    const path = rig.path();
    const link = await rig.open({ path });
    for (let life = 0; life < 5; life++) {
      const early = rig.connect(link);
      early.send("early");
      await Bun.sleep(20);
      const provider = new Provider(path);
      const first = provider.accept();
      expect(await first.text(5)).toBe("early");
      const later = rig.connect(link);
      later.send("later");
      const second = provider.accept();
      expect(await second.text(5)).toBe("later");
      provider.close();
      first.close();
      second.close();
      expect(await early.next()).toBe("end");
      expect(await later.next()).toBe("end");
      early.close();
      later.close();
    }
    await rig.noSessions(link);
    await rig.stop();
  });

  test("with a full backlog is waited for", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path(), undefined, 1);
    const link = await rig.open({ path: provider.path });
    const consumers = Array.from({ length: 10 }, () => rig.connect(link));
    consumers.forEach((consumer, i) => {
      consumer.send(String(i));
    });
    const words: string[] = [];
    const upstreams: Peer[] = [];
    for (let i = 0; i < 10; i++) {
      upstreams.push(provider.accept());
      words.push(await upstreams[i]!.text(1));
    }
    expect(words.join("")).toBe("0123456789");
    for (const peer of [...consumers, ...upstreams, provider]) peer.close();
    await rig.stop();
  });
});

describe("a listening socket that is replaced", () => {
  test("loses nobody: open sessions live on, and who had connected is served", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path });
    const before = rig.fds;
    const old = rig.connect(link);
    const oldUp = provider.accept();
    const waiting = Array.from({ length: 200 }, () => rig.connect(link));
    const next = await rig.replace(link);
    const upstreams = waiting.map(() => provider.accept());
    const fresh = rig.connect(next);
    const freshUp = provider.accept();
    old.send("old");
    expect(await oldUp.text(3)).toBe("old");
    fresh.send("new");
    expect(await freshUp.text(3)).toBe("new");
    expect(() => rig.connect(link)).toThrow("ECONNREFUSED");
    for (const peer of [old, oldUp, ...waiting, ...upstreams, fresh, freshUp]) peer.close();
    await rig.noSessions(link);
    expect(rig.fds).toBe(before);
    provider.close();
    await rig.stop();
  });
});

describe("who is there", () => {
  test("the consumer's credentials go with its first message when asked for", async () => {
    const rig = await Rig.start();
    const { pvx } = await import("../../../src/sys/shim.ts");
    const { SO_PASSCRED } = await import("../../../src/sys/flags.ts");
    const { Memory } = await import("../../../src/sys/memory.ts");
    const { provider, link, consumer, accept } = await rig.session({ credentials: true });
    const upstream = accept();
    pvx.pvx_setsockopt_int(upstream.fd, SO_PASSCRED, 1);
    consumer.send("hello");
    const [bytes, fds, info] = [new Memory(64), new Memory(1012), new Memory(32)];
    await rig.until("it came", () => pvx.pvx_wait_readable(upstream.fd, 0) === 1);
    expect(pvx.pvx_recv(upstream.fd, bytes.address, 64, fds.address, info.address)).toBe(5);
    const view = new Int32Array(info.buffer);
    expect([view[2], view[3]]).toEqual([1, process.pid]);
    consumer.send("second");
    expect(await upstream.text(6)).toBe("second");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
    await rig.stop();
  });
});
