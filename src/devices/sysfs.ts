/**
 * What the kernel says its devices are, read from sysfs. The host's own file system and
 * therefore trusted; `root` and `proc` are other directories in tests only.
 *
 * Layout: /sys/dev/char/MAJOR:MINOR and /sys/class/CLASS/NAME are links to the device's
 * directory under /sys/devices, which has `uevent` (MAJOR, MINOR, DEVNAME), `subsystem`
 * and, for what hangs on hardware, `device` (Documentation/ABI/testing/sysfs-dev,
 * admin-guide/sysfs-rules.rst).
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { DeviceFacts } from "../policy/device-class.ts";

export interface SysDevice {
  /** The directory under /sys/devices. */
  readonly directory: string;
  readonly subsystem: string;
  /** The kernel's name: `card0`. */
  readonly sysName: string;
  /** Below /dev: `dri/card0`. */
  readonly devName: string;
  readonly major: number;
  readonly minor: number;
  /** Driver of the hardware below it: `virtio-pci`, `vc4-drm`. A platform device without one (vkms): its own name. */
  readonly driver: string | undefined;
  /** PCI function, `0000:00:02.0`, also where a virtio device stands between. */
  readonly pci: string | undefined;
  /** Name of the platform device: `gpu`, `fec00000.v3d`. */
  readonly platform: string | undefined;
}

/** Devices of one class that are looked at; a machine has tens of DRM nodes and at most some hundred input nodes. */
const CLASS_MAX = 4096;
const PCI = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** undefined where the kernel has no such entry: devices come and go between two reads. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

export class Sysfs {
  private readonly root: string;
  private readonly proc: string;

  constructor(root = "/sys", proc = "/proc") {
    this.root = root;
    this.proc = proc;
  }

  /** The device behind a character device's numbers. */
  byNumbers(major: number, minor: number): SysDevice | undefined {
    return this.deviceAt(join(this.root, "dev/char", `${major}:${minor}`));
  }

  /** Devices with a node, of a class (`drm`, `input`), in the order of their minors. */
  ofClass(subsystem: string): SysDevice[] {
    const directory = join(this.root, "class", subsystem);
    const names = attempt(() => readdirSync(directory)) ?? [];
    return names
      .slice(0, CLASS_MAX)
      .map((name) => this.deviceAt(join(directory, name)))
      .filter((device) => device !== undefined)
      .sort((a, b) => a.major - b.major || a.minor - b.minor);
  }

  /** What `classOf` judges by. */
  facts(major: number, minor: number): DeviceFacts {
    const device = this.byNumbers(major, minor);
    if (device !== undefined) return { major, minor, subsystem: device.subsystem, sysName: device.sysName };
    const majorName = this.majorName(major);
    return { major, minor, ...(majorName === undefined ? {} : { majorName }) };
  }

  /** Connectors of a card (`card0-HDMI-A-1`): a card without one renders only. */
  connectors(card: SysDevice): string[] {
    const names = attempt(() => readdirSync(card.directory)) ?? [];
    return names.filter((name) => name.startsWith(`${card.sysName}-`)).sort();
  }

  /** Who registered a character device's major number (proc_devices(5)). */
  private majorName(major: number): string | undefined {
    const text = attempt(() => readFileSync(join(this.proc, "devices"), "latin1")) ?? "";
    const characters = text.split("Block devices:")[0] ?? "";
    return new RegExp(`^ *${major} (\\S+)$`, "m").exec(characters)?.[1];
  }

  private deviceAt(link: string): SysDevice | undefined {
    const directory = attempt(() => realpathSync(link));
    if (directory === undefined) return undefined;
    const uevent = attempt(() => readFileSync(join(directory, "uevent"), "latin1"));
    if (uevent === undefined) return undefined;
    const field = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(uevent)?.[1];
    const [major, minor, devName] = [field("MAJOR"), field("MINOR"), field("DEVNAME")];
    // Connectors and input parents have no node.
    if (major === undefined || minor === undefined || devName === undefined) return undefined;
    const subsystem = this.linkName(directory, "subsystem");
    if (subsystem === undefined) return undefined;
    const sysName = basename(directory);
    return {
      directory,
      subsystem,
      sysName,
      devName,
      major: Number(major),
      minor: Number(minor),
      ...this.hardware(directory),
    };
  }

  private hardware(directory: string): Pick<SysDevice, "driver" | "pci" | "platform"> {
    let parent = attempt(() => realpathSync(join(directory, "device")));
    if (parent === undefined) return { driver: undefined, pci: undefined, platform: undefined };
    const platform = this.linkName(parent, "subsystem") === "platform" ? basename(parent) : undefined;
    const driver = this.linkName(parent, "driver") ?? platform;
    // A virtio device is one function of the PCI device above it (drivers/virtio/virtio_pci_common.c).
    if (/^virtio\d+$/.test(basename(parent))) parent = dirname(parent);
    const pci = PCI.test(basename(parent)) ? basename(parent) : undefined;
    return { driver, pci, platform };
  }

  private linkName(directory: string, name: string): string | undefined {
    return attempt(() => basename(readlinkSync(join(directory, name))));
  }
}
