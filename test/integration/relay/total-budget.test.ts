/** The budget of all links together (TOTAL_QUEUE_MAX): what many links that each keep to their own may cost the device. */
import { expect, test } from "bun:test";
import { CHUNK_BYTES, LINK_QUEUE_MAX, TOTAL_QUEUE_MAX } from "../../../src/relay/limits.ts";
import { type Peer, Provider, Rig, type RigLink } from "../../support/relay-rig.ts";

/** Of one session that asked for three mebibytes and reads nothing, at least: the rest is in the socket's buffer. */
const HELD = 2 * 1024 * 1024;

test("the budget of all links stops those that hold much, spares those that hold little, and frees them again", async () => {
  const rig = await Rig.start();
  const provider = new Provider(rig.path());
  const links: RigLink[] = [];
  const hogs: Peer[] = [];
  const others: Peer[] = [];
  const queued = async (link: RigLink) => (await rig.counters(link)).queued_bytes;
  const total = async () => (await Promise.all(links.map(queued))).reduce((sum, bytes) => sum + bytes, 0);
  const session = (link: RigLink): Peer => {
    const consumer = rig.connect(link);
    others.push(provider.accept());
    return consumer;
  };

  // Two never-readers a link: each link stays within its own budget, and only the sum does not.
  for (let i = 0; (await total()) <= TOTAL_QUEUE_MAX; i++) {
    expect(i).toBeLessThan(TOTAL_QUEUE_MAX / HELD);
    if (i % 2 === 0) links.push(await rig.open({ path: provider.path, filter: "floods" }, { name: `hog-${i / 2}` }));
    const link = links.at(-1)!;
    const before = await queued(link);
    const hog = session(link);
    hogs.push(hog);
    hog.send("xxx");
    await rig.until("it is answered", async () => (await queued(link)) > before + HELD);
    expect(await queued(link)).toBeLessThan(LINK_QUEUE_MAX);
  }
  const full = await total();
  expect(full).toBeLessThan(TOTAL_QUEUE_MAX + LINK_QUEUE_MAX);

  // One more of such a link is not read.
  const late = session(links[0]!);
  others.push(late);
  late.send("x");
  expect(await late.next(200)).toBe("nothing");
  expect(await total()).toBe(full);

  // A link that holds nothing is served as ever, and gets no further than one chunk when it stops to read.
  const small = await rig.open({ path: provider.path }, { name: "small" });
  const consumer = rig.connect(small);
  const upstream = provider.accept();
  others.push(consumer, upstream);
  for (const word of ["hello", "again"]) {
    consumer.send(word);
    expect(await upstream.text(5)).toBe(word);
  }
  await consumer.fill(50);
  expect(await queued(small)).toBeLessThanOrEqual(CHUNK_BYTES);
  const stuck = session(small);
  others.push(stuck);
  await stuck.fill(50);
  expect(await queued(small)).toBeLessThanOrEqual(2 * CHUNK_BYTES);

  // All wait without a spin.
  const before = rig.cpuTicks;
  await Bun.sleep(500);
  expect(rig.cpuTicks - before).toBeLessThanOrEqual(3);

  // Some leave: the late one is read and answered.
  for (const hog of hogs.splice(2, 6)) hog.close();
  await rig.until("the late one is answered", async () => (await late.next(20)) === "bytes");
  for (const peer of [...hogs, ...others, provider]) peer.close();
  for (const link of [...links, small]) await rig.noSessions(link);
  expect(await total()).toBe(0);
  await rig.stop();
}, 60_000);
