import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readCdi } from "../../../src/devices/cdi.ts";
import { deviceCgroupIn } from "../../../src/inject/device-cgroup.ts";
import { IdMap } from "../../../src/mediators/drm/owner.ts";
import { classOf, DEVICE_CLASSES } from "../../../src/policy/device-class.ts";
import { globMatcher, parseSelector } from "../../../src/policy/device-selector.ts";
import { decideDevice, decideDeviceLink } from "../../../src/policy/drm.ts";

const runs = { numRuns: Number(process.env["PVX_FUZZ_RUNS"] ?? 300) };
const path = fc.stringMatching(/^\/[a-z*?[\]!./-]{0,24}$/);
const socket = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  path,
  fc.stringMatching(/^(pci|platform|driver|set|cdi):[a-z0-9:.,=/-]{0,30}$/),
  fc.constantFrom("/dev/dri/card0", "/dev/dri/renderD128", "set:compositor,tty=7", "set:nvidia", "/dev/uinput"),
);

describe("selectors", () => {
  test("any text is read or refused, never thrown at", () => {
    fc.assert(
      fc.property(socket, (text) => {
        const parsed = parseSelector(text);
        if (parsed.ok && "path" in parsed.selector)
          expect(parsed.selector.path).toBe(text.includes("gpu=") ? parsed.selector.path : text);
        if (parsed.ok && parsed.selector.kind === "glob") expect(parsed.selector.directory).toStartWith("/");
        if (!parsed.ok) expect(parsed.reason.length).toBeGreaterThan(0);
      }),
      runs,
    );
  });

  /** The obvious way to match, which a hostile name can make slow. */
  const reference = (pattern: string, name: string): boolean => {
    if (pattern === "") return name === "";
    const [first, rest] = [pattern[0]!, pattern.slice(1)];
    if (first === "*") return reference(rest, name) || (name !== "" && reference(pattern, name.slice(1)));
    return name !== "" && (first === "?" || first === name[0]) && reference(rest, name.slice(1));
  };
  test("a pattern of stars and question marks matches as the obvious way does", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[ab*?]{0,8}$/), fc.stringMatching(/^[ab]{0,8}$/), (pattern, name) => {
        expect(globMatcher(pattern)(name)).toBe(reference(pattern, name));
      }),
      runs,
    );
  });
});

describe("decisions", () => {
  const link = fc.record({
    type: fc.constantFrom("drm" as const, "input" as const),
    name: fc.constant("gpu"),
    consumer: fc.constant("app"),
    role: fc.constantFrom("master", "render", "any", "kiosk"),
    socket,
    target: fc.oneof(path, fc.constantFrom("/dev/dri/card0", "/dev/dri/renderD128", "/dev", "/dev/dri")),
  });
  const device = fc.record({
    deviceClass: fc.constantFrom(...DEVICE_CLASSES),
    path: fc.constantFrom("/dev/dri/card0", "/dev/dri/renderD128", "/dev/x"),
    major: fc.nat(300),
    minor: fc.nat(300),
  });

  test("a render link never gets a card, whatever it and the provider say", () => {
    fc.assert(
      fc.property(link, device, fc.boolean(), (asked, found, trusted) => {
        const decision = decideDeviceLink({ ...asked, type: "drm", role: "render" }, undefined);
        if (!decision.ok) return;
        const refused = decideDevice({ ...found, deviceClass: "card" }, decision.classes, "render", trusted);
        expect(refused).toBeDefined();
      }),
      runs,
    );
  });
  test("no link ever gets a control node, and no input link a card", () => {
    fc.assert(
      fc.property(link, device, (asked, found) => {
        const decision = decideDeviceLink(asked, undefined);
        if (!decision.ok) return;
        expect(decideDevice({ ...found, deviceClass: "control" }, decision.classes, asked.role, true)).toBeDefined();
        if (asked.type === "input")
          expect(decideDevice({ ...found, deviceClass: "card" }, decision.classes, asked.role, true)).toBeDefined();
      }),
      runs,
    );
  });
  test("every number has one class", () => {
    fc.assert(
      fc.property(fc.nat(4095), fc.nat(1 << 20), (major, minor) => {
        expect(DEVICE_CLASSES).toContain(classOf({ major, minor }));
      }),
      runs,
    );
  });
});

describe("foreign files", () => {
  test("any CDI text is read or refused, never thrown at", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc
        .object()
        .map((value) =>
          JSON.stringify({ cdiVersion: "0.6.0", kind: "a.com/b", devices: [{ name: "a", containerEdits: value }] }),
        ),
    );
    fc.assert(
      fc.property(
        fc.array(fc.record({ name: fc.constantFrom("a", "b"), text, priority: fc.nat(1) }), { maxLength: 3 }),
        (files) => {
          const read = readCdi(files);
          for (const { nodes } of read.devices.values()) for (const node of nodes) expect(node.path).toStartWith("/");
        },
      ),
      runs,
    );
  });
  test("any mountinfo and cgroup text gives a directory below a mount, or nothing", () => {
    const line = fc.tuple(
      fc.stringMatching(/^[\w/ -]{0,20}$/),
      fc.constantFrom("cgroup", "cgroup2"),
      fc.stringMatching(/^[a-z,]{0,12}$/),
    );
    fc.assert(
      fc.property(fc.array(line), fc.string(), (lines, cgroups) => {
        const mountinfo = lines
          .map(([path, type, options]) => `1 2 0:3 / ${path} rw - ${type} none ${options}`)
          .join("\n");
        const found = deviceCgroupIn(mountinfo, cgroups);
        if (found !== undefined) expect(found.path).not.toStartWith("/..");
      }),
      runs,
    );
  });
  test("ids go through a map and come back", () => {
    const extents = fc.array(fc.tuple(fc.nat(1000), fc.nat(1000), fc.integer({ min: 1, max: 50 })), { maxLength: 5 });
    fc.assert(
      fc.property(extents, fc.nat(1100), (parts, id) => {
        const map = new IdMap(parts.map((part) => part.join(" ")).join("\n"));
        const host = map.toHost(id);
        if (host !== undefined) expect(map.toInside(host)).toBeDefined();
      }),
      runs,
    );
  });
});
