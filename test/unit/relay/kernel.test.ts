import { expect, test } from "bun:test";
import { versionAtLeast } from "../../../src/sys/kernel.ts";

test.each([
  ["6.5.0", true],
  ["6.18.44-custom", true],
  ["7.0", true],
  ["6.4.99", false],
  ["5.15.0-91-generic", false],
  ["6.10-rc1", true],
  ["", false],
  ["unreadable", false],
])("kernel %p is at least 6.5: %p", (release, expected) => {
  expect(versionAtLeast(release, 6, 5)).toBe(expected);
});
