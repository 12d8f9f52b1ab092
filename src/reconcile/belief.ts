/**
 * Is this process the container that the graph means? Pure: what was read of the process is an argument.
 *
 * A container that stopped keeps its old pid in the graph for seconds, and the number may be
 * somebody else's by then. Two witnesses:
 * - its cgroup. Pantavisor runs LXC with the cgroup `/lxc/NAME` (or `NAME-N` when the name was
 *   taken, LXC's own rule), which no process inside can leave upwards.
 * - its start. What started after the graph first said this pid can't be what was meant. This
 *   counts only where there is no `/lxc/` in the cgroup (tests, `--graph` without Pantavisor).
 */

export interface ProcessFacts {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat. */
  readonly startTicks: number;
  /** The paths of /proc/PID/cgroup: one on cgroup v2, one a hierarchy on v1. */
  readonly cgroups: readonly string[];
}

/** undefined: believed. Else why not. `ownCgroups`: the daemon's. `namedAtTicks`: when the graph first said this pid for this name. */
export function disbelief(
  name: string,
  facts: ProcessFacts,
  ownCgroups: readonly string[],
  namedAtTicks: number,
): string | undefined {
  const containers = facts.cgroups.map((path) => lxcName(path, ownCgroups)).filter((found) => found !== undefined);
  const stranger = containers.find((found) => !isNameOf(found, name));
  if (stranger !== undefined) return `pid ${facts.pid} is a process of the container ${JSON.stringify(stranger)}`;
  if (containers.length > 0) return undefined;
  if (facts.startTicks > namedAtTicks)
    return `pid ${facts.pid} is another process by now, started after the graph named it`;
  return undefined;
}

/**
 * The component after the first `lxc` of a cgroup path, undefined where there is none. What the path
 * shares with the daemon's own is left out: Pantavisor itself may run inside a container. The *first* one counts:
 * a container may well make an `lxc/OTHER` below its own cgroup.
 */
function lxcName(path: string, ownCgroups: readonly string[]): string | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  const shared = Math.max(0, ...ownCgroups.map((own) => sharedLength(parts, own)));
  const at = parts.indexOf("lxc", shared);
  return at < 0 ? undefined : parts[at + 1];
}

function sharedLength(parts: readonly string[], own: string): number {
  const ours = own.split("/").filter((part) => part !== "");
  let length = 0;
  while (length < ours.length && length < parts.length && ours[length] === parts[length]) length++;
  return length;
}

function isNameOf(component: string, name: string): boolean {
  if (component === name) return true;
  return component.startsWith(`${name}-`) && /^\d+$/.test(component.slice(name.length + 1));
}
