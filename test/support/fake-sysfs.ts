/**
 * A sysfs of a test's own, so that stand-in character devices (1:3, 1:5, which open
 * everywhere) count as cards, render nodes and keyboards.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";

export interface FakeDevice {
  readonly subsystem: string;
  readonly sysName: string;
  readonly devName: string;
  readonly numbers: string;
  /** Path of the hardware below /sys/devices: `pci0000:00/0000:00:02.0`. Absent: a virtual device. */
  readonly hardware?: string;
  readonly bus?: string;
  readonly driver?: string;
  readonly connectors?: readonly string[];
}

export class FakeSysfs {
  readonly root = mkdtempSync(join(tmpdir(), "pvx-sysfs-"));

  add(device: FakeDevice): void {
    const hardware = device.hardware === undefined ? undefined : join(this.root, "devices", device.hardware);
    const directory = join(hardware ?? join(this.root, "devices/virtual"), device.subsystem, device.sysName);
    mkdirSync(directory, { recursive: true });
    const [major, minor] = device.numbers.split(":");
    writeFileSync(join(directory, "uevent"), `MAJOR=${major}\nMINOR=${minor}\nDEVNAME=${device.devName}\n`);
    this.link(join(directory, "subsystem"), join(this.root, "class", device.subsystem));
    this.link(join(this.root, "class", device.subsystem, device.sysName), directory);
    this.link(join(this.root, "dev/char", device.numbers), directory);
    for (const connector of device.connectors ?? []) mkdirSync(join(directory, `${device.sysName}-${connector}`));
    if (hardware === undefined) return;
    this.link(join(directory, "device"), hardware);
    if (device.bus !== undefined) this.link(join(hardware, "subsystem"), join(this.root, "bus", device.bus));
    if (device.driver !== undefined) this.link(join(hardware, "driver"), join(this.root, "bus/drivers", device.driver));
  }

  remove(device: FakeDevice): void {
    for (const path of [join("class", device.subsystem, device.sysName), join("dev/char", device.numbers)])
      rmSync(join(this.root, path), { force: true });
  }

  close(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  private link(path: string, to: string): void {
    mkdirSync(dirname(path), { recursive: true });
    rmSync(path, { force: true });
    symlinkSync(relative(dirname(path), to), path);
  }
}

const GPU = { subsystem: "drm", hardware: "pci0000:00/0000:00:02.0", bus: "pci", driver: "i915" } as const;
/** A PCI GPU: 1:3 stands for its card0, 1:5 for its renderD128. */
export const CARD0: FakeDevice = {
  ...GPU,
  sysName: "card0",
  devName: "dri/card0",
  numbers: "1:3",
  connectors: ["HDMI-A-1"],
};
export const RENDER128: FakeDevice = { ...GPU, sysName: "renderD128", devName: "dri/renderD128", numbers: "1:5" };
/** 1:7 stands for a keyboard. */
export const EVENT0: FakeDevice = {
  subsystem: "input",
  sysName: "event0",
  devName: "input/event0",
  numbers: "1:7",
  hardware: "platform/i8042/serio0/input/input0",
};
