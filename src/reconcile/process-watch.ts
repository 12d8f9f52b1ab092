/**
 * Processes as `peers.ts` wants them, by the syscalls of `src/sys/process.ts`.
 *
 * The exit notice costs no polling: a duplicate of the pidfd is given to Bun's own event loop as
 * if it were a connected socket. It becomes readable at the exit (pidfd_open(2)), Bun's recv
 * on it fails with ENOTSOCK, and Bun closes it and says so. Seen on Bun 1.4.5, and held by
 * test/integration/reconcile/process-watch.test.ts; should it ever fail, `Peers.refresh` finds the exit at the next answer.
 */
import { checked } from "../sys/errno.ts";
import { cgroupPathsOf, ProcessHandle, readProc } from "../sys/process.ts";
import { pvx } from "../sys/shim.ts";
import type { PeerHandle, PeerWatch } from "./peers.ts";

/** USER_HZ, the unit of /proc/PID/stat's times: 100 on every architecture that Linux 6 still has with another HZ (time(7)). */
const TICKS_PER_SECOND = 100;

class HeldProcess implements PeerHandle {
  readonly pid: number;
  readonly startTicks: number;
  readonly cgroups: readonly string[];
  private readonly handle: ProcessHandle;
  private stopWatching: (() => void) | undefined;
  private closed = false;

  constructor(pid: number) {
    this.pid = pid;
    this.handle = new ProcessHandle(pid);
    try {
      this.startTicks = Number(this.handle.startTime);
      this.cgroups = cgroupPathsOf(pid).map((path) => Buffer.from(path, "latin1").toString("utf8"));
      // What was read by number was this process's only if it is still alive now.
      if (!this.handle.alive) throw new Error(`pid ${pid} has exited`);
    } catch (error) {
      this.handle.close();
      throw error;
    }
  }

  get alive(): boolean {
    return this.handle.alive;
  }

  onExit(exited: () => void): void {
    const fd = checked(pvx.pvx_dup(this.handle.pidfd), () => `fcntl(pidfd of ${this.pid}, F_DUPFD_CLOEXEC)`);
    const ended = () => {
      if (!this.closed) exited();
    };
    // `fd` is not in Bun's types. The socket owns it from here on and closes it in every case.
    const socket = { data() {}, error() {}, close: ended };
    const connecting = Bun.connect({ fd, socket } as unknown as Bun.UnixSocketOptions<undefined>);
    connecting.then(
      (connected) => {
        connected.unref();
        this.stopWatching = () => connected.terminate();
        if (this.closed) connected.terminate();
      },
      () => {},
    );
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.stopWatching?.();
    this.handle.close();
  }
}

export class ProcessWatch implements PeerWatch {
  readonly ownCgroups: readonly string[];

  constructor() {
    this.ownCgroups = cgroupPathsOf(process.pid).map((path) => Buffer.from(path, "latin1").toString("utf8"));
  }
  open(pid: number): PeerHandle {
    return new HeldProcess(pid);
  }
  nowTicks(): number {
    // /proc/uptime counts from the boot as seen in this time namespace, as the start times do (proc(5)).
    return ticksOf(readProc("/proc/uptime"));
  }
}

/** Clock ticks of /proc/uptime's text. Two decimals are a whole number of ticks, but as a product of floats it may fall just short of it. */
export const ticksOf = (uptime: string): number => Math.round(Number(uptime.split(" ")[0]) * TICKS_PER_SECOND);
