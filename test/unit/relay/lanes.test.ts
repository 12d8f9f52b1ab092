/** The waiting that serves plain bytes by itself: what it passes on, and what it leaves to the caller untouched. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Lanes } from "../../../src/relay/lanes.ts";
import { LANE_PAGE_BYTES, SPIN_US } from "../../../src/relay/limits.ts";
import { EPOLLHUP, EPOLLIN, EPOLLRDHUP, SHUT_WR, SOCK_STREAM } from "../../../src/sys/flags.ts";
import { Memory } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";

const MESSAGES = 2;
const BYTES = 5;
const two = new Memory(8);
const twoView = new Int32Array(two.buffer);
const room = new Memory(LANE_PAGE_BYTES * 2);
const iov = new Memory(16);
const fds = new Memory(4 * 253);
const info = new Memory(24);
const events = new Memory(12 * 4);
const counters = new Memory(new SharedArrayBuffer(8 * 8));
const counted = new Float64Array(counters.buffer);

let opened: number[];
let lanes: Lanes;
let epoll: number;
/** The outer ends are the peers'; between the inner ones is the lane. */
let from: { outer: number; inner: number };
let to: { outer: number; inner: number };

function pair(): { outer: number; inner: number } {
  expect(pvx.pvx_socketpair(SOCK_STREAM, two.address)).toBe(0);
  opened.push(twoView[0]!, twoView[1]!);
  return { outer: twoView[0]!, inner: twoView[1]! };
}

beforeEach(() => {
  opened = [];
  epoll = pvx.pvx_epoll_create();
  opened.push(epoll);
  counted.fill(0);
  lanes = new Lanes(counters);
  from = pair();
  to = pair();
  expect(pvx.pvx_epoll_ctl(epoll, 1, from.inner, EPOLLIN | EPOLLRDHUP, 7)).toBe(0);
  lanes.open(from.inner, 7, to.inner, MESSAGES, BYTES);
});
afterEach(() => {
  for (const fd of opened) pvx.pvx_close(fd);
});

/** [fd, generation, events] of what was left to the caller. */
function wait(timeout = 0): number[][] {
  const n = lanes.wait(epoll, events, 4, timeout);
  expect(n).toBeGreaterThanOrEqual(0);
  const view = new Uint32Array(events.buffer);
  return Array.from({ length: n }, (_, i) => [...view.subarray(3 * i, 3 * i + 3)]);
}

function send(text: string, withFd = false): void {
  room.bytes.set(Buffer.from(text));
  new BigUint64Array(iov.buffer).set([BigInt(room.address), BigInt(text.length)]);
  new Int32Array(fds.buffer)[0] = from.outer;
  expect(pvx.pvx_sendv(from.outer, iov.address, 1, fds.address, withFd ? 1 : 0, null)).toBe(text.length);
}

/** What the receiver has now, "" when it has nothing. */
function received(fd = to.outer): string {
  const n = pvx.pvx_recv(fd, room.address, room.length, fds.address, info.address);
  return n > 0 ? Buffer.from(room.bytes.subarray(0, n)).toString("latin1") : "";
}

describe("a lane", () => {
  test("passes bytes on, counts them, and tells nobody", () => {
    send("one");
    send("two");
    expect(wait()).toEqual([]);
    expect(received()).toBe("onetwo");
    expect([counted[MESSAGES], counted[BYTES]]).toEqual([1, 6]);
    expect(wait()).toEqual([]);
    send("three");
    expect(wait()).toEqual([]);
    expect(received()).toBe("three");
    expect([counted[MESSAGES], counted[BYTES]]).toEqual([2, 11]);
  });

  test("leaves a message with fds, and what is before it, where they are", () => {
    send("before");
    send("with", true);
    expect(wait()).toEqual([[from.inner, 7, EPOLLIN]]);
    expect(received()).toBe("");
    expect(received(from.inner)).toBe("beforewith");
    expect(new Int32Array(info.buffer)[0]).toBe(1);
    pvx.pvx_close(new Int32Array(fds.buffer)[0]!);
    expect(counted[MESSAGES]).toBe(0);
  });

  test("leaves a message that is too large for it, whole", () => {
    const large = "x".repeat(LANE_PAGE_BYTES + 1);
    send(large);
    expect(wait()).toEqual([[from.inner, 7, EPOLLIN]]);
    expect(received(from.inner)).toBe(large);
  });

  test("leaves the end", () => {
    send("last words");
    pvx.pvx_shutdown(from.outer, SHUT_WR);
    expect(wait()).toEqual([[from.inner, 7, EPOLLIN | EPOLLRDHUP]]);
    pvx.pvx_close(opened.splice(opened.indexOf(from.outer), 1)[0]!);
    expect(wait()).toEqual([[from.inner, 7, EPOLLIN | EPOLLRDHUP | EPOLLHUP]]);
    expect(received()).toBe("");
  });

  test("takes no more than its receiver does: the rest is still in the sender's queue", () => {
    let filled = 0;
    for (let n = 0; n >= 0; n = pvx.pvx_send(to.inner, room.bytes as never, 0, LANE_PAGE_BYTES)) filled += n;
    send("too much");
    expect(wait()).toEqual([[from.inner, 7, EPOLLIN]]);
    expect(received(from.inner)).toBe("too much");
    let read = 0;
    for (let text = received(); text !== ""; text = received()) read += text.length;
    expect(read).toBe(filled);
  });

  test("leaves a receiver that is gone to the caller", () => {
    pvx.pvx_close(opened.splice(opened.indexOf(to.outer), 1)[0]!);
    send("lost");
    expect(wait()).toEqual([[from.inner, 7, EPOLLIN]]);
    expect(received(from.inner)).toBe("lost");
  });

  test("serves one life of its fd: not another generation, and nothing once it is closed", () => {
    expect(pvx.pvx_epoll_ctl(epoll, 3, from.inner, EPOLLIN, 8)).toBe(0);
    send("for another owner");
    expect(wait()).toEqual([[from.inner, 8, EPOLLIN]]);
    lanes.open(from.inner, 8, to.inner, MESSAGES, BYTES);
    lanes.close(from.inner);
    expect(wait()).toEqual([[from.inner, 8, EPOLLIN]]);
    expect(received()).toBe("");
  });

  test("may have any fd number: the table grows", () => {
    const F_DUPFD = 0;
    const high = pvx.pvx_fcntl(from.inner, F_DUPFD, 3000 as never);
    expect(high).toBe(3000);
    opened.push(high);
    expect(pvx.pvx_epoll_ctl(epoll, 2, from.inner, 0, 0)).toBe(0);
    expect(pvx.pvx_epoll_ctl(epoll, 1, high, EPOLLIN, 1)).toBe(0);
    send("no lane yet");
    expect(wait()).toEqual([[high, 1, EPOLLIN]]);
    lanes.open(high, 1, to.inner, MESSAGES, BYTES);
    expect(wait()).toEqual([]);
    expect(received()).toBe("no lane yet");
    // What was in the table before it grew is still there.
    expect(pvx.pvx_epoll_ctl(epoll, 2, high, 0, 0)).toBe(0);
    expect(pvx.pvx_epoll_ctl(epoll, 1, from.inner, EPOLLIN, 7)).toBe(0);
    send("as before");
    expect(wait()).toEqual([]);
    expect(received()).toBe("as before");
  });
});

describe("looking before sleeping", () => {
  const spinning = () => {
    const started = performance.now();
    lanes.wait(epoll, events, 4, 5);
    const took = performance.now() - started;
    expect(took).toBeGreaterThan(4);
    return new Uint32Array((lanes as unknown as { head: Memory }).head.buffer)[9] !== 0;
  };
  const step = SPIN_US / 1000;

  test("is for when events follow each other fast, and where it is allowed", () => {
    for (let now = 0; now < 10 * step; now += step) lanes.learn(now, 1);
    expect(spinning()).toBe(false);
    lanes.spins = true;
    lanes.learn(100, 1);
    expect(spinning()).toBe(false);
    lanes.learn(100 + step, 1);
    expect(spinning()).toBe(true);
    // That one found nothing at all.
    lanes.learn(105, 0);
    expect(spinning()).toBe(false);
  });

  test("pauses twice as long each time that it was in vain", () => {
    lanes.spins = true;
    let now = 1000;
    const looked: number[] = [];
    lanes.learn(now, 1);
    for (let waits = 0; waits < 40; waits++) {
      now += step;
      lanes.learn(now, 1);
      if (spinning()) looked.push(waits);
    }
    const pauses = looked.slice(1).map((at, i) => at - looked[i]!);
    expect(pauses.length).toBeGreaterThan(3);
    for (const [i, pause] of pauses.slice(1).entries()) expect(pause).toBeGreaterThanOrEqual(pauses[i]!);
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(8);
  });

  test("sees what comes", () => {
    lanes.spins = true;
    lanes.learn(1000, 1);
    lanes.learn(1000 + step, 1);
    send("while looking");
    expect(wait(1000)).toEqual([]);
    expect(received()).toBe("while looking");
  });
});
