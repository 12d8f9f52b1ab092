/**
 * Other processes, held by pidfd (a pid alone may be somebody else's by now), and
 * this one: limits, signal mask, re-exec.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { checked, ESRCH } from "./errno.ts";
import { LOCK_EX, LOCK_NB } from "./flags.ts";
import { cold } from "./koffi.ts";
import { Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** A process that was alive when it was opened. Holds one fd until `close`. */
export class ProcessHandle {
  readonly pid: number;
  readonly pidfd: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. With the pid, unique for a boot. */
  readonly startTime: string;
  private closed = false;

  /** Throws SysError (ESRCH) when no such process is alive. */
  constructor(pid: number) {
    this.pid = pid;
    this.pidfd = checked(pvx.pvx_pidfd_open(pid), () => `pidfd_open(${pid})`);
    try {
      this.startTime = startTimeOf(pid);
      checked(this.signal(0), () => `pidfd_send_signal(${pid}, 0)`);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** False as soon as the process has exited, also while it is a zombie. */
  get alive(): boolean {
    // A pidfd is readable from the exit on (pidfd_open(2)); signal 0 still reaches a zombie.
    return !this.closed && pvx.pvx_wait_readable(this.pidfd, 0) === 0 && this.signal(0) !== -ESRCH;
  }

  private signal(number: number): number {
    return pvx.pvx_pidfd_signal(this.pidfd, number);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    pvx.pvx_close(this.pidfd);
  }
}

/** Largest /proc file that is read here: cgroup lines and id maps are far below. */
const PROC_FILE_MAX = 64 * 1024;

/** A /proc file of bounded size, as text. Throws node's error when it can't be read. */
export function readProc(path: string): string {
  const fd = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(PROC_FILE_MAX);
    let length = 0;
    for (;;) {
      const n = readSync(fd, buffer, length, buffer.length - length, null);
      length += n;
      if (n === 0 || length === buffer.length) return buffer.toString("latin1", 0, length);
    }
  } finally {
    closeSync(fd);
  }
}

/** Field 22 of /proc/PID/stat. The command name (field 2) is the process's to choose: skip to its last ")". */
export function startTimeOf(pid: number): string {
  const stat = readProc(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
}

/** Cgroup paths of a process: the v2 one and each v1 hierarchy's, as /proc/PID/cgroup has them. */
export function cgroupPathsOf(pid: number): string[] {
  return readProc(`/proc/${pid}/cgroup`)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.slice(line.indexOf(":", line.indexOf(":") + 1) + 1));
}

/** Host uid and gid of the container's root (id 0 inside). 0 where ids are not mapped. */
export function rootIdsOf(pid: number): { uid: number; gid: number } {
  return { uid: hostId(readProc(`/proc/${pid}/uid_map`), 0), gid: hostId(readProc(`/proc/${pid}/gid_map`), 0) };
}

/** Translates an id inside to the host's by a uid_map/gid_map (user_namespaces(7)); 65534 when it is not mapped. */
export function hostId(map: string, inside: number): number {
  for (const line of map.split("\n")) {
    const [first, host, count] = line.trim().split(/\s+/).map(Number);
    if (first === undefined || host === undefined || count === undefined) continue;
    if (inside >= first && inside < first + count) return host + (inside - first);
  }
  return 65534;
}

/** Takes an exclusive lock on an open file without waiting; false when another process has it. */
export function tryLock(fd: number): boolean {
  return pvx.pvx_flock(fd, LOCK_EX | LOCK_NB) === 0;
}

/** Raises RLIMIT_NOFILE as far as allowed, at most to `want`; returns the soft limit in force. */
export function raiseFdLimit(want: number): number {
  const limits = new Memory(16);
  checked(pvx.pvx_raise_nofile(want, limits.address), () => "prlimit64(RLIMIT_NOFILE)");
  return Number(new BigUint64Array(limits.buffer)[0]);
}

/**
 * Replaces this process by a fresh one of the same executable: drops every inherited
 * fd (Bun has marked them close-on-exec) and every blocked signal. Returns only on failure.
 */
export function reexec(argv: readonly string[], env: Readonly<Record<string, string>>): never {
  pvx.pvx_unblock_signals();
  const pairs = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const result = cold().execve("/proc/self/exe", [...argv, null], [...pairs, null]);
  checked(result, () => 'execve("/proc/self/exe")');
  throw new Error("execve returned without an error");
}
