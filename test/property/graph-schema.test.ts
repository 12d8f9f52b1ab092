import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeGraph, parseGraph, readGraph } from "../../src/graph/schema.ts";

const RUNS = Number(process.env.PVX_FUZZ_RUNS ?? 300);
const KEYS = [
  "type",
  "name",
  "consumer",
  "consumer_pid",
  "provider",
  "provider_pid",
  "role",
  "interface",
  "target",
  "socket",
  "uid",
];
const GOOD = {
  type: "unix",
  name: "n",
  consumer: "known",
  consumer_pid: 5,
  provider: "p",
  provider_pid: 6,
  role: "any",
  interface: "unix",
  target: "/run/known.sock",
  socket: "/run/p.sock",
};

const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("/a", "/a/../b", "unix", "drm", "rest", "known2", "\0", "\ud800", "__proto__", ""),
);
const anyValue = fc.oneof(
  anyText,
  fc.integer(),
  fc.double(),
  fc.constant(null),
  fc.boolean(),
  fc.constantFrom(0, -1, 1e9),
  fc.array(fc.integer()),
  fc.jsonValue(),
);
/** Entries that look right for the most part, so that every branch is reached. */
const entryLike = fc
  .dictionary(fc.constantFrom(...KEYS, "__proto__", "extra"), anyValue)
  .chain((change) =>
    fc
      .constantFrom({ ...GOOD, consumer: "other", target: "/run/other.sock" }, {})
      .map((base) => ({ ...base, ...change })),
  );
const garbage = fc.oneof(fc.jsonValue(), entryLike);

test("any JSON value gives a graph or a reason, never an exception", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const parsed = readGraph(value);
      expect(parsed.ok || parsed.reason.length > 0).toBe(true);
    }),
    { numRuns: RUNS },
  );
});

test("any bytes give a graph or a reason, never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.json(), fc.nat(), (noise, json, at) => {
      decodeGraph(noise);
      const bytes = new TextEncoder().encode(`[${json}]`);
      bytes.set(noise.subarray(0, Math.max(0, Math.min(3, bytes.length))), at % Math.max(1, bytes.length - 3));
      decodeGraph(bytes);
    }),
    { numRuns: RUNS },
  );
});

test("a known link survives beside any garbage, and every entry is a link or has a reason", () => {
  fc.assert(
    fc.property(fc.array(garbage, { maxLength: 12 }), fc.nat(), (entries, at) => {
      // Garbage that claims the known link's own place is a duplicate, not garbage: keep it after the link.
      const rival = (entry: unknown) => JSON.stringify(entry).includes("known");
      const others = entries.filter((entry) => !rival(entry));
      const mixed: unknown[] = [...others];
      mixed.splice(at % (others.length + 1), 0, GOOD);
      const parsed = parseGraph(JSON.stringify(mixed));
      if (!parsed.ok) throw new Error(parsed.reason);
      expect(parsed.links.some((link) => link.consumer === "known" && link.target === "/run/known.sock")).toBe(true);
      expect(parsed.links.length + parsed.skipped.length).toBe(mixed.length);
    }),
    { numRuns: RUNS },
  );
});

test("whatever becomes a link keeps the rules that the rooms below rely on", () => {
  fc.assert(
    fc.property(fc.array(entryLike, { maxLength: 12 }), (entries) => {
      const parsed = readGraph(entries);
      if (!parsed.ok) throw new Error(parsed.reason);
      const keys = new Set(parsed.links.map((link) => link.key));
      expect(keys.size).toBe(parsed.links.length);
      for (const link of parsed.links) {
        expect(link.target).toMatch(/^\/[^\0]+$/);
        expect(link.target.split("/")).not.toContain("..");
        expect(link.target).not.toMatch(/\/\/|\/\.\/|\/$/);
        expect(Number.isInteger(link.consumerPid) && link.consumerPid >= -1).toBe(true);
        expect(Number.isInteger(link.providerPid) && link.providerPid >= -1).toBe(true);
        for (const text of [link.name, link.consumer, link.role, link.socket, link.interface]) {
          expect(text).not.toBe("");
          expect(text).not.toContain("\0");
        }
      }
    }),
    { numRuns: RUNS },
  );
});
