import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Provider, Rig } from "../../support/relay-rig.ts";

describe("a session's filter", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig.stop());

  test("that throws ends its own session, counted and logged, and no other", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "throws" });
    const upstream = accept();
    const other = rig.connect(link);
    const otherUp = provider.accept();
    consumer.send("throw");
    expect(["end", "ECONNRESET"]).toContain(await consumer.next());
    expect(await upstream.next()).toBe("end");
    other.send("fine");
    expect(await otherUp.text(4)).toBe("fine");
    expect(await rig.counters(link)).toMatchObject({ session_errors: 1, sessions: 1 });
    await rig.logged(link, "thrown by the test's filter");
    for (const peer of [consumer, upstream, other, otherUp, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("that can't be made costs one session and no fd", async () => {
    const before = rig.fds;
    const { provider, link, consumer } = await rig.session({ filter: "throwsInOpen" });
    expect(await consumer.next()).toBe("end");
    await rig.until("counted", async () => (await rig.counters(link)).session_errors === 1);
    expect((await rig.counters(link)).sessions).toBe(0);
    expect(rig.fds).toBe(before + 1);
    consumer.close();
    provider.close();
  });

  test("that finishes gets its refusal to a consumer that is still sending, without an error there", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "refuses" });
    const upstream = accept();
    // Sixteen times what fits into the sockets: a writer that waits until all of it is taken.
    await consumer.sendAll(new Uint8Array(4_000_000));
    expect(await consumer.text(7)).toBe("403 no\n");
    expect(await consumer.next()).toBe("end");
    expect(await upstream.next()).toBe("end");
    consumer.close();
    await rig.noSessions(link);
    for (const peer of [upstream, provider]) peer.close();
  });

  test("that finishes is rid of a consumer that neither reads nor leaves", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "refuses" });
    const upstream = accept();
    consumer.send("request");
    expect(await upstream.next()).toBe("end");
    await rig.noSessions(link, 4000);
    for (const peer of [consumer, upstream, provider]) peer.close();
  });

  test("may let go in the middle of a chunk: the rest passes, in order, and what follows too", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "switches" });
    const upstream = accept();
    consumer.send("HEAD\nrest ");
    consumer.send("more");
    expect(await upstream.text(18)).toBe("switched\nrest more");
    upstream.send("back");
    expect(await consumer.text(4)).toBe("back");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("that lets go does not swallow an end it had kept to itself", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "keepsEnd" });
    const upstream = accept();
    consumer.shutdown();
    expect(await upstream.next(100)).toBe("nothing");
    upstream.send("go");
    expect(await consumer.text(2)).toBe("go");
    expect(await upstream.next()).toBe("end");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("gets its deadline, once", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "deadline" });
    const upstream = accept();
    const start = performance.now();
    consumer.send("x");
    expect(await consumer.text(5)).toBe("late\n");
    expect(performance.now() - start).toBeGreaterThan(55);
    expect(await consumer.next(150)).toBe("nothing");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("of each live session hears of a new configuration", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "config" });
    const [second, a, b] = [rig.connect(link), accept(), provider.accept()];
    await rig.configure(link, { path: provider.path, filter: "config", word: "new" });
    expect(await consumer.text(4)).toBe("new\n");
    expect(await second.text(4)).toBe("new\n");
    for (const peer of [consumer, second, a, b, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("may stop reading its consumer, and start again", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "pauses" });
    const upstream = accept();
    consumer.send("one");
    expect(await upstream.text(3)).toBe("one");
    consumer.send("two");
    expect(await upstream.next(100)).toBe("nothing");
    upstream.send("ok");
    expect(await upstream.text(3)).toBe("two");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("that answers without end meets the cap, and the session ends with a reason", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "floods" });
    const upstream = accept();
    consumer.send("12345678");
    expect(await upstream.next()).toBe("end");
    await rig.noSessions(link);
    await rig.logged(link, "wait for one peer");
    expect((await rig.counters(link)).queued_bytes).toBe(0);
    for (const peer of [consumer, upstream, provider]) peer.close();
  });

  test("that dials from within a call hears of it after that call", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "dials", dialsAtAccept: false });
    expect(provider.waiting).toBeFalse();
    consumer.send("hello");
    const upstream = accept();
    expect(await upstream.text(11)).toBe("after hello");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("denials are all counted and only some of them told", async () => {
    const { provider, link, consumer, accept } = await rig.session({ filter: "denies" });
    const upstream = accept();
    consumer.send("x".repeat(500));
    await rig.until("counted", async () => (await rig.counters(link)).denied === 500);
    await Bun.sleep(50);
    const told = rig.said(link, "denied").length;
    expect(told).toBeGreaterThanOrEqual(20);
    expect(told).toBeLessThan(40);
    expect((await rig.counters(link)).records_suppressed).toBe(500 - told);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });
});

describe("a link's handler", () => {
  test("that throws on a new configuration or at the end stops nobody else's link", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path());
    const bad = await rig.open({ path: provider.path });
    const good = await rig.open({ path: provider.path }, { name: "other" });
    await rig.configure(bad, { path: provider.path, throwsOnConfigure: true });
    await rig.until("counted", async () => (await rig.counters(bad)).session_errors === 1);
    await rig.close(bad);
    const consumer = rig.connect(good);
    const upstream = provider.accept();
    consumer.send("served");
    expect(await upstream.text(6)).toBe("served");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.stop();
  });

  test("closing a link ends its sessions, frees its fds and its path answers no more", async () => {
    const rig = await Rig.start();
    const provider = new Provider(rig.path());
    const before = rig.fds;
    const link = await rig.open({ path: provider.path });
    const consumers = Array.from({ length: 20 }, () => rig.connect(link));
    const upstreams = consumers.map(() => provider.accept());
    await consumers[0]!.fill(50);
    await rig.close(link);
    for (const consumer of consumers.slice(1)) expect(["end", "ECONNRESET"]).toContain(await consumer.next());
    expect(rig.fds).toBe(before);
    expect(() => rig.connect(link)).toThrow("ECONNREFUSED");
    for (const peer of [...consumers, ...upstreams, provider]) peer.close();
    await rig.stop();
  });
});
