import { describe, expect, test } from "bun:test";
import { type DeviceSelector, globMatcher, parseSelector, targetIsNode } from "../../../src/policy/device-selector.ts";

describe("a selector is read", () => {
  const cases: [string, DeviceSelector][] = [
    ["/dev/dri/card0", { kind: "path", path: "/dev/dri/card0" }],
    ["/dev/dri/card*", { kind: "glob", directory: "/dev/dri", pattern: "card*" }],
    ["/card?", { kind: "glob", directory: "/", pattern: "card?" }],
    ["/dev/dri/by-path/pci-0000:00:02.0-card", { kind: "pci", address: "0000:00:02.0", suffix: "card" }],
    ["/dev/dri/by-path/pci-0000:00:02.0-render", { kind: "pci", address: "0000:00:02.0", suffix: "render" }],
    ["/dev/dri/by-path/platform-fec00000.v3d-render", { kind: "platform", device: "fec00000.v3d", suffix: "render" }],
    [
      "/dev/dri/by-path/pci-0000:00:14.0-usb-0:1:1.0-card",
      { kind: "link", path: "/dev/dri/by-path/pci-0000:00:14.0-usb-0:1:1.0-card" },
    ],
    ["/dev/input/by-id/usb-keyboard-event-kbd", { kind: "link", path: "/dev/input/by-id/usb-keyboard-event-kbd" }],
    ["pci:0000:00:02.0", { kind: "pci", address: "0000:00:02.0" }],
    ["pci:10000:E1:00.0", { kind: "pci", address: "10000:e1:00.0" }],
    ["platform:gpu", { kind: "platform", device: "gpu" }],
    ["driver:vkms", { kind: "driver", driver: "vkms" }],
    ["set:uinput", { kind: "set", set: "uinput" }],
    ["set:nvidia", { kind: "set", set: "nvidia" }],
    ["set:nvidia,gpu=1", { kind: "set", set: "nvidia", gpu: 1 }],
    ["set:compositor", { kind: "set", set: "compositor" }],
    [
      "set:compositor,gpu=pci:0000:00:02.0,tty=7",
      { kind: "set", set: "compositor", gpu: { kind: "pci", address: "0000:00:02.0" }, tty: 7 },
    ],
    ["cdi:nvidia.com/gpu=all", { kind: "cdi", device: "nvidia.com/gpu=all" }],
    ["cdi:vendor.com/class.a=0", { kind: "cdi", device: "vendor.com/class.a=0" }],
  ];
  for (const [text, selector] of cases) test(text, () => expect(parseSelector(text)).toEqual({ ok: true, selector }));
});

describe("a selector is refused with a reason", () => {
  const cases: [string, RegExp][] = [
    ["", /names no device/],
    ["dev/dri/card0", /names no device/],
    ["usb:1-1", /names no device/],
    ["/dev/../etc/passwd", /has "\.\."/],
    ["/dev/dri/", /names a directory/],
    ["/dev/*/card0", /wildcard before its last part/],
    [`/dev/dri/${"*".repeat(256)}`, /more than 255 characters/],
    ["/dev/dri/card0\0", /NUL/],
    ["pci:00:02.0", /no PCI address/],
    ["pci:0000:00:02.8", /no PCI address/],
    ["pci:../../x", /no PCI address/],
    ["platform:../x", /no name of a platform/],
    ["platform:..", /no name of a platform/],
    ["driver:", /no name of a driver/],
    ["set:", /no set ""/],
    ["set:audio", /no set "audio"/],
    ["set:uinput,gpu=1", /no option "gpu"/],
    ["set:compositor,tty=0", /no virtual console/],
    ["set:compositor,tty=64", /no virtual console/],
    ["set:compositor,tty=1,tty=2", /given twice/],
    ["set:compositor,tty", /not name=value/],
    ["set:compositor,gpu=set:nvidia", /not one device/],
    ["set:compositor,gpu=/dev/dri/card*", /not one device/],
    ["set:nvidia,gpu=x", /no number/],
    ["cdi:gpu=all", /no CDI device/],
    ["cdi:nvidia.com/gpu", /no CDI device/],
  ];
  for (const [text, reason] of cases)
    test(JSON.stringify(text), () => {
      const parsed = parseSelector(text);
      expect(parsed.ok).toBe(false);
      expect(parsed.ok ? "" : parsed.reason).toMatch(reason);
    });
});

describe("a pattern", () => {
  const cases: [string, string, boolean][] = [
    ["card*", "card0", true],
    ["card*", "card", true],
    ["card*", "renderD128", false],
    ["card?", "card10", false],
    ["card[0-1]", "card1", true],
    ["card[!0]", "card0", false],
    ["card[!0]", "card1", true],
    ["a.b*", "axb", false],
    ["(card*", "(card0", true],
    ["card[", "card[", true],
    ["[z-a]", "m", false],
    ["a^b*", "a^b", true],
    ["card*", "card\n0", true],
  ];
  for (const [pattern, name, expected] of cases)
    test(`${pattern} ${expected ? "takes" : "leaves"} ${JSON.stringify(name)}`, () =>
      expect(globMatcher(pattern)(name)).toBe(expected));

  test("of many stars is no work, whatever the names are", () => {
    const matches = globMatcher(`${"*a".repeat(127)}b`);
    const name = "a".repeat(255);
    const started = performance.now();
    for (let i = 0; i < 100; i++) expect(matches(name)).toBe(false);
    expect(performance.now() - started).toBeLessThan(1500);
  });
});

describe("the target", () => {
  const is = (socket: string, target: string): boolean => {
    const parsed = parseSelector(socket);
    return parsed.ok && targetIsNode(parsed.selector, target);
  };
  test("of one named device is the node, whatever it is called", () => {
    expect(is("/dev/dri/card0", "/dev/my-display")).toBe(true);
  });
  test("of a pattern or a PCI device is the node when its name looks like one, else the directory", () => {
    expect(is("/dev/dri/card*", "/dev/dri/card0")).toBe(true);
    expect(is("pci:0000:00:02.0", "/dev/dri/renderD128")).toBe(true);
    expect(is("/dev/dri/card*", "/dev/dri")).toBe(false);
    expect(is("pci:0000:00:02.0", "/dev/dri")).toBe(false);
  });
  test("of a set or a CDI device is a directory", () => {
    expect(is("set:compositor", "/dev")).toBe(false);
    expect(is("set:compositor", "/dev/card0")).toBe(false);
    expect(is("cdi:a.com/b=c", "/dev/card0")).toBe(false);
    expect(is("set:uinput", "/dev/uinput")).toBe(true);
  });
});
