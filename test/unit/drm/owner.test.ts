import { describe, expect, test } from "bun:test";
import { carriedOver, HOST_IDS, IdMap } from "../../../src/mediators/drm/owner.ts";

const shifted = new IdMap("         0     100000      65536\n");
const pieces = new IdMap("0 100000 10\n10 500 1\n11 100011 1000\n");

describe("a node's owner", () => {
  test("stays what it is between the host and a plain container", () => {
    expect(carriedOver(44, HOST_IDS, HOST_IDS)).toBe(44);
  });
  test("is shifted into a user-namespaced consumer, and out of a user-namespaced provider", () => {
    expect(carriedOver(44, HOST_IDS, shifted)).toBe(100_044);
    expect(carriedOver(100_044, shifted, HOST_IDS)).toBe(44);
    expect(carriedOver(100_044, shifted, shifted)).toBe(100_044);
  });
  test("goes through a map of several pieces", () => {
    expect(carriedOver(10, HOST_IDS, pieces)).toBe(500);
    expect(carriedOver(11, HOST_IDS, pieces)).toBe(100_011);
    expect(carriedOver(500, pieces, HOST_IDS)).toBe(10);
  });
  test("that one of them has no number for becomes the consumer's root", () => {
    expect(carriedOver(44, shifted, HOST_IDS)).toBe(0);
    expect(carriedOver(70_000, HOST_IDS, shifted)).toBe(100_000);
  });
  test("in a namespace without any mapping is 0", () => expect(carriedOver(44, HOST_IDS, new IdMap(""))).toBe(0));
});
