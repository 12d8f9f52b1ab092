import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SHUT_RD } from "../../../src/sys/flags.ts";
import { Provider, Rig } from "../../support/relay-rig.ts";

/** Bytes whose place can be told: a cut, a gap or a swap shows. */
function pattern(length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2654435761);
  return new Uint8Array(words.buffer, 0, length);
}

describe.each([
  ["spliced", { splice: true }, {}],
  ["copied", { splice: false }, {}],
  ["copied, fds at or before their byte", { splice: false }, { exact: false }],
  ["through a filter", {}, { filter: "pass" }],
] as const)("a stream, %s", (_name, options, config) => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start(options);
  });
  afterAll(() => rig.stop());

  test("carries bytes both ways and counts them exactly", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    consumer.send("question");
    const upstream = accept();
    expect(await upstream.text(8)).toBe("question");
    upstream.send("answer");
    expect(await consumer.text(6)).toBe("answer");
    expect(await rig.counters(link)).toMatchObject({
      sessions: 1,
      bytes_in: 8,
      bytes_out: 6,
      messages_in: 1,
      messages_out: 1,
    });
    consumer.close();
    expect(await upstream.next()).toBe("end");
    upstream.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("keeps every byte in place when the reader is slow", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const sent = pattern(6_000_000);
    const upstream = accept();
    const sending = consumer.sendAll(sent).then(() => consumer.shutdown());
    const parts: Buffer[] = [];
    for (let step = 1; ; step = (step * 7 + 13) % 90_000) {
      const part = await upstream.read(step, 3000);
      if (part.length === 0) break;
      parts.push(part);
      if (parts.length % 5 === 0) await Bun.sleep(1);
    }
    await sending;
    expect(Buffer.compare(Buffer.concat(parts), sent)).toBe(0);
    consumer.close();
    upstream.close();
    provider.close();
    await rig.noSessions(link);
    expect((await rig.counters(link)).bytes_in).toBe(sent.length);
  });

  test("carries large streams both ways at once", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    const [a, b] = [pattern(3_000_000), pattern(3_000_001).reverse()];
    const sending = Promise.all([consumer.sendAll(a), upstream.sendAll(b)]);
    const [gotA, gotB]: [Buffer[], Buffer[]] = [[], []];
    let [lengthA, lengthB] = [0, 0];
    while (lengthA < a.length || lengthB < b.length) {
      const partA = lengthA < a.length ? await upstream.read(50_000, 20) : Buffer.alloc(0);
      const partB = lengthB < b.length ? await consumer.read(70_000, 20) : Buffer.alloc(0);
      gotA.push(partA);
      gotB.push(partB);
      lengthA += partA.length;
      lengthB += partB.length;
      await Bun.sleep(0);
    }
    await sending;
    expect(Buffer.compare(Buffer.concat(gotA), a)).toBe(0);
    expect(Buffer.compare(Buffer.concat(gotB), b)).toBe(0);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("passes the consumer's end on and still brings the answer", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    consumer.send("all");
    consumer.shutdown();
    const upstream = accept();
    expect(await upstream.text(100)).toBe("all");
    expect(await upstream.next()).toBe("end");
    upstream.send("got it");
    expect(await consumer.text(6)).toBe("got it");
    expect((await rig.counters(link)).sessions).toBe(1);
    upstream.close();
    expect(await consumer.next()).toBe("end");
    consumer.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("passes the provider's end on and still takes what the consumer says", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    upstream.send("bye");
    upstream.shutdown();
    expect(await consumer.text(100)).toBe("bye");
    expect(await consumer.next()).toBe("end");
    consumer.send("last words");
    expect(await upstream.text(10)).toBe("last words");
    consumer.close();
    expect(await upstream.next()).toBe("end");
    upstream.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("delivers everything that a consumer sent before it closed", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    const sent = await consumer.fill(100, 700_000);
    consumer.close();
    let total = 0;
    for (let part = await upstream.read(65536); part.length > 0; part = await upstream.read(65536))
      total += part.length;
    expect(total).toBe(sent);
    upstream.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("delivers what a provider sent before it closed with bytes unread", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    consumer.send("never read");
    await rig.until("it has reached the provider", async () => (await rig.counters(link)).bytes_in === 10);
    upstream.send("answer");
    upstream.close();
    expect(await consumer.text(100)).toBe("answer");
    expect(["end", "ECONNRESET"]).toContain(await consumer.next());
    consumer.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("tells the writer when the reader stops reading", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    upstream.shutdown(SHUT_RD);
    consumer.send("one");
    if (config && "filter" in config) await rig.until("it was refused", () => true);
    else
      await rig.until("EPIPE", () => {
        const n = consumer.send("more");
        return n < 0 && n !== -11;
      });
    upstream.send("but I speak");
    expect(await consumer.text(11)).toBe("but I speak");
    upstream.close();
    consumer.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("holds a writer back while the reader does not read, in bounded memory", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    const taken = await consumer.fill();
    expect(taken).toBeLessThan(2_000_000);
    const { queued_bytes } = await rig.counters(link);
    expect(queued_bytes).toBeLessThanOrEqual(256 * 1024);
    let total = 0;
    for (let part = await upstream.read(65536, 200); part.length > 0; part = await upstream.read(65536, 200))
      total += part.length;
    expect(total).toBe(taken);
    expect((await rig.counters(link)).queued_bytes).toBe(0);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("ends when both are gone while bytes are stuck in between", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    await consumer.fill(50);
    await upstream.fill(50);
    consumer.close();
    upstream.close();
    provider.close();
    await rig.noSessions(link);
    // What holds unread bytes is closed by a process of its own.
    await rig.until("nothing is queued", async () => (await rig.counters(link)).queued_fds === 0);
    expect((await rig.counters(link)).queued_bytes).toBe(0);
  });

  test("does not spin in any state in which a side waits", async () => {
    const provider = new Provider(rig.path());
    const link = await rig.open({ path: provider.path, ...config });
    const open = () => {
      const consumer = rig.connect(link);
      return { consumer, upstream: provider.accept() };
    };
    // Blocked towards the provider; blocked and the writer gone; half-closed both ways; half-closed and blocked.
    const blocked = open();
    await blocked.consumer.fill(50);
    const left = open();
    await left.consumer.fill(50);
    left.consumer.close();
    const half = open();
    half.consumer.shutdown();
    const halfUp = open();
    halfUp.upstream.shutdown();
    const both = open();
    await both.consumer.fill(50);
    await both.upstream.fill(50);
    both.consumer.shutdown();
    both.upstream.shutdown();
    const deaf = open();
    deaf.upstream.shutdown(SHUT_RD);
    deaf.consumer.send("x");
    await Bun.sleep(300);
    const before = rig.cpuTicks;
    await Bun.sleep(1000);
    expect(rig.cpuTicks - before).toBeLessThanOrEqual(4);
    for (const { consumer, upstream } of [blocked, left, half, halfUp, both, deaf]) {
      consumer.close();
      upstream.close();
    }
    provider.close();
    await rig.noSessions(link);
  });
});
