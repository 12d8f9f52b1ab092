/**
 * Whether the device rules of a process's cgroup allow a device, without opening it:
 * access(2) on the host's own node, from a child in that cgroup.
 */
import { closeSync, openSync } from "node:fs";
import { EPERM, errnoName } from "../sys/errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_WRONLY } from "../sys/flags.ts";
import { fd, guarded, NR, type Step } from "../sys/guarded.ts";
import { deviceCgroupOf } from "./device-cgroup.ts";

const R_OK = 4;
const W_OK = 2;

export type DeviceRule =
  /** `denied`: "", "r", "w" or "rw". */
  { readonly known: true; readonly denied: string } | { readonly known: false; readonly reason: string };

/** `path`: of a device node in the host's /dev. */
export function deviceRule(pid: number, path: string): DeviceRule {
  const cgroup = deviceCgroupOf(pid);
  if (cgroup === undefined) return { known: false, reason: "no cgroup hierarchy with device rules is mounted here" };
  let procs = -1;
  try {
    procs = openSync(`${cgroup.directory}/cgroup.procs`, O_WRONLY | O_CLOEXEC);
    const access = (mode: number): Step => ({
      call: `faccessat(${JSON.stringify(path)})`,
      nr: NR.faccessat,
      args: [AT_FDCWD, path, mode],
      mayFail: true,
    });
    const steps = [
      { call: `write(${cgroup.directory}/cgroup.procs)`, nr: NR.write, args: [fd(procs), "0", 1] },
      access(R_OK),
      access(W_OK),
      // Some step that succeeds at the end: the last one's result is the program's.
      { call: "umask()", nr: NR.umask, args: [0] },
    ];
    const program = guarded(steps, { apart: true });
    const [, read = 0, write = 0] = program.results;
    const other = [read, write].find((r) => r < 0 && r !== -EPERM);
    if (other !== undefined) return { known: false, reason: `access(${path}): ${errnoName(other)}` };
    return { known: true, denied: `${read < 0 ? "r" : ""}${write < 0 ? "w" : ""}` };
  } catch (error) {
    return { known: false, reason: `its cgroup can't be entered: ${(error as Error).message}` };
  } finally {
    if (procs >= 0) closeSync(procs);
  }
}
