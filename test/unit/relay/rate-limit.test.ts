import { expect, test } from "bun:test";
import { RateLimit } from "../../../src/relay/rate-limit.ts";

test("a burst passes, then so many a second, and idle time saves up no more than a burst", () => {
  const limit = new RateLimit(5, 10);
  const taken = (now: number, tries: number) =>
    Array.from({ length: tries }, () => limit.take(now)).filter(Boolean).length;
  expect(taken(1000, 20)).toBe(5);
  expect(taken(1050, 20)).toBe(0);
  expect(taken(1100, 20)).toBe(1);
  expect(taken(1600, 20)).toBe(5);
  expect(taken(100_000, 20)).toBe(5);
});
