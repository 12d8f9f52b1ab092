import { describe, expect, test } from "bun:test";
import type { WantedNode } from "../../../src/devices/find.ts";
import { differenceOf, type LinkNode } from "../../../src/mediators/drm/nodes.ts";

const wanted = (fields: Partial<WantedNode> = {}): WantedNode => ({
  source: "/dev/dri/card0",
  target: "/dev/dri/card0",
  major: 226,
  minor: 0,
  mode: 0o660,
  uid: 0,
  gid: 44,
  owner: "host",
  deviceClass: "card",
  ...fields,
});
const standing = (...nodes: WantedNode[]) =>
  new Map(nodes.map((node) => [node.target, { wanted: node, planted: {}, refused: undefined } as unknown as LinkNode]));

describe("what stands differs from what is wanted", () => {
  const other = wanted({ source: "/dev/dri/card1", target: "/dev/dri/card1", minor: 1 });
  test("in nothing", () => expect(differenceOf(standing(wanted(), other), [other, wanted()])).toBeUndefined());
  test("by a device that has come", () => {
    expect(differenceOf(standing(wanted()), [wanted(), other])).toBe("device /dev/dri/card1 has appeared");
  });
  test("by a device that has gone", () => {
    expect(differenceOf(standing(wanted(), other), [wanted()])).toBe("device /dev/dri/card1 has gone");
  });
  test("by another number", () => {
    expect(differenceOf(standing(wanted()), [wanted({ minor: 2 })])).toBe("device /dev/dri/card0 is now 226:2");
  });
  test("by its mode, owner or group", () => {
    for (const fields of [{ mode: 0o600 }, { uid: 1 }, { gid: 1 }, { owner: "inside" as const }])
      expect(differenceOf(standing(wanted()), [wanted(fields)])).toBe(
        "mode or owner of device /dev/dri/card0 has changed",
      );
  });
});
