/** Providers that work against the daemon: what they can make it do, and how long. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Container, startContainer } from "../../support/containers.ts";
import { openFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { Canary, hostileProgram } from "../inject/house.ts";
import { DeviceLinks, deviceLink } from "./device-links.ts";

const here = requireRealPart("root", "busybox");
/** Two looks of half a second, and what a busy machine adds. */
const PATIENCE_MS = 3000;

describe.skipIf(!here)("a hostile provider", () => {
  let bsp: Container;
  let app: Container;
  const links = new DeviceLinks();
  const canary = new Canary();
  beforeAll(async () => {
    [bsp, app] = await Promise.all([
      startContainer({ name: "bsp", copies: [{ from: hostileProgram(), to: "/bin/hostile" }] }),
      startContainer({ name: "app" }),
    ]);
    await bsp.sh("mknod /dev/fuse c 10 229");
  });
  afterAll(async () => {
    expect(canary.changes()).toBe("");
    canary.remove();
    await links.down();
    await Promise.all([bsp.stop(), app.stop()]);
  });
  const refusal = (fields: Parameters<typeof deviceLink>[1], provider = bsp): Promise<string> =>
    links.plant(deviceLink({ provider, consumer: app }, fields)).then(
      () => "established",
      (error: Error) => error.message,
    );

  test("that is a link to the host's devices leads to its own", async () => {
    await bsp.sh(
      `ln -s ${canary.path} /dev/away; ln -s /proc/1/root/dev /dev/magic; ln -s ../../../../../../dev /dev/climb`,
    );
    for (const socket of ["/dev/away/nm/precious", "/dev/magic/kmsg"]) {
      const one = await links
        .plant(deviceLink({ provider: bsp, consumer: app }, { socket, target: "/dev/x" }))
        .catch(String);
      if (typeof one === "string") expect(one).toMatch(/ELOOP|refused|no known class/);
      else {
        expect(links.verify(one)).toMatchObject({ state: "degraded" });
        await links.remove(one);
      }
    }
    // Out and back in again is its own root: a device of its own.
    expect(await refusal({ socket: "/dev/climb/fuse", target: "/dev/x" })).toContain("no known class");
  });

  test("whose directory has thousands of names costs milliseconds", async () => {
    await bsp.sh("mkdir /dev/many; cd /dev/many; for i in $(seq 3000); do : > $i; done");
    const started = performance.now();
    const one = await links.plant(
      deviceLink({ provider: bsp, consumer: app }, { socket: "/dev/many/card*", target: "/dev/dri" }),
    );
    expect(performance.now() - started).toBeLessThan(500);
    await links.remove(one);
    expect(await refusal({ socket: "/dev/many/*[0-9]", target: "/dev/dri" })).toMatch(
      /Cannot plant 3000 nodes for one link: at most 256/,
    );
    await bsp.sh("cd /dev/many; for i in $(seq 20000); do : > a-rather-long-name-of-a-file-$i; done");
    expect(await refusal({ socket: "/dev/many/card*", target: "/dev/dri" })).toMatch(
      /Cannot list \/dev\/many .*: it holds more than \d+ names/,
    );
    await bsp.sh("rm -r /dev/many");
  }, 60_000);

  test("whose device files are as many and as large as it likes costs milliseconds at each look", async () => {
    // In 1 MB as many devices, or nodes of the one device that is asked for, as there is room for.
    await bsp.sh("mkdir -p /etc/cdi");
    const write = (name: string, devices: object[]) =>
      Bun.write(
        bsp.hostPath(`/etc/cdi/${name}`),
        JSON.stringify({ cdiVersion: "0.6.0", kind: "acme.com/gpu", devices }),
      );
    const node = (i: number) => ({ path: `/dev/n${i}` });
    await write("a.json", [
      { name: "all", containerEdits: { deviceNodes: Array.from({ length: 4096 }, (_, i) => node(i)) } },
    ]);
    const many = Array.from({ length: 4000 }, (_, i) => ({
      name: `d${i}`,
      containerEdits: { deviceNodes: Array.from({ length: 10 }, (_, k) => node(k)) },
    }));
    for (let i = 0; i < 99; i++) await write(`b${i}.json`, many);
    const started = performance.now();
    expect(await refusal({ socket: "cdi:acme.com/gpu=all", target: "/dev/x" })).toBe(
      "Cannot plant 4096 nodes for one link: at most 256",
    );
    expect(performance.now() - started).toBeLessThan(1500);
    await bsp.sh("rm -r /etc/cdi");
  }, 60_000);

  test("whose file system never answers is left alone after half a second, and heals", async () => {
    await bsp.sh("mkdir -p /dev/stuck");
    const hostile = bsp.start(["hostile", "mute", "/dev/stuck"]);
    await hostile.line(/^ready$/);
    const before = openFds();
    const started = performance.now();
    const reason = await refusal({ socket: "/dev/stuck/card0", target: "/dev/dri/card0" });
    expect(performance.now() - started).toBeLessThan(PATIENCE_MS);
    expect(reason).toMatch(/^Cannot look into provider "bsp".*no answer within/);
    // Asked again at once: not tried.
    const again = performance.now();
    expect(await refusal({ socket: "/dev/stuck/card0", target: "/dev/dri/card0" })).toContain("left alone for a while");
    expect(performance.now() - again).toBeLessThan(200);
    expect(openFds()).toBeLessThanOrEqual(before);
    // Other providers are none the worse for it.
    const other = await startContainer({ name: "other" });
    await other.sh("mkdir /dev/dri; mknod /dev/dri/card0 c 1 3");
    expect(await refusal({}, other)).toBe("established");
    await hostile.stop();
    await other.stop();
  }, 30_000);
});
