import { describe, expect, test } from "bun:test";
import { readCdi } from "../../../src/devices/cdi.ts";
import { parseCdi } from "../../../src/devices/cdi-schema.ts";

const spec = (fields: Record<string, unknown> = {}) => ({
  cdiVersion: "0.6.0",
  kind: "vendor.com/device",
  devices: [{ name: "myDevice", containerEdits: { deviceNodes: [{ path: "/dev/card1" }] } }],
  ...fields,
});
const parse = (value: unknown) =>
  parseCdi(typeof value === "string" ? value : JSON.stringify(value), "/etc/cdi/v.json");
const errors = (value: unknown): string => {
  const parsed = parse(value);
  return parsed.ok ? "" : parsed.errors.join("\n");
};

describe("a CDI file", () => {
  test("with all that version 1.1.0 knows is read", () => {
    const edits = {
      env: ["A=B"],
      deviceNodes: [
        {
          path: "/dev/a",
          hostPath: "/vendor/a",
          type: "c",
          major: 1,
          minor: 3,
          fileMode: 432,
          permissions: "rw",
          uid: 1000,
          gid: 44,
        },
      ],
      netDevices: [{ hostInterfaceName: "eth1", name: "eth0" }],
      hooks: [{ hookName: "createContainer", path: "/bin/h", args: ["h"], env: ["X=1"], timeout: 3 }],
      mounts: [{ hostPath: "/a", containerPath: "/b", options: ["ro"], type: "none" }],
      intelRdt: { closID: "c", l3CacheSchema: "l", memBwSchema: "m", schemata: ["s"], enableMonitoring: true },
      additionalGids: [44],
    };
    const annotations = { note: "x" };
    const full = spec({ cdiVersion: "1.1.0", annotations, containerEdits: edits });
    expect(errors(full)).toBe("");
  });
  test("may write its version with a v", () => expect(errors(spec({ cdiVersion: "v0.6.0" }))).toBe(""));

  const refused: [string, unknown, RegExp][] = [
    ["that is no JSON", "{", /v\.json/],
    ["with an unknown field", spec({ extra: 1 }), /\/extra: unknown key/],
    [
      "with an unknown field in a device node",
      spec({ devices: [{ name: "a", containerEdits: { deviceNodes: [{ path: "/dev/a", extra: 1 }] } }] }),
      /deviceNodes\/0\/extra: unknown key/,
    ],
    ["of an unknown version", spec({ cdiVersion: "2.0.0" }), /cdiVersion.*expected a version/],
    ["without devices", spec({ devices: [] }), /at least one device/],
    ["without a kind", { ...spec(), kind: undefined }, /kind/],
    ["with a kind without a vendor", spec({ kind: "device" }), /kind/],
    ["with a kind of three parts", spec({ kind: "a.com/b/c" }), /kind/],
    ["with a kind that ends in a dash", spec({ kind: "a.com/b-" }), /kind/],
    [
      "with a relative node path",
      spec({ devices: [{ name: "a", containerEdits: { deviceNodes: [{ path: "dev/a" }] } }] }),
      /absolute path/,
    ],
    ["with a device twice", spec({ devices: [{ name: "a" }, { name: "a" }] }), /"a" twice/],
    ["with a key twice", '{"cdiVersion":"0.6.0","cdiVersion":"0.6.0"}', /key given twice/],
    [
      "with hostPath before 0.5.0",
      spec({
        cdiVersion: "0.4.0",
        devices: [{ name: "a", containerEdits: { deviceNodes: [{ path: "/dev/a", hostPath: "/b" }] } }],
      }),
      /needs cdiVersion 0\.5\.0/,
    ],
    [
      "with a device name that begins with a digit before 0.5.0",
      spec({ cdiVersion: "0.4.0", devices: [{ name: "0" }] }),
      /needs cdiVersion 0\.5\.0/,
    ],
    [
      "with annotations before 0.6.0",
      spec({ cdiVersion: "0.5.0", annotations: { a: "b" } }),
      /needs cdiVersion 0\.6\.0/,
    ],
    [
      "with a dot in its class before 0.6.0",
      spec({ cdiVersion: "0.5.0", kind: "a.com/b.c" }),
      /needs cdiVersion 0\.6\.0/,
    ],
    ["with group ids before 0.7.0", spec({ containerEdits: { additionalGids: [44] } }), /needs cdiVersion 0\.7\.0/],
    [
      "with network devices before 1.1.0",
      spec({ cdiVersion: "1.0.0", containerEdits: { netDevices: [{ hostInterfaceName: "a", name: "b" }] } }),
      /needs cdiVersion 1\.1\.0/,
    ],
    [
      "with what 1.1.0 dropped",
      spec({ cdiVersion: "1.1.0", containerEdits: { intelRdt: { enableCMT: true } } }),
      /dropped/,
    ],
    [
      "with unknown permissions",
      spec({ devices: [{ name: "a", containerEdits: { deviceNodes: [{ path: "/dev/a", permissions: "x" }] } }] }),
      /permissions/,
    ],
  ];
  for (const [what, value, pattern] of refused)
    test(`${what} is refused`, () => expect(errors(value)).toMatch(pattern));
});

describe("the devices of several files", () => {
  const file = (name: string, value: unknown, priority = 0) => ({ name, text: JSON.stringify(value), priority });
  test("a device has its own nodes and the file's common ones, its own first in weight", () => {
    const common = {
      deviceNodes: [{ path: "/dev/ctl" }, { path: "/dev/card1", hostPath: "/common" }],
      env: ["A=B"],
      hooks: [{ hookName: "x", path: "/h" }],
    };
    const { devices } = readCdi([file("a.json", spec({ containerEdits: common }))]);
    const device = devices.get("vendor.com/device=myDevice")!;
    expect(device.nodes.map((n) => [n.path, n.hostPath])).toEqual([
      ["/dev/ctl", undefined],
      ["/dev/card1", undefined],
    ]);
    expect(device.notApplicable).toEqual(["1 environment variables", "1 hooks"]);
  });
  test("the later directory hides the earlier one", () => {
    const { devices, conflicts } = readCdi([file("/etc/cdi/a.json", spec()), file("/var/run/cdi/a.json", spec(), 1)]);
    expect(devices.get("vendor.com/device=myDevice")?.file).toBe("/var/run/cdi/a.json");
    expect(conflicts.size).toBe(0);
  });
  test("two files of one directory with the same device make it nobody's", () => {
    const { devices, conflicts } = readCdi([file("a.json", spec()), file("b.json", spec())]);
    expect(devices.size).toBe(0);
    expect(conflicts.get("vendor.com/device=myDevice")).toEqual(["a.json", "b.json"]);
  });
  test("a broken file takes nothing from the others", () => {
    const { devices, errors } = readCdi([{ name: "a.json", text: "{", priority: 0 }, file("b.json", spec())]);
    expect(devices.size).toBe(1);
    expect(errors[0]).toContain("a.json");
  });
});
