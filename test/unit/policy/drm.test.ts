import { describe, expect, test } from "bun:test";
import { type DeviceLink, decideDevice, decideDeviceLink } from "../../../src/policy/drm.ts";
import { parsePolicyFile, type ServicePolicy } from "../../../src/policy/schema.ts";

const link = (fields: Partial<DeviceLink>): DeviceLink => ({
  type: "drm",
  name: "gpu",
  consumer: "app",
  role: "any",
  socket: "/dev/dri/card0",
  target: "/dev/dri/card0",
  ...fields,
});

function policy(service: unknown): ServicePolicy {
  const parsed = parsePolicyFile(
    JSON.stringify({ "#spec": "xconnect-policy@1", services: { gpu: service } }),
    "gpu.json",
  );
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get("gpu")!;
}

const classesOf = (fields: Partial<DeviceLink>, service?: unknown) => {
  const decision = decideDeviceLink(link(fields), service === undefined ? undefined : policy(service));
  return decision.ok ? decision.classes : decision.reason;
};
const render = { socket: "/dev/dri/renderD128", target: "/dev/dri/renderD128" };

describe("without a policy", () => {
  test("master gets cards and nothing else", () => expect(classesOf({ role: "master" })).toEqual(["card"]));
  test("render gets render nodes and no card", () => {
    expect(classesOf({ role: "render", ...render })).toEqual(["render", "accel", "nvidia"]);
  });
  test("a render link that names a card is refused", () => {
    expect(classesOf({ role: "render" })).toMatch(
      /Role "render".*may not give socket \/dev\/dri\/card0, a card \(KMS\) node/,
    );
  });
  test("a render link that names a card as its target is refused", () => {
    expect(classesOf({ role: "render", socket: "pci:0000:00:02.0" })).toMatch(/target \/dev\/dri\/card0, a card/);
  });
  test("a render link to a card by its place on the bus is refused", () => {
    const socket = "/dev/dri/by-path/pci-0000:00:02.0-card";
    expect(classesOf({ role: "render", socket, target: "/dev/gpu" })).toMatch(/may not give socket/);
  });
  test("a master link that names a render node is refused", () => {
    expect(classesOf({ role: "master", ...render })).toMatch(/may not give socket .*renderD128, a render node/);
  });
  test("any gets what the target's name says", () => {
    expect(classesOf({})).toEqual(["card"]);
    expect(classesOf(render)).toEqual(["render"]);
  });
  test("any may not plant a card under a render node's name", () => {
    expect(classesOf({ target: "/dev/dri/renderD128" })).toMatch(/may not give socket \/dev\/dri\/card0/);
  });
  test("any with a directory as its target gets every class", () => {
    const classes = classesOf({ socket: "/dev/dri/*", target: "/dev/dri" });
    expect(classes).toContain("card");
    expect(classes).toContain("render");
    expect(classes).not.toContain("control");
  });
  test("a role that says nothing of devices is refused", () => {
    expect(classesOf({ role: "rendr" })).toMatch(
      /Role "rendr" says nothing of a device: expected master, render or any/,
    );
  });
  test("a selector that can't be read is refused", () => {
    expect(classesOf({ socket: "pci:zz" })).toMatch(/no PCI address/);
  });
});

describe("with a policy", () => {
  const service = { type: "drm", roles: { render: {}, master: { consumers: ["compositor"] }, any: {} } };
  test("a role that it does not list is refused", () => {
    expect(classesOf({ role: "render", ...render }, { type: "drm", roles: { master: {} } })).toMatch(
      /does not list role "render"/,
    );
  });
  test("a role kept for another consumer is refused", () => {
    expect(classesOf({ role: "master" }, service)).toMatch(/keeps role "master" of service "gpu" from consumer "app"/);
    expect(classesOf({ role: "master", consumer: "compositor" }, service)).toEqual(["card"]);
  });
  test("any gets render nodes, and a card only when the policy names it", () => {
    expect(classesOf({}, service)).toMatch(/may not give socket \/dev\/dri\/card0.*allows a render node/);
    expect(classesOf(render, service)).toEqual(["render"]);
    expect(classesOf({}, { type: "drm", roles: { any: { nodes: ["card", "render"] } } })).toEqual(["card"]);
  });
  test("nodes never widens master or render", () => {
    const wide = {
      type: "drm",
      roles: { render: { nodes: ["card", "render"] }, master: { nodes: ["card", "render"] } },
    };
    expect(classesOf({ role: "render" }, wide)).toMatch(/may not give/);
    expect(classesOf({ role: "render", ...render }, wide)).toEqual(["render"]);
    expect(classesOf({ role: "master" }, wide)).toEqual(["card"]);
  });
  test("a role of the integrator's own gets render nodes unless it says more", () => {
    expect(classesOf({ role: "kiosk", ...render }, { type: "drm", roles: { kiosk: {} } })).toEqual(["render"]);
    expect(classesOf({ role: "kiosk" }, { type: "drm", roles: { kiosk: {} } })).toMatch(/may not give/);
    expect(classesOf({ role: "kiosk" }, { type: "drm", roles: { kiosk: { nodes: ["card"] } } })).toEqual(["card"]);
  });
  test("of another type, the link is refused", () => {
    expect(classesOf({}, { type: "input", roles: { any: {} } })).toMatch(/as type "input", the link is of type "drm"/);
  });
  test("unknown node kinds are an error of the file", () => {
    expect(() => policy({ type: "drm", roles: { any: { nodes: ["tty"] } } })).toThrow(/nodes\/0/);
  });
});

describe("sets", () => {
  const target = "/dev";
  test("the compositor's brings the keyboard and console with the card", () => {
    expect(classesOf({ role: "master", socket: "set:compositor,tty=7", target })).toEqual([
      "card",
      "render",
      "event",
      "tty",
    ]);
    expect(classesOf({ role: "any", socket: "set:compositor", target })).toContain("card");
  });
  test("the compositor's is refused to who may not have a card", () => {
    expect(classesOf({ role: "render", socket: "set:compositor", target })).toMatch(/may not give set:compositor/);
    expect(classesOf({ socket: "set:compositor", target }, { type: "drm", roles: { any: {} } })).toMatch(
      /may not give/,
    );
  });
  test("NVIDIA's brings mode setting to a master only", () => {
    expect(classesOf({ role: "render", socket: "set:nvidia", target })).toEqual(["nvidia"]);
    expect(classesOf({ role: "master", socket: "set:nvidia", target })).toEqual(["nvidia", "nvidia-modeset"]);
  });
  test("uinput's is an input link's", () => {
    expect(classesOf({ type: "input", socket: "set:uinput", target: "/dev/uinput" })).toEqual(["uinput"]);
    expect(classesOf({ type: "drm", socket: "set:uinput", target: "/dev/uinput" })).toMatch(/may not give set:uinput/);
  });
});

describe("input links", () => {
  const keyboard = { type: "input", socket: "/dev/input/event0", target: "/dev/input/event0" } as const;
  const uinput = { type: "input", socket: "/dev/uinput", target: "/dev/uinput" } as const;
  test("get event nodes under any role", () => {
    expect(classesOf({ ...keyboard, role: "operator" })).toContain("event");
  });
  test("get uinput when they name it, and not by the way", () => {
    expect(classesOf(uinput)).toContain("uinput");
    expect(classesOf({ type: "input", socket: "/dev/*", target: "/dev" })).not.toContain("uinput");
  });
  test("get uinput under a policy only when it is listed", () => {
    expect(classesOf(uinput, { type: "input", roles: { any: {} } })).toMatch(/may not give socket \/dev\/uinput/);
    expect(classesOf(uinput, { type: "input", roles: { any: { nodes: ["uinput"] } } })).toEqual(["uinput"]);
  });
  test("never get a card", () => {
    expect(classesOf({ type: "input" })).toMatch(/may not give socket \/dev\/dri\/card0/);
  });
});

describe("a device that was found", () => {
  const card = { deviceClass: "card", path: "/dev/dri/renderD128", major: 226, minor: 0 } as const;
  const other = { deviceClass: "other", path: "/dev/mem", major: 1, minor: 1 } as const;
  const standIn = (path: string) => ({ deviceClass: "placeholder", path, major: 1, minor: 3 }) as const;
  test("is judged by what it is, not by its name", () => {
    expect(decideDevice(card, ["render"], "render", true)).toMatch(
      /renderD128 \(226:0\) is a card \(KMS\) node, and role "render" allows a render node/,
    );
    expect(decideDevice(card, ["card"], "master", true)).toBeUndefined();
  });
  test("of no known class is taken from the host, never from a container", () => {
    expect(decideDevice(other, ["other"], "any", true)).toBeUndefined();
    expect(decideDevice(other, ["other"], "any", false)).toMatch(/its provider is a container/);
  });
  test("that stands in for another is judged as what it stands for", () => {
    expect(decideDevice(standIn("/dev/dri/renderD128"), ["render"], "render", false)).toBeUndefined();
    expect(decideDevice(standIn("/dev/dri/card0"), ["render"], "render", false)).toMatch(/allows a render node/);
    expect(decideDevice(standIn("/dev/anything"), ["render"], "render", false)).toBeUndefined();
  });
  test("that is a control node goes to nobody", () => {
    const control = { deviceClass: "control", path: "/dev/dri/controlD64", major: 226, minor: 64 } as const;
    const all = classesOf({ socket: "/dev/dri/*", target: "/dev/dri" });
    expect(decideDevice(control, all as never, "any", true)).toMatch(/DRM control node/);
  });
});
