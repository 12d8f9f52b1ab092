import { describe, expect, test } from "bun:test";
import type { Link } from "../../../src/graph/link.ts";
import {
  decodeGraph,
  linkKey,
  MAX_GRAPH_BYTES,
  parseGraph,
  readGraph,
  type Skipped,
} from "../../../src/graph/schema.ts";

const ENTRY = {
  type: "unix",
  name: "raw",
  consumer: "app",
  consumer_pid: 12,
  provider: "backend",
  provider_pid: 34,
  role: "any",
  interface: "unix",
  target: "/run/raw.sock",
  socket: "/run/example/raw.sock",
};

function read(value: unknown): { links: readonly Link[]; skipped: readonly Skipped[] } {
  const parsed = readGraph(value);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed;
}
function only(change: Record<string, unknown>): Link {
  const { links, skipped } = read([{ ...ENTRY, ...change }]);
  if (links[0] === undefined) throw new Error(skipped[0]?.reason);
  return links[0];
}
/** Why an entry that stands between two good ones is skipped; the good ones must survive. */
function reasonFor(entry: unknown): string {
  const before = { ...ENTRY, consumer: "before" };
  const after = { ...ENTRY, consumer: "after" };
  const { links, skipped } = read([before, entry, after]);
  expect(links.map((link) => link.consumer)).toEqual(["before", "after"]);
  expect(skipped).toHaveLength(1);
  expect(skipped[0]?.index).toBe(1);
  return `${skipped[0]?.kind} ${skipped[0]?.pointer}: ${skipped[0]?.reason}`;
}

describe("a graph entry", () => {
  test("becomes a link", () => {
    expect(only({})).toEqual({
      key: '["app","raw","/run/raw.sock"]',
      type: "unix",
      name: "raw",
      consumer: "app",
      consumerPid: 12,
      provider: "backend",
      providerPid: 34,
      role: "any",
      interface: "unix",
      target: "/run/raw.sock",
      socket: "/run/example/raw.sock",
      uid: null,
    });
  });

  test("of Pantavisor's own documentation, which has no provider, becomes a link", () => {
    const { provider: _, ...documented } = ENTRY;
    expect(read([documented]).links[0]?.provider).toBe("");
  });

  test.each([null, undefined, ""])("with %p for role, interface and target has the defaults", (nothing) => {
    const link = only({ role: nothing, interface: nothing, target: nothing, uid: null });
    expect(link).toMatchObject({ role: "any", interface: "unix", target: "/run/pv/services/raw.sock", uid: null });
  });

  test("with an absolute path as its interface and no target is planted there", () => {
    expect(only({ interface: "/run//x.sock", target: null }).target).toBe("/run/x.sock");
    expect(only({ interface: "org.example.X", target: null }).target).toBe("/run/pv/services/raw.sock");
  });

  test("with fields of a newer version is taken without them", () => {
    expect(Object.keys(only({ colour: "red", consumer_uid: 5 }))).not.toContain("colour");
  });

  test("of the hosted bus has the host as its provider and a uid", () => {
    const link = only({ type: "dbus", provider: "_pv_", provider_pid: 0, uid: 90_001 });
    expect(link).toMatchObject({ providerPid: 0, uid: 90_001 });
  });

  test("that is not up has pid -1, whichever negative number was given", () => {
    expect(only({ consumer_pid: -1 }).consumerPid).toBe(-1);
    expect(only({ provider_pid: -7 }).providerPid).toBe(-1);
  });

  test("for a device may select by something else than a path", () => {
    expect(only({ type: "drm", socket: "pci:0000:00:02.0" }).socket).toBe("pci:0000:00:02.0");
  });

  test("keeps any name that JSON can hold", () => {
    const consumer = 'a"],["\u0001\u007f/../ü\u{1f600}__proto__';
    expect(only({ consumer }).consumer).toBe(consumer);
  });

  test.each([
    [{ target: "/a//b/./c/" }, "/a/b/c"],
    [{ target: "//a" }, "/a"],
    [{ target: "/a/..b/c.." }, "/a/..b/c.."],
    [{ target: `/${"x".repeat(4094)}` }, `/${"x".repeat(4094)}`],
  ])("with %j has one spelling of its target", (change, target) => {
    expect(only(change).target).toBe(target);
  });
});

describe("skipped, with its place, and without harm to its neighbours, is", () => {
  test.each<[unknown, string]>([
    [null, "unknown /1: is null, expected an object"],
    [[], "unknown /1: is an array of 0, expected an object"],
    ["x", 'unknown /1: is "x", expected an object'],
    [{}, 'unknown /1: has no type: an entry of another kind with the keys ""'],
    [
      { activatable: true, bus: "system-bus", owner: "o", socket: "/s" },
      'unknown /1: has no type: an entry of another kind with the keys "activatable, bus, owner, socket"',
    ],
    [{ ...ENTRY, consumer: null }, "unknown /1/consumer: is null, expected a consumer"],
    [{ ...ENTRY, type: "tcp" }, 'unknown /1/type: is "tcp", expected one of unix, rest, dbus, drm, wayland, input'],
    [
      { ...ENTRY, type: "unknown" },
      'unknown /1/type: is "unknown", expected one of unix, rest, dbus, drm, wayland, input',
    ],
    [
      { ...ENTRY, type: ["unix"] },
      'invalid /1/type: is an array of 1, expected "unix" or "rest" or "dbus" or "drm" or "wayland" or "input"',
    ],
    [
      { ...ENTRY, consumer_pid: "12" },
      'invalid /1/consumer_pid: is "12", expected a whole number: 0 for the host, -1 for not up, at most 4194304',
    ],
    [
      { ...ENTRY, consumer_pid: null },
      "invalid /1/consumer_pid: is null, expected a whole number: 0 for the host, -1 for not up, at most 4194304",
    ],
    [
      { ...ENTRY, provider_pid: undefined },
      "invalid /1/provider_pid: is missing, expected a whole number: 0 for the host, -1 for not up, at most 4194304",
    ],
    [
      { ...ENTRY, provider_pid: 1.5 },
      "invalid /1/provider_pid: is 1.5, expected a whole number: 0 for the host, -1 for not up, at most 4194304",
    ],
    [
      { ...ENTRY, provider_pid: 4194305 },
      "invalid /1/provider_pid: is 4194305, expected a whole number: 0 for the host, -1 for not up, at most 4194304",
    ],
    [{ ...ENTRY, name: null }, "invalid /1/name: is null, expected a name of 1 to 4096 characters without NUL"],
    [{ ...ENTRY, consumer: "" }, 'invalid /1/consumer: is "", expected a name of 1 to 4096 characters without NUL'],
    [
      { ...ENTRY, consumer: "a\0b" },
      'invalid /1/consumer: is "a\\u0000b", expected a name of 1 to 4096 characters without NUL',
    ],
    [
      { ...ENTRY, consumer: "\ud800" },
      'invalid /1/consumer: is "\\ud800", expected a name of 1 to 4096 characters without NUL',
    ],
    [{ ...ENTRY, role: 5 }, "invalid /1/role: is 5, expected a name of 1 to 4096 characters without NUL"],
    [{ ...ENTRY, uid: "0" }, 'invalid /1/uid: is "0", expected a whole number from 0 to 4294967294'],
    [{ ...ENTRY, uid: 4294967295 }, "invalid /1/uid: is 4294967295, expected a whole number from 0 to 4294967294"],
    [{ ...ENTRY, socket: null }, "invalid /1/socket: is null, expected a string"],
    [
      { ...ENTRY, socket: "@abstract" },
      'invalid /1/socket: is "@abstract", expected an absolute path of 1 to 4095 bytes without NUL',
    ],
    [
      { ...ENTRY, target: "run/x" },
      'invalid /1/target: gives the target "run/x", expected an absolute path without ".." and NUL',
    ],
    [
      { ...ENTRY, target: "/run/../etc/x" },
      'invalid /1/target: gives the target "/run/../etc/x", expected an absolute path without ".." and NUL',
    ],
    [
      { ...ENTRY, target: "/run/\ud800" },
      'invalid /1/target: gives the target "/run/\\ud800", expected an absolute path without ".." and NUL',
    ],
    [
      { ...ENTRY, target: "/run/x\0" },
      'invalid /1/target: gives the target "/run/x\\u0000", expected an absolute path without ".." and NUL',
    ],
    [{ ...ENTRY, target: "//." }, 'invalid /1/target: gives the target "//.", expected a path below /'],
    [
      { ...ENTRY, target: null, interface: "/../x" },
      'invalid /1/interface: gives the target "/../x", expected an absolute path without ".." and NUL',
    ],
    [
      { ...ENTRY, target: null, name: "../../etc/x" },
      'invalid /1/name: gives the target "/run/pv/services/../../etc/x.sock", expected an absolute path without ".." and NUL',
    ],
  ])("%j", (entry, reason) => {
    expect(reasonFor(entry)).toBe(reason);
  });

  test("a target longer than the kernel's PATH_MAX, counted in bytes", () => {
    expect(reasonFor({ ...ENTRY, target: `/${"x".repeat(4095)}` })).toContain("at most 4095 bytes");
    expect(reasonFor({ ...ENTRY, target: `/${"ü".repeat(2048)}` })).toContain("at most 4095 bytes");
  });

  test("a second entry for one target of one consumer, whichever name and provider it has", () => {
    const second = { ...ENTRY, name: "other", provider: "second", target: "/run//raw.sock" };
    const { links, skipped } = read([ENTRY, second, ENTRY]);
    expect(links).toHaveLength(1);
    expect(skipped.map((skip) => skip.kind)).toEqual(["duplicate", "duplicate"]);
    expect(skipped[0]?.reason).toBe(
      'entry 0 has target "/run/raw.sock" of consumer "app" already (provider "second" is left out)',
    );
  });

  test("a second consumer on the host with the first one's target", () => {
    const host = { ...ENTRY, consumer_pid: 0 };
    expect(read([host, { ...host, consumer: "b" }]).links).toHaveLength(1);
    expect(
      read([
        { ...host, consumer_pid: -1 },
        { ...host, consumer_pid: -1, consumer: "b" },
      ]).links,
    ).toHaveLength(2);
  });

  test("a duplicate only of what was taken: the place of a skipped entry is free", () => {
    expect(read([{ ...ENTRY, socket: 5 }, ENTRY]).links).toHaveLength(1);
  });

  test("whatever stands beyond 10,000 entries", () => {
    const { links, skipped } = read(Array.from({ length: 10_002 }, (_, i) => ({ ...ENTRY, consumer: `c${i}` })));
    expect(links).toHaveLength(10_000);
    expect(skipped).toEqual([
      {
        index: 10_000,
        pointer: "/10000",
        kind: "cap",
        reason: "entries 10000 to 10001 are left out, at most 10000 are read",
      },
    ]);
  });
});

describe("a document", () => {
  test.each([
    ["{}", "the graph is an object, expected an array"],
    ["null", "the graph is null, expected an array"],
  ])("%j is no graph", (text, reason) => {
    expect(parseGraph(text)).toEqual({ ok: false, reason });
  });
  test("that is cut is no graph, not a smaller one", () => {
    const text = JSON.stringify([ENTRY, ENTRY]);
    for (let length = 0; length < text.length; length++) expect(parseGraph(text.slice(0, length)).ok).toBe(false);
  });
  test("that is nested deeper than the stack is no graph", () => {
    expect(parseGraph("[".repeat(5_000_000)).ok).toBe(false);
  });
  test("of more than 10 MB is refused before it is read", () => {
    expect(decodeGraph(new Uint8Array(MAX_GRAPH_BYTES + 1).fill(0x20)).ok).toBe(false);
  });
  test("with bytes that are no UTF-8 loses only the entries that have them", () => {
    const text = JSON.stringify([
      { ...ENTRY, consumer: "a?" },
      { ...ENTRY, consumer: "ok\ufffd?" },
      { ...ENTRY, consumer: "fine" },
    ]);
    const bytes = Uint8Array.from(Buffer.from(text));
    for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0x3f) bytes[i] = 0xff;
    const parsed = decodeGraph(bytes);
    expect(parsed.ok && parsed.links.map((link) => link.consumer)).toEqual(["fine"]);
    expect(parsed.ok && parsed.skipped[0]?.pointer).toBe("/0/consumer");
  });
  test("of 10 MB with 5,000 links is read in a fraction of the interval", () => {
    const entries = Array.from({ length: 5000 }, (_, i) => ({ ...ENTRY, consumer: `c${i}`, filler: "x".repeat(1700) }));
    const bytes = new TextEncoder().encode(JSON.stringify(entries));
    expect(bytes.length).toBeGreaterThan(9_000_000);
    const start = performance.now();
    const parsed = decodeGraph(bytes);
    expect(parsed.ok && parsed.links.length).toBe(5000);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

test("keys differ where the triples do, whatever is in the names", () => {
  const parts = ["a", '"', ",", '","', "\\", "a,b", "", '"]', "["];
  const keys = new Set<string>();
  for (const a of parts) for (const b of parts) for (const c of parts) keys.add(linkKey(a, b, c));
  expect(keys.size).toBe(parts.length ** 3);
});
