import { describe, expect, test } from "bun:test";
import { BACKOFF_MAX_MS, backoff } from "../../../src/reconcile/backoff.ts";
import { type Cadence, nextPoll } from "../../../src/reconcile/cadence.ts";
import { sameData } from "../../../src/reconcile/same-data.ts";

describe("the wait of a failed link", () => {
  test("doubles from a fifth of a second to ten seconds", () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 100, 1e9].map((failures) => backoff(failures, 0))).toEqual([
      200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000,
    ]);
  });
  test("is shortened by its jitter, by a quarter at most", () => {
    expect(backoff(1, 0.5)).toBe(175);
    expect(backoff(50, 0.999)).toBeGreaterThanOrEqual(BACKOFF_MAX_MS * 0.75);
  });
});

describe("the pause until the next question", () => {
  const usual: Cadence = {
    now: 1_000_000,
    intervalMs: 5000,
    failure: undefined,
    lostAt: undefined,
    awaitedAt: undefined,
  };
  const ago = (ms: number) => usual.now - ms;
  const failure = (cause: NonNullable<Cadence["failure"]>["cause"], count: number, since = ago(0)) =>
    nextPoll({ ...usual, failure: { cause, count, since } });

  test("is the interval when nobody is awaited", () => {
    expect(nextPoll(usual)).toBe(5000);
  });
  test("is 25 ms for 30 s after a peer was lost, 250 ms until five minutes after, then the interval", () => {
    expect(nextPoll({ ...usual, lostAt: ago(0) })).toBe(25);
    expect(nextPoll({ ...usual, lostAt: ago(29_999) })).toBe(25);
    expect(nextPoll({ ...usual, lostAt: ago(30_000) })).toBe(250);
    expect(nextPoll({ ...usual, lostAt: ago(299_999) })).toBe(250);
    expect(nextPoll({ ...usual, lostAt: ago(300_000) })).toBe(5000);
  });
  test("is 250 ms for five minutes while a peer has never been up", () => {
    expect(nextPoll({ ...usual, awaitedAt: ago(0) })).toBe(250);
    expect(nextPoll({ ...usual, awaitedAt: ago(300_000) })).toBe(5000);
    expect(nextPoll({ ...usual, awaitedAt: ago(10), lostAt: ago(400_000) })).toBe(250);
  });
  test("doubles from a millisecond after a failure that passes, up to a quarter of a second for the first 30 s", () => {
    expect([1, 2, 3, 4, 5].map((count) => failure("absent", count))).toEqual([1, 2, 4, 8, 16]);
    expect(failure("not-ready", 60)).toBe(250);
    expect(failure("not-ready", 200, ago(30_000))).toBe(5000);
  });
  test("is the interval after a failure that is somebody's decision", () => {
    expect(failure("disabled", 1)).toBe(5000);
    expect(failure("rejected", 1)).toBe(5000);
    expect(failure("too-large", 1)).toBe(5000);
  });
  test("is never more than the interval, nor slower for being awaited", () => {
    const short = { ...usual, intervalMs: 10 };
    expect(nextPoll({ ...short, lostAt: ago(0) })).toBe(10);
    expect(nextPoll({ ...short, failure: { cause: "absent", count: 30, since: ago(0) } })).toBe(10);
  });
});

describe("two plain values", () => {
  test.each<[unknown, unknown]>([
    [1, 1],
    [Number.NaN, Number.NaN],
    [{ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }],
    [
      { a: 1, b: 2 },
      { b: 2, a: 1 },
    ],
    [new Map([["a", [1]]]), new Map([["a", [1]]])],
    [new Set([1]), new Set([1])],
    [new Uint8Array([1, 2]), new Uint8Array([1, 2])],
  ])("%p and %p are the same", (a, b) => {
    expect(sameData(a, b)).toBe(true);
  });
  test.each<[unknown, unknown]>([
    [1, "1"],
    [null, undefined],
    [{ a: undefined }, {}],
    [{}, { a: undefined }],
    [{ a: undefined }, { b: undefined }],
    [[], {}],
    [[1, 2], [1]],
    [{ toString: 1 }, { a: 1 }],
    [new Map([["a", 1]]), new Map([["a", 2]])],
    [new Map([["a", undefined]]), new Map([["b", undefined]])],
    [new Map(), {}],
    [new Set([1]), new Set([2])],
    [new Uint8Array([1]), new Uint8Array([2])],
    [null, {}],
  ])("%p and %p differ", (a, b) => {
    expect(sameData(a, b)).toBe(false);
    expect(sameData(b, a)).toBe(false);
  });
});
