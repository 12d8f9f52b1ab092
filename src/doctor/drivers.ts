/**
 * Whether the user-space half of a GPU driver in a container fits the kernel's half.
 * NVIDIA's two must be of the very same version; Mesa's need not.
 */
import { readFileSync } from "node:fs";
import type { ProviderFiles } from "../devices/provider-files.ts";
import type { Check } from "./check.ts";

/** Where distributions keep libraries. */
const LIBRARIES = [
  "/usr/lib",
  "/usr/lib64",
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib/x86_64-linux-gnu/nvidia/current",
  "/usr/local/lib",
  "/lib",
  "/opt/nvidia/lib",
];
const NVIDIA = /^lib(?:nvidia-[\w-]+|cuda)\.so\.(\d+\.\d+(?:\.\d+)?)$/;
const MESA = /^libgallium-([\d.]+)\.so$/;

/** `text`: /proc/driver/nvidia/version. The driver's version, also of the open kernel module. */
export function nvidiaKernelVersion(text: string): string | undefined {
  return /Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s/.exec(text)?.[1];
}

export function readNvidiaVersion(proc = "/proc"): string | undefined {
  try {
    return nvidiaKernelVersion(readFileSync(`${proc}/driver/nvidia/version`, "latin1"));
  } catch {
    return undefined;
  }
}

/** `kernel`: the NVIDIA kernel driver's version; undefined where there is none. */
export function driverChecks(files: ProviderFiles, consumer: string, kernel: string | undefined): Check[] {
  const nvidia = new Set<string>();
  const mesa = new Set<string>();
  const troubles: string[] = [];
  for (const directory of LIBRARIES) {
    let names: string[];
    try {
      names = files.list(directory) ?? [];
    } catch (error) {
      troubles.push((error as Error).message);
      continue;
    }
    for (const name of names) {
      const version = NVIDIA.exec(name)?.[1];
      if (version !== undefined) nvidia.add(version);
      const gallium = MESA.exec(name)?.[1];
      if (gallium !== undefined) mesa.add(gallium);
    }
  }
  const check = (name: string, status: Check["status"], detail: string): Check => ({
    area: "drivers",
    name: `${name} in ${JSON.stringify(consumer)}`,
    status,
    detail,
  });
  return [
    ...nvidiaCheck([...nvidia].sort(), kernel).map(([status, detail]) => check("NVIDIA", status, detail)),
    ...[...mesa].sort().map((version) => check("Mesa", "note", `${version}; it need not match the kernel`)),
    ...troubles.slice(0, 1).map((trouble) => check("libraries", "note", trouble)),
  ];
}

function nvidiaCheck(user: readonly string[], kernel: string | undefined): [Check["status"], string][] {
  if (user.length === 0)
    return kernel === undefined
      ? []
      : [["note", `the kernel's driver is ${kernel}, and no libnvidia-*.so is in this root`]];
  const found = user.join(" and ");
  if (kernel === undefined) return [["warn", `its libraries are ${found}, and the kernel has no NVIDIA driver`]];
  if (user.length === 1 && user[0] === kernel) return [["ok", `${kernel}, as the kernel's driver`]];
  return [["error", `its libraries are ${found}, and the kernel's driver is ${kernel}: they must be the same`]];
}
