/**
 * The root directory of the process behind a link's end, opened anew for each use:
 * a container's init may pivot_root after we looked, and a pid may be somebody else's
 * by now. A pidfd says whether the process that we opened is still the one we meant.
 */
import { ENOENT, ESRCH, errnoName } from "../sys/errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH } from "../sys/flags.ts";
import { cstring } from "../sys/memory.ts";
import { startTimeOf } from "../sys/process.ts";
import { QuickStat } from "../sys/quick-stat.ts";
import { pvx } from "../sys/shim.ts";

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
    const own = hostRoot();
    const r = stat.read(fd);
    if (r < 0) return `statx(root of ${this.pid}): ${errnoName(r)}`;
    // Between clone and pivot_root a container's init still stands in the host's root.
    if (stat.ino === own.ino && stat.deviceNumber === own.device)
      return `process ${this.pid} still has the host's root directory`;
    return undefined;
  }

  private gone(): string {
    return `process ${this.pid} is not running`;
  }
}
