/** Processes that exist because a test says so. */
import type { PeerHandle, PeerWatch } from "../../src/reconcile/peers.ts";

interface Process {
  startTicks: number;
  cgroups: readonly string[];
  readonly watchers: Set<() => void>;
}

export class MemoryPeers implements PeerWatch {
  ownCgroups: readonly string[] = ["/"];
  ticks = 1000;
  opened = 0;
  held = 0;
  /** Exits are noticed only by looking, not by notice. */
  silent = false;
  private readonly processes = new Map<number, Process>();

  nowTicks(): number {
    return this.ticks;
  }
  /** Starts a process: `cgroup` as in /proc/PID/cgroup. */
  run(pid: number, cgroup = "/"): void {
    this.ticks++;
    this.processes.set(pid, { startTicks: this.ticks, cgroups: [cgroup], watchers: new Set() });
    this.ticks++;
  }
  kill(pid: number): void {
    const process = this.processes.get(pid);
    this.processes.delete(pid);
    if (!this.silent) for (const exited of process?.watchers ?? []) exited();
  }
  open(pid: number): PeerHandle {
    const process = this.processes.get(pid);
    if (process === undefined) throw new Error(`pidfd_open(${pid}): ESRCH`);
    this.opened++;
    this.held++;
    let closed = false;
    let mine: (() => void) | undefined;
    const processes = this.processes;
    const release = () => this.held--;
    return {
      pid,
      startTicks: process.startTicks,
      cgroups: process.cgroups,
      get alive() {
        return !closed && processes.get(pid) === process;
      },
      onExit(exited) {
        mine = () => {
          if (!closed) exited();
        };
        process.watchers.add(mine);
      },
      close() {
        if (closed) return;
        closed = true;
        release();
        if (mine !== undefined) process.watchers.delete(mine);
      },
    };
  }
}
