import { describe, expect, test } from "bun:test";
import { deviceCgroupIn, deviceCgroupOf } from "../../../src/inject/device-cgroup.ts";

const V1 = "33 28 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n";
const V2 = "38 28 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

describe("the device cgroup of a process", () => {
  test("is in the v1 hierarchy where that is mounted, also beside the unified one", () => {
    expect(deviceCgroupIn(V2 + V1, "5:devices:/lxc/app\n0::/init\n")).toEqual({
      version: 1,
      directory: "/sys/fs/cgroup/devices/lxc/app",
      path: "/lxc/app",
    });
  });
  test("is in the unified hierarchy elsewhere", () => {
    expect(deviceCgroupIn(V2, "0::/lxc/app\n")?.directory).toBe("/sys/fs/cgroup/lxc/app");
  });
  test("may be the top one", () => expect(deviceCgroupIn(V2, "0::/\n")?.directory).toBe("/sys/fs/cgroup"));
  test("may share its hierarchy with other controllers, and have a colon in its name", () => {
    const mounts = "33 28 0:33 / /cg/a\\040b rw - cgroup cgroup rw,memory,devices\n";
    expect(deviceCgroupIn(mounts, "5:memory,devices:/x:y\n")?.directory).toBe("/cg/a b/x:y");
  });
  test("is seen through a mount of a part of the hierarchy", () => {
    const part = "38 28 0:38 /lxc /cg rw - cgroup2 cgroup2 rw\n";
    expect(deviceCgroupIn(part, "0::/lxc/app\n")?.directory).toBe("/cg/app");
    expect(deviceCgroupIn(part, "0::/lxc\n")?.directory).toBe("/cg");
    expect(deviceCgroupIn(part, "0::/lxcfs\n")).toBeUndefined();
  });
  test("outside of our cgroup namespace is unknown", () => {
    expect(deviceCgroupIn(V2, "0::/../other\n")).toBeUndefined();
  });
  test("is unknown where nothing is mounted", () => expect(deviceCgroupIn("", "0::/x\n")).toBeUndefined());
});

test("the cgroup of this process exists", () => {
  const own = deviceCgroupOf(process.pid);
  expect(own === undefined || own.directory.startsWith("/")).toBe(true);
});
