/** The devices of this machine as links could name them. Reads sysfs and /dev; opens no device. */
import { lstatSync, type Stats } from "node:fs";
import type { SysDevice, Sysfs } from "../devices/sysfs.ts";
import { classOf, type DeviceClass } from "../policy/device-class.ts";
import type { Check } from "./check.ts";

export interface GpuNode {
  /** `/dev/dri/card0` */
  readonly path: string;
  readonly device: SysDevice;
  readonly deviceClass: DeviceClass;
  readonly connectors: readonly string[];
  /** The node is there. */
  readonly present: boolean;
}

/** DRM devices of the kernel, with their nodes in the host's /dev. */
export function gpuNodes(sysfs: Sysfs): GpuNode[] {
  return sysfs.ofClass("drm").map((device) => {
    const path = `/dev/${device.devName}`;
    const deviceClass = classOf(sysfs.facts(device.major, device.minor));
    const connectors = deviceClass === "card" ? sysfs.connectors(device) : [];
    return { path, device, deviceClass, connectors, present: isDevice(path) };
  });
}

function isDevice(path: string): boolean {
  let stat: Stats;
  try {
    stat = lstatSync(path);
  } catch {
    return false;
  }
  return stat.isCharacterDevice();
}

export const GPU_ADVICE =
  "passing a GPU weakens a container's isolation: its driver runs in the kernel on what the container sends. " +
  "Prefer render nodes (role render); give a card to the compositor alone";

export function deviceChecks(sysfs: Sysfs, nodes: readonly GpuNode[] = gpuNodes(sysfs)): Check[] {
  const gpus = nodes.map(gpuCheck);
  const none: Check = { area: "devices", name: "/dev/dri", status: "note", detail: "the kernel has no DRM device" };
  const advice: Check = { area: "devices", name: "isolation", status: "note", detail: GPU_ADVICE };
  return [...(gpus.length === 0 ? [none] : [...gpus, advice]), ...inputChecks(sysfs)];
}

function gpuCheck({ path, device, deviceClass, connectors, present }: GpuNode): Check {
  const name = path;
  const where = device.pci === undefined ? (device.platform ?? "virtual") : `PCI ${device.pci}`;
  const facts = `${device.major}:${device.minor}, driver ${device.driver ?? "unknown"}, ${where}`;
  const kind = deviceClass === "card" ? kmsOf(connectors) : deviceClass === "render" ? "render node" : deviceClass;
  if (present) return { area: "devices", name, status: "ok", detail: `${kind}, ${facts}` };
  return { area: "devices", name, status: "warn", detail: `${kind}, ${facts}: the kernel has it, /dev has no node` };
}

const kmsOf = (connectors: readonly string[]): string =>
  connectors.length === 0 ? "card without connectors (renders only)" : `card (KMS: ${connectors.join(", ")})`;

function inputChecks(sysfs: Sysfs): Check[] {
  const events = sysfs.ofClass("input").filter((device) => device.sysName.startsWith("event"));
  const detail = events.length === 0 ? "no event nodes" : events.map((device) => `/dev/${device.devName}`).join(", ");
  return [{ area: "devices", name: "input", status: "ok", detail }];
}
