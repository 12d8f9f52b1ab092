/**
 * The root directory of the process behind a link's end, opened anew for each use:
 * a container's init may pivot_root after we looked, and a pid may be somebody else's
 * by now. A pidfd says whether the process that we opened is still the one we meant.
 *
 * That it has left the host's root is asked once, under guard: its root may lie on a file
 * system whose client asks a server for every stat (9p), and it never comes back to the host's.
 */
import { ENOENT, ESRCH, errnoName } from "../sys/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_STATX_DONT_SYNC, O_CLOEXEC, O_DIRECTORY, O_PATH } from "../sys/flags.ts";
import { canGuard, NR, fd as own, type Step } from "../sys/guarded.ts";
import { cstring } from "../sys/memory.ts";
import { startTimeOf } from "../sys/process.ts";
import { QuickStat } from "../sys/quick-stat.ts";
import { pvx } from "../sys/shim.ts";
import { walk } from "./walk.ts";

/** The data plane stands still meanwhile. */
const STAT_MS = 100;
/** Processes, by scope, that are known to have left the host's root; the oldest is asked again. */
const LEFT_MAX = 1024;
const left = new Set<string>();

const O_ROOT = O_PATH | O_DIRECTORY | O_CLOEXEC;
const stat = new QuickStat();

interface HostRoot {
  readonly fd: number;
  readonly device: number;
  readonly ino: bigint;
}
let host: HostRoot | undefined;

/** Our own "/", open for the life of the process. */
export function hostRoot(): HostRoot {
  if (host === undefined) {
    const fd = pvx.pvx_openat(AT_FDCWD, cstring("/"), O_ROOT, 0);
    const r = fd < 0 ? fd : stat.read(fd);
    if (r < 0) throw new Error(`Cannot open the host's root: ${errnoName(r)}`);
    host = { fd, device: stat.deviceNumber, ino: stat.ino };
  }
  return host;
}

export class PeerRoot {
  readonly pid: number;
  private readonly startTime: string | undefined;
  private pidfd = -1;
  private hasLeft = false;

  /** `startTime`: field 22 of /proc/PID/stat, where the caller knows it; another process with this pid is then refused. */
  constructor(pid: number, startTime?: string) {
    this.pid = pid;
    this.startTime = startTime;
  }

  /** For `walk`: the host's own paths are trusted to answer. */
  get scope(): string | undefined {
    return this.pid === 0 ? undefined : `${this.pid} ${this.startTime ?? ""}`;
  }

  /** An O_PATH fd of the root, the caller's to give to `release`; or why there is none (not up, or not ours to enter yet). */
  open(): number | string {
    if (this.pid === 0) return hostRoot().fd;
    if (this.pidfd < 0) {
      const refused = this.hold();
      if (refused !== undefined) return refused;
    }
    const fd = pvx.pvx_openat(AT_FDCWD, cstring(`/proc/${this.pid}/root`), O_ROOT, 0);
    if (fd < 0)
      return fd === -ENOENT || fd === -ESRCH ? this.gone() : `open("/proc/${this.pid}/root"): ${errnoName(fd)}`;
    const refused = this.examine(fd);
    if (refused === undefined) return fd;
    pvx.pvx_close(fd);
    return refused;
  }

  release(fd: number): void {
    if (this.pid !== 0) pvx.pvx_close(fd);
  }

  close(): void {
    if (this.pidfd >= 0) pvx.pvx_close(this.pidfd);
    this.pidfd = -1;
    this.hasLeft = false;
  }

  private hold(): string | undefined {
    const pidfd = pvx.pvx_pidfd_open(this.pid);
    if (pidfd === -ESRCH) return this.gone();
    if (pidfd < 0) return `pidfd_open(${this.pid}): ${errnoName(pidfd)}`;
    this.pidfd = pidfd;
    if (this.startTime === undefined) return undefined;
    let started: string | undefined;
    try {
      started = startTimeOf(this.pid);
    } catch {
      // Gone between the two: said below.
    }
    if (started === this.startTime) return undefined;
    this.close();
    return `pid ${this.pid} belongs to another process now`;
  }

  private examine(fd: number): string | undefined {
    // After the open: alive now means that the pid was this process's all the while.
    if (pvx.pvx_wait_readable(this.pidfd, 0) !== 0) return this.gone();
    if (this.hasLeft || left.has(this.scope!)) return undefined;
    try {
      if (this.isHosts(fd)) return `process ${this.pid} still has the host's root directory`;
    } catch (error) {
      return `root directory of process ${this.pid}: ${(error as Error).message}`;
    }
    this.hasLeft = true;
    if (this.startTime !== undefined) {
      if (left.size >= LEFT_MAX) left.delete(left.values().next().value!);
      left.add(this.scope!);
    }
    return undefined;
  }

  /** Between clone and pivot_root a container's init still stands in the host's root. Throws SysError. */
  private isHosts(fd: number): boolean {
    const host = hostRoot();
    if (!canGuard()) {
      stat.read(fd);
      return stat.ino === host.ino && stat.deviceNumber === host.device;
    }
    const step: Step = {
      call: "statx()",
      nr: NR.statx,
      args: [own(fd), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, QuickStat.MASK, new Uint8Array(QuickStat.BYTES)],
    };
    const view = new DataView(walk(this.scope, [step], STAT_MS).output(0, 4, QuickStat.BYTES).buffer);
    return QuickStat.inoIn(view) === host.ino && QuickStat.deviceNumberIn(view) === host.device;
  }

  private gone(): string {
    return `process ${this.pid} is not running`;
  }
}
