/**
 * The cgroup whose device rules judge a process: of the v1 `devices` hierarchy where
 * it is mounted (rules can be read), else of the unified one (rules are BPF programs
 * and can only be tried: cgroups-v2, "Device controller").
 */
import { readFileSync } from "node:fs";
import { readProc } from "../sys/process.ts";

export interface DeviceCgroup {
  readonly version: 1 | 2;
  /** Where this process sees it. */
  readonly directory: string;
  /** As /proc/PID/cgroup has it. */
  readonly path: string;
}

interface Hierarchy {
  readonly version: 1 | 2;
  readonly mount: string;
  /** Which cgroup the mount shows at its top. */
  readonly top: string;
}

/** proc_pid_mountinfo(5): … root, mount point, options, optional fields, "-", type, source, super options */
function hierarchies(mountinfo: string): Hierarchy[] {
  return mountinfo.split("\n").flatMap((line): Hierarchy[] => {
    const [before, after] = line.split(" - ");
    const [type, , options = ""] = after?.split(" ") ?? [];
    const fields = before?.split(" ") ?? [];
    const [top, mount] = [unquoted(fields[3] ?? ""), unquoted(fields[4] ?? "")];
    if (type === "cgroup" && options.split(",").includes("devices")) return [{ version: 1, mount, top }];
    return type === "cgroup2" ? [{ version: 2, mount, top }] : [];
  });
}

/** Blanks in paths stand as octal there. */
const unquoted = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** `mountinfo` and `cgroups`: text of /proc/self/mountinfo and of /proc/PID/cgroup. Pure, for tests. */
export function deviceCgroupIn(mountinfo: string, cgroups: string): DeviceCgroup | undefined {
  const mounted = hierarchies(mountinfo);
  const hierarchy = mounted.find((h) => h.version === 1) ?? mounted.find((h) => h.version === 2);
  if (hierarchy === undefined) return undefined;
  for (const line of cgroups.split("\n")) {
    const [, controllers = "", ...rest] = line.split(":");
    const path = rest.join(":");
    const fits = hierarchy.version === 1 ? controllers.split(",").includes("devices") : line.startsWith("0::");
    // A process outside of what our mount shows ("/..") can't be joined.
    if (!fits || path.startsWith("/..")) continue;
    const below =
      hierarchy.top === "/"
        ? path
        : path === hierarchy.top
          ? ""
          : path.startsWith(`${hierarchy.top}/`)
            ? path.slice(hierarchy.top.length)
            : undefined;
    if (below === undefined) return undefined;
    return { version: hierarchy.version, directory: `${hierarchy.mount}${below === "/" ? "" : below}`, path };
  }
  return undefined;
}

/** The device cgroup of a live process; undefined where no hierarchy is mounted that could tell. */
export function deviceCgroupOf(pid: number): DeviceCgroup | undefined {
  return deviceCgroupIn(readFileSync("/proc/self/mountinfo", "latin1"), readProc(`/proc/${pid}/cgroup`));
}
