/**
 * What a character device is, from what the kernel says of it. A node's name is
 * the choice of whoever made it (a container may call 226:0 "renderD128"), so a class
 * comes from sysfs, or from the registered numbers where sysfs has no entry
 * (NVIDIA's own driver), and a name only says what somebody expects.
 */

/**
 * - `card`: DRM primary node: mode setting, and everything that a render node can.
 * - `render`: DRM render node: no mode setting, no other client's buffers (drm-uapi, "Render nodes").
 * - `control`: DRM control node, gone since Linux 4.18; refused everywhere.
 * - `nvidia`: GPU, nvidiactl, nvidia-uvm of NVIDIA's driver; `nvidia-modeset`: its mode setting.
 * - `placeholder`: null, zero, full, random, urandom: every container has them, so one
 *   under another name (a stand-in in tests, a disabled device) gives nothing away.
 */
export const DEVICE_CLASSES = [
  "card",
  "render",
  "control",
  "accel",
  "nvidia",
  "nvidia-modeset",
  "event",
  "joystick",
  "mouse",
  "uinput",
  "tty",
  "placeholder",
  "other",
] as const;
export type DeviceClass = (typeof DEVICE_CLASSES)[number];

export interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

export interface DeviceFacts extends DeviceNumbers {
  /** sysfs: name of the class directory (`drm`, `input`, `misc`, `tty`, `mem`). Absent: sysfs has no such device. */
  readonly subsystem?: string;
  /** sysfs: the kernel's own name for it (`card0`, `event3`). */
  readonly sysName?: string;
  /** /proc/devices: who registered the major number. */
  readonly majorName?: string;
}

const PLACEHOLDERS = new Set(["null", "zero", "full", "random", "urandom"]);

/** The class of a device by the kernel's word. */
export function classOf(facts: DeviceFacts): DeviceClass {
  const { subsystem, sysName = "" } = facts;
  switch (subsystem) {
    case undefined:
      return classByNumbers(facts);
    case "drm":
      if (/^card\d+$/.test(sysName)) return "card";
      if (/^renderD\d+$/.test(sysName)) return "render";
      return /^controlD\d+$/.test(sysName) ? "control" : "other";
    case "accel":
      return "accel";
    case "input":
      if (/^event\d+$/.test(sysName)) return "event";
      if (/^js\d+$/.test(sysName)) return "joystick";
      return /^(mouse\d+|mice)$/.test(sysName) ? "mouse" : "other";
    case "misc":
      return sysName === "uinput" ? "uinput" : "other";
    case "tty":
      return /^tty\d+$/.test(sysName) ? "tty" : "other";
    case "mem":
      return PLACEHOLDERS.has(sysName) ? "placeholder" : "other";
    default:
      return subsystem.startsWith("nvidia") ? classByNumbers(facts) : "other";
  }
}

/** Registered numbers: Documentation/admin-guide/devices.txt; NVIDIA's README, "nvidia-modprobe", for 195. */
function classByNumbers({ major, minor, majorName }: DeviceFacts): DeviceClass {
  switch (major) {
    case 1:
      return [3, 5, 7, 8, 9].includes(minor) ? "placeholder" : "other";
    case 4:
      return minor < 64 ? "tty" : "other";
    case 10:
      return minor === 223 ? "uinput" : "other";
    case 13:
      if (minor < 32) return "joystick";
      if (minor < 64) return "mouse";
      return minor < 96 ? "event" : "other";
    case 195:
      return minor === 254 ? "nvidia-modeset" : "nvidia";
    case 226:
      // 64 each (drivers/gpu/drm/drm_drv.c, DRM_MINOR_LIMIT); from 192 on only sysfs can tell.
      if (minor < 64) return "card";
      if (minor < 128) return "control";
      return minor < 192 ? "render" : "other";
    default:
      return majorName === "nvidia-uvm" ? "nvidia" : "other";
  }
}

const NAMES: readonly (readonly [RegExp, DeviceClass])[] = [
  [/^card(\d+|\*|\?|\[.*\])$/, "card"],
  [/^renderD(\d+|\*|[\d?*[\]-]+)$/, "render"],
  [/^controlD\d+$/, "control"],
  [/^event(\d+|\*|\?|\[.*\])$/, "event"],
  [/^js(\d+|\*|\?)$/, "joystick"],
  [/^(mouse(\d+|\*|\?)|mice)$/, "mouse"],
  [/^uinput$/, "uinput"],
  [/^tty\d+$/, "tty"],
  [/^nvidia-modeset$/, "nvidia-modeset"],
  [/^nvidia(\d+|\*|ctl|-uvm|-uvm-tools)$/, "nvidia"],
  [/^accel(\d+|\*)$/, "accel"],
  // udev's links: /dev/dri/by-path/pci-0000:00:02.0-card (rules.d/60-drm.rules), /dev/input/by-path/*-event-kbd
  [/^.+-card$/, "card"],
  [/^.+-render$/, "render"],
  [/^.+-event(-[a-z]+)?$/, "event"],
];

/** The class that the last part of a path promises, if any. Globs and udev's by-path links too. */
export function classByName(path: string): DeviceClass | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return NAMES.find(([pattern]) => pattern.test(name))?.[1];
}

/** For messages: "a card (KMS) node". */
export function className(deviceClass: DeviceClass): string {
  switch (deviceClass) {
    case "card":
      return "a card (KMS) node";
    case "render":
      return "a render node";
    case "control":
      return "a DRM control node";
    case "accel":
      return "an accelerator node";
    case "nvidia":
      return "an NVIDIA node";
    case "nvidia-modeset":
      return "NVIDIA's mode-setting node";
    case "event":
      return "an input event node";
    case "joystick":
      return "a joystick node";
    case "mouse":
      return "a mouse node";
    case "uinput":
      return "the uinput node";
    case "tty":
      return "a virtual console";
    case "placeholder":
      return "a pseudo-device";
    case "other":
      return "a device of no known class";
  }
}
