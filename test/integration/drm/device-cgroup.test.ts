/** The device rules of a consumer's cgroup, in real LXC containers (cgroup v1 on this machine, v2 in test/vm). */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { deviceCgroupOf } from "../../../src/inject/device-cgroup.ts";
import { type Container, startContainer } from "../../support/containers.ts";
import { type LxcContainer, startLxc } from "../../support/lxc.ts";
import { openFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { DeviceLinks, deviceLink } from "./device-links.ts";

const here = requireRealPart("root", "busybox", "lxc");

describe.skipIf(!here).each([
  ["an LXC container", false],
  ["a user-namespaced LXC container", true],
])("%s whose cgroup denies all devices", (_, userns) => {
  let bsp: Container;
  let app: LxcContainer;
  const links = new DeviceLinks();
  beforeAll(async () => {
    [bsp, app] = await Promise.all([
      startContainer({ name: "bsp" }),
      startLxc({ name: userns ? "cg-shifted" : "cg", denyDevices: true, userns }),
    ]);
    await bsp.sh("mkdir -p /dev/dri; mknod -m 666 /dev/dri/card0 c 1 3");
  }, 60_000);
  afterAll(async () => {
    await links.down();
    await Promise.all([bsp.stop(), app.stop()]);
  });

  test("the node is planted, degraded by the cgroup's rule, and established when the rule allows it", async () => {
    const cgroup = deviceCgroupOf(app.pid);
    expect(cgroup?.path).toMatch(/^\/lxc\/cg/);
    // Below /opt: no file system of its own is mounted there, and so none without devices.
    const target = "/opt/dri/card0";
    const planted = await links.plant(deviceLink({ provider: bsp, consumer: app }, { target }));
    expect(links.verify(planted)).toEqual({
      state: "degraded",
      reason: `${target}: device cgroup of the consumer denies 1:3 rw`,
    });
    await expect(app.sh(`echo x > ${target}`)).rejects.toThrow(/not permitted/);

    app.allowDevice("c 1:3 r");
    expect(links.verify(planted)).toEqual({
      state: "degraded",
      reason: `${target}: device cgroup of the consumer denies 1:3 w`,
    });
    app.allowDevice("c 1:3 rw");
    expect(links.verify(planted)).toEqual({ state: "ok" });
    await app.sh(`echo x > ${target}`);

    const before = openFds();
    for (let i = 0; i < 20; i++) links.verify(planted);
    // The pipes of the test's own programs may close meanwhile.
    expect(openFds()).toBeLessThanOrEqual(before);
    // The probe's child has left: a process of ours in there would keep the container from ending.
    expect((await Bun.file(`${cgroup!.directory}/cgroup.procs`).text()).split("\n")).not.toContain(String(process.pid));
    await links.remove(planted);
    expect(await app.sh("ls /opt/dri")).toBe("");
  });
});
