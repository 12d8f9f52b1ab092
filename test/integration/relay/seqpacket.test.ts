import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeAll, numbered, numberOf, Rig, SOCK_SEQPACKET } from "../../support/relay-rig.ts";

describe.each([
  ["straight", {}],
  ["through a filter", { filter: "pass" }],
])("sequenced packets, %s", (_name, more) => {
  const config = { type: SOCK_SEQPACKET, ...more };
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig.stop());

  test("keep their boundaries, empty ones included, and fds stay with theirs", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const fd = numbered(7);
    const sizes = [3, 0, 1, 70_000, 0, 0, 5, 200_000, 2];
    const upstream = accept();
    const sending = (async () => {
      for (const size of sizes) {
        while (consumer.send(new Uint8Array(size), size === 0 || size === 5 ? [fd] : []) !== size) await Bun.sleep(1);
      }
    })();
    const got: [number, number][] = [];
    for (let i = 0; i < sizes.length; i++) {
      const message = await upstream.recv();
      expect(message.fds.map(numberOf).every((number) => number === 7)).toBeTrue();
      got.push([message.n!, message.fds.length]);
      closeAll(message.fds);
    }
    await sending;
    closeAll([fd]);
    expect(got).toEqual(sizes.map((size) => [size, size === 0 || size === 5 ? 1 : 0]));
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("an empty packet just before the end is a packet, and the end is the end", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    for (let i = 0; i < 200; i++) {
      const one = rig.connect(link, SOCK_SEQPACKET);
      const its = provider.accept();
      one.send("");
      one.shutdown();
      // recvmsg gives 0 for both; only the packet leaves the socket readable again for the end.
      expect((await its.recv()).n).toBe(0);
      its.send("still open");
      expect(await one.text(10)).toBe("still open");
      one.close();
      its.close();
    }
    await rig.until("one packet each", async () => (await rig.counters(link)).messages_in === 200);
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("the end alone is no packet", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    consumer.shutdown();
    expect(await upstream.next()).toBe("end");
    expect((await rig.counters(link)).messages_in).toBe(0);
    upstream.send("after");
    expect(await consumer.text(5)).toBe("after");
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });

  test("what a provider sent before it closed with packets unread arrives", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    consumer.send("never read");
    await rig.until("it has reached the provider", async () => (await rig.counters(link)).bytes_in === 10);
    upstream.send("one");
    upstream.send("two");
    upstream.close();
    expect(await consumer.text(3)).toBe("one");
    expect(await consumer.text(3)).toBe("two");
    consumer.close();
    provider.close();
    await rig.noSessions(link);
  });

  test("a packet too large for the relay ends its session with a reason", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    const { pvx } = await import("../../../src/sys/shim.ts");
    const { SO_SNDBUFFORCE } = await import("../../../src/sys/flags.ts");
    pvx.pvx_setsockopt_int(consumer.fd, SO_SNDBUFFORCE, 1 << 20);
    expect(consumer.send(new Uint8Array(300_000))).toBe(300_000);
    expect(await upstream.next()).toBe("end");
    await rig.noSessions(link);
    await rig.logged(link, "larger than 262144");
    for (const peer of [consumer, upstream, provider]) peer.close();
  });

  test("a sender is held back by a reader that does not read, and loses nothing", async () => {
    const { provider, link, consumer, accept } = await rig.session(config);
    const upstream = accept();
    let sent = 0;
    for (let quiet = 0; quiet < 50; ) {
      const n = consumer.send(new Uint8Array(1000).fill(sent % 251));
      if (n === 1000) {
        sent++;
        quiet = 0;
      } else {
        quiet++;
        await Bun.sleep(2);
      }
    }
    expect((await rig.counters(link)).queued_bytes).toBeLessThanOrEqual(256 * 1024);
    for (let i = 0; i < sent; i++) {
      const { n, bytes } = await upstream.recv();
      expect([n, bytes[0]]).toEqual([1000, i % 251]);
    }
    for (const peer of [consumer, upstream, provider]) peer.close();
    await rig.noSessions(link);
  });
});
