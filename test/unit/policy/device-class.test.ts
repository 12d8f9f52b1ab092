import { describe, expect, test } from "bun:test";
import { classByName, classOf, type DeviceClass } from "../../../src/policy/device-class.ts";

describe("the class of a device by the kernel's word", () => {
  const cases: [string, { subsystem?: string; sysName?: string; majorName?: string }, number, number, DeviceClass][] = [
    ["a DRM primary node", { subsystem: "drm", sysName: "card0" }, 226, 0, "card"],
    ["a DRM render node", { subsystem: "drm", sysName: "renderD128" }, 226, 128, "render"],
    [
      "a render node with a minor of the extended range",
      { subsystem: "drm", sysName: "renderD192" },
      226,
      300,
      "render",
    ],
    ["a card with a minor of the extended range", { subsystem: "drm", sysName: "card64" }, 226, 301, "card"],
    ["a DRM control node", { subsystem: "drm", sysName: "controlD64" }, 226, 64, "control"],
    ["a keyboard", { subsystem: "input", sysName: "event3" }, 13, 67, "event"],
    ["a joystick", { subsystem: "input", sysName: "js0" }, 13, 0, "joystick"],
    ["all mice", { subsystem: "input", sysName: "mice" }, 13, 63, "mouse"],
    ["uinput", { subsystem: "misc", sysName: "uinput" }, 10, 223, "uinput"],
    ["another misc device", { subsystem: "misc", sysName: "fuse" }, 10, 229, "other"],
    ["a virtual console", { subsystem: "tty", sysName: "tty7" }, 4, 7, "tty"],
    ["a serial line", { subsystem: "tty", sysName: "ttyS0" }, 4, 64, "other"],
    ["the console of the kernel", { subsystem: "tty", sysName: "console" }, 5, 1, "other"],
    ["null", { subsystem: "mem", sysName: "null" }, 1, 3, "placeholder"],
    ["the machine's memory", { subsystem: "mem", sysName: "mem" }, 1, 1, "other"],
    ["an NVIDIA GPU, which has no entry in sysfs", {}, 195, 0, "nvidia"],
    ["nvidiactl", {}, 195, 255, "nvidia"],
    ["nvidia-modeset", {}, 195, 254, "nvidia-modeset"],
    ["nvidia-uvm, whose major number is dynamic", { majorName: "nvidia-uvm" }, 511, 0, "nvidia"],
    ["an unknown major number", {}, 511, 0, "other"],
    ["a card where sysfs is not mounted", {}, 226, 63, "card"],
    ["a render node where sysfs is not mounted", {}, 226, 128, "render"],
    ["a DRM number that only sysfs could tell", {}, 226, 192, "other"],
    ["the machine's memory where sysfs is not mounted", {}, 1, 1, "other"],
  ];
  for (const [what, facts, major, minor, expected] of cases)
    test(`${what} is ${expected}`, () => expect(classOf({ ...facts, major, minor })).toBe(expected));

  test("sysfs outweighs the number", () => {
    expect(classOf({ subsystem: "mem", sysName: "null", major: 226, minor: 0 })).toBe("placeholder");
  });
});

describe("the class that a name promises", () => {
  const cases: [string, DeviceClass | undefined][] = [
    ["/dev/dri/card0", "card"],
    ["/dev/dri/card*", "card"],
    ["/dev/dri/renderD128", "render"],
    ["/dev/dri/renderD1[0-9]*", "render"],
    ["/dev/dri/by-path/pci-0000:00:02.0-render", "render"],
    ["/dev/dri/by-path/platform-gpu-card", "card"],
    ["/dev/input/event12", "event"],
    ["/dev/input/by-path/platform-i8042-serio-0-event-kbd", "event"],
    ["/dev/uinput", "uinput"],
    ["/dev/tty7", "tty"],
    ["/dev/nvidia0", "nvidia"],
    ["/dev/nvidiactl", "nvidia"],
    ["/dev/nvidia-modeset", "nvidia-modeset"],
    ["/dev/dri", undefined],
    ["/dev", undefined],
    ["/dev/dri/cards", undefined],
    ["/dev/mali0", undefined],
    ["/dev/ttyS0", undefined],
  ];
  for (const [path, expected] of cases)
    test(`${path}: ${expected}`, () => expect(classByName(path)).toBe(expected as never));
});
