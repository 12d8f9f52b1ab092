import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sysfs } from "../../../src/devices/sysfs.ts";
import { classOf } from "../../../src/policy/device-class.ts";
import { CARD0, EVENT0, FakeSysfs, RENDER128 } from "../../support/fake-sysfs.ts";

describe("a sysfs tree", () => {
  const fake = new FakeSysfs();
  const proc = mkdtempSync(join(tmpdir(), "pvx-proc-"));
  const sysfs = new Sysfs(fake.root, proc);
  beforeAll(() => {
    for (const device of [RENDER128, CARD0, EVENT0]) fake.add(device);
    fake.add({
      subsystem: "drm",
      sysName: "card1",
      devName: "dri/card1",
      numbers: "226:1",
      hardware: "platform/vkms",
      bus: "platform",
    });
    fake.add({
      subsystem: "drm",
      sysName: "card2",
      devName: "dri/card2",
      numbers: "226:2",
      hardware: "pci0000:00/0000:00:03.0/virtio0",
      bus: "virtio",
      driver: "virtio_gpu",
    });
    // A connector is in the class directory too, without a node of its own.
    mkdirSync(join(fake.root, "class/drm/version"), { recursive: true });
    writeFileSync(
      join(proc, "devices"),
      "Character devices:\n  1 mem\n511 nvidia-uvm\n\nBlock devices:\n510 nvidia-uvm\n",
    );
  });
  afterAll(() => {
    fake.close();
    rmSync(proc, { recursive: true });
  });

  test("tells a device by its numbers", () => {
    expect(sysfs.byNumbers(1, 3)).toMatchObject({
      subsystem: "drm",
      sysName: "card0",
      devName: "dri/card0",
      driver: "i915",
      pci: "0000:00:02.0",
    });
    expect(sysfs.byNumbers(1, 4)).toBeUndefined();
  });
  test("lists a class in the order of its minors, without what has no node", () => {
    expect(sysfs.ofClass("drm").map((d) => d.sysName)).toEqual(["card0", "renderD128", "card1", "card2"]);
    expect(sysfs.ofClass("nothing")).toEqual([]);
  });
  test("finds the PCI function above a virtio device", () => {
    expect(sysfs.byNumbers(226, 2)).toMatchObject({ pci: "0000:00:03.0", driver: "virtio_gpu" });
  });
  test("names a platform device without a driver by itself", () => {
    expect(sysfs.byNumbers(226, 1)).toMatchObject({ platform: "vkms", driver: "vkms", pci: undefined });
  });
  test("tells a card with connectors from one that only renders", () => {
    expect(sysfs.connectors(sysfs.byNumbers(1, 3)!)).toEqual(["card0-HDMI-A-1"]);
    expect(sysfs.connectors(sysfs.byNumbers(226, 1)!)).toEqual([]);
  });
  test("gives the facts that a class is judged by", () => {
    expect(classOf(sysfs.facts(1, 3))).toBe("card");
    expect(classOf(sysfs.facts(1, 5))).toBe("render");
    expect(classOf(sysfs.facts(1, 7))).toBe("event");
    expect(classOf(sysfs.facts(511, 0))).toBe("nvidia");
    expect(classOf(sysfs.facts(510, 0))).toBe("other");
  });
  test("that is missing is an empty one", () => {
    const none = new Sysfs("/nonexistent", "/nonexistent");
    expect(none.ofClass("drm")).toEqual([]);
    expect(classOf(none.facts(226, 0))).toBe("card");
  });
});

test("the machine's own sysfs knows null as a memory device", () => {
  expect(new Sysfs().facts(1, 3)).toMatchObject({ subsystem: "mem", sysName: "null" });
});
