/**
 * Can the consumer use a device? Asked from where the consumer is: in its cgroup, its
 * user namespace as its root, and its mount namespace.
 *
 * Why so: device rules judge the cgroup of the process that opens (a host process gets
 * through where the consumer would not), and ids and capabilities are those of its user
 * namespace. The asking child lives for some 100 µs in the consumer's cgroup, where the
 * consumer may freeze it, starve it or have it killed for want of memory: so it shares no
 * memory with us where that can be, and a consumer that lets it hang is left alone for a while.
 *
 * access(2) goes through the same device rules as open(2) (fs/namei.c, inode_permission)
 * and never reaches the driver, so it tells a refusal of the cgroup from the driver's own.
 */
import { closeSync, existsSync, openSync, readlinkSync } from "node:fs";
import { EACCES, EBUSY, ENODEV, ENXIO, EPERM, EROFS, errnoName, SysError } from "../sys/errno.ts";
import {
  CLONE_NEWNS,
  CLONE_NEWUSER,
  O_CLOEXEC,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from "../sys/flags.ts";
import { fd, NR, result, type Step } from "../sys/guarded.ts";
import { startTimeOf } from "../sys/process.ts";
import { deviceCgroupOf } from "./device-cgroup.ts";
import { walk } from "./walk.ts";

/** A driver may power its device up at the first open: more than a file system gets. */
const OPEN_MS = 2000;
const R_OK = 4;
const W_OK = 2;

export type DeviceProbe =
  | { readonly ok: true }
  /** `reason`: a clause such as `device cgroup of the consumer denies 226:0 rw`. `nodev`: the file system refuses every device. */
  | { readonly ok: false; readonly reason: string; readonly nodev: boolean };

export interface ProbeTarget {
  /** Fd of the directory in the consumer that holds the node. */
  readonly directory: number;
  readonly name: string;
  /** `226:0` */
  readonly numbers: string;
  /** False: only access(2). For devices of no known class: opening a watchdog starts it. */
  readonly open: boolean;
}

/** Probes one node of a live consumer. Throws only when the consumer can't be looked at. */
export function probeDevice(consumerPid: number, target: ProbeTarget): DeviceProbe {
  const place = enterConsumer(consumerPid);
  try {
    return judge(place, target);
  } finally {
    place.close();
  }
}

interface Place {
  readonly steps: readonly Step[];
  /** For `walk`. Not the consumer's paths: a driver that hangs must not keep sockets from being planted. */
  readonly scope: string;
  /** The first step joins the consumer's cgroup. */
  readonly joins: boolean;
  /** The cgroup limits memory as well: who is killed for want of it takes all that share the memory along. */
  readonly apart: boolean;
  /** The consumer's device rules are known to be ours too: nothing to join. */
  readonly shared: boolean;
  close(): void;
}

/** The steps that put a child where the consumer is. */
function enterConsumer(pid: number): Place {
  const fds: number[] = [];
  const steps: Step[] = [];
  const open = (path: string, flags: number): number => {
    const opened = openSync(path, flags | O_CLOEXEC);
    fds.push(opened);
    return opened;
  };
  const close = () => {
    for (const one of fds) closeSync(one);
  };
  try {
    const cgroup = deviceCgroupOf(pid);
    const shared = cgroup?.directory === deviceCgroupOf(process.pid)?.directory;
    const joins = cgroup !== undefined && !shared;
    if (joins) {
      // First, while the child is still the host's root: it is a write to the host's cgroup tree.
      const procs = open(`${cgroup.directory}/cgroup.procs`, O_WRONLY);
      steps.push({ call: "write(cgroup.procs)", nr: NR.write, args: [fd(procs), "0", 1], mayFail: true });
    }
    const foreign = (kind: string) => readlinkSync(`/proc/${pid}/ns/${kind}`) !== readlinkSync(`/proc/self/ns/${kind}`);
    const user = foreign("user") ? open(`/proc/${pid}/ns/user`, O_RDONLY) : undefined;
    const mnt = foreign("mnt") ? open(`/proc/${pid}/ns/mnt`, O_RDONLY) : undefined;
    if (user !== undefined) steps.push({ call: "setns(CLONE_NEWUSER)", nr: NR.setns, args: [fd(user), CLONE_NEWUSER] });
    if (mnt !== undefined) steps.push({ call: "setns(CLONE_NEWNS)", nr: NR.setns, args: [fd(mnt), CLONE_NEWNS] });
    if (user !== undefined)
      steps.push(
        { call: "setgroups(0)", nr: NR.setgroups, args: [0, 0], mayFail: true },
        { call: "setresgid(0)", nr: NR.setresgid, args: [0, 0, 0] },
        { call: "setresuid(0)", nr: NR.setresuid, args: [0, 0, 0] },
      );
    const scope = `devices ${pid} ${startTimeOf(pid)}`;
    // A copy of our memory costs milliseconds: not where the hierarchy has device rules alone (v1).
    const limits = cgroup?.version === 2 || existsSync(`${cgroup?.directory}/memory.limit_in_bytes`);
    return { steps, scope, joins, apart: joins && limits, shared: shared && cgroup !== undefined, close };
  } catch (error) {
    close();
    throw error;
  }
}

function judge(place: Place, target: ProbeTarget): DeviceProbe {
  const { directory, name, numbers } = target;
  const access = (mode: number): Step => ({
    call: "faccessat()",
    nr: NR.faccessat,
    args: [fd(directory), name, mode],
    mayFail: true,
  });
  const flags = O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC;
  const opening = (mode: number): Step[] => {
    const at = place.steps.length + 2;
    return [
      { call: "open()", nr: NR.openat, args: [fd(directory), name, mode | flags], mayFail: true },
      { call: "close()", nr: NR.close, args: [result(at)], mayFail: true },
    ];
  };
  let inCgroup = place.shared;
  const run = (mode: number): readonly number[] => {
    const asked = target.open ? opening(mode) : [];
    // Some step that succeeds at the end: the last one's result is the program's.
    const end: Step = { call: "umask()", nr: NR.umask, args: [0] };
    const steps = [...place.steps, access(R_OK), access(W_OK), ...asked, end];
    const program = walk(place.scope, steps, OPEN_MS, { apart: place.apart });
    if (place.joins) inCgroup = program.results[0]! >= 0;
    return program.results.slice(place.steps.length, -1);
  };
  try {
    let [read = 0, write = 0, opened = 0] = run(O_RDWR);
    if (opened === -EROFS || (opened === -EACCES && write === 0)) {
      // Some devices are for reading only.
      const second = run(O_RDONLY)[2] ?? 0;
      if (second >= 0) opened = second;
    }
    const denied = `${read === -EPERM ? "r" : ""}${write === -EPERM ? "w" : ""}`;
    if (denied !== "" && inCgroup)
      return { ok: false, nodev: false, reason: `device cgroup of the consumer denies ${numbers} ${denied}` };
    return verdictOf(target.open ? opened : Math.min(read, write), numbers);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    return { ok: false, nodev: false, reason: `${numbers} can't be tried from inside the consumer: ${error.message}` };
  }
}

function verdictOf(opened: number, numbers: string): DeviceProbe {
  // In use by somebody who excludes others: the consumer may have it, and it is there.
  if (opened >= 0 || opened === -EBUSY) return { ok: true };
  const no = (reason: string, nodev = false): DeviceProbe => ({ ok: false, reason, nodev });
  switch (-opened) {
    case EACCES:
      return no(`the node's file system refuses devices (nodev): open(${numbers}): EACCES`, true);
    case ENXIO:
    case ENODEV:
      return no(`no driver answers for ${numbers}: open: ${errnoName(opened)}`);
    default:
      return no(`open of ${numbers} inside the consumer: ${errnoName(opened)}`);
  }
}
