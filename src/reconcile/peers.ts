/**
 * Which processes are up, for as long as the graph names them. A pid is believed only
 * while we hold its pidfd: nothing can take the number over unseen, and its exit tells itself.
 */
import { disbelief } from "./belief.ts";
import type { PeerView } from "./link-state.ts";

/** One process, held. */
export interface PeerHandle {
  readonly pid: number;
  /** Clock ticks since boot. */
  readonly startTicks: number;
  /** Paths of its cgroups when it was opened. */
  readonly cgroups: readonly string[];
  /** False from its exit on. */
  readonly alive: boolean;
  /** `exited` is called once, soon after the exit; not after `close`. */
  onExit(exited: () => void): void;
  close(): void;
}

/** The syscalls, as `process-watch.ts` makes them. */
export interface PeerWatch {
  /** Throws an Error whose message says why there is no such process (to hold). */
  open(pid: number): PeerHandle;
  /** Clock ticks since boot, now. */
  nowTicks(): number;
  /** Cgroup paths of the daemon itself. */
  readonly ownCgroups: readonly string[];
}

/** Processes held at once; each costs two fds. Devices run tens of containers. */
export const MAX_PEERS = 2048;

export type Side = "consumer" | "provider";

const HOST: PeerView = { up: true, id: "host", pid: 0, start: undefined };

/** The graph's word on one container: this name has this pid. */
interface Named {
  readonly name: string;
  readonly pid: number;
  /** When the graph said so first: a process that is younger was not meant. */
  readonly atTicks: number;
  /** Start time of the believed process, or undefined. */
  start: string | undefined;
  /** Why it is not believed; "" when it is. */
  doubt: string;
}

/** All names that the graph gives one pid: one, unless it is wrong about one of them. */
type Group = readonly Named[];

/** Doubted pids looked at again in one `refresh`; more wait their turn. Real graphs have a few, the cap is for one full of dead pids. */
const LOOKS_PER_REFRESH = 256;

export class Peers {
  /** Grows with every change of what is believed. */
  version = 0;
  private readonly watch: PeerWatch;
  private readonly exited: () => void;
  private readonly handles = new Map<number, PeerHandle>();
  private groups = new Map<number, Group>();
  private doubted: number[] = [];

  /** `exited` is called after a process that was believed has exited and is believed no more. */
  constructor(watch: PeerWatch, exited: () => void) {
    this.watch = watch;
    this.exited = exited;
  }

  /** Name and pid of every container in the graph as it is now: forgets who is not in it, looks at who is new. */
  setGraph(pairs: Iterable<readonly [name: string, pid: number]>): void {
    const groups = new Map<number, Map<string, Named>>();
    const atTicks = this.watch.nowTicks();
    for (const [name, pid] of pairs) {
      if (pid <= 0) continue;
      const group = groups.get(pid) ?? new Map<string, Named>();
      groups.set(pid, group);
      if (!group.has(name))
        group.set(name, this.find(name, pid) ?? { name, pid, atTicks, start: undefined, doubt: "" });
    }
    this.groups = new Map([...groups].map(([pid, group]) => [pid, [...group.values()]]));
    for (const pid of [...this.handles.keys()]) if (!this.groups.has(pid)) this.release(pid);
    this.dropDead();
    this.doubted = [...this.groups].filter(([, group]) => isDoubted(group)).map(([pid]) => pid);
    for (const pid of this.doubted) this.look(pid);
  }

  /** Looks whether the believed are alive, and again at the others. Cheap: called at each answer of the source. */
  refresh(): void {
    this.dropDead();
    const turn = this.doubted.splice(0, LOOKS_PER_REFRESH);
    for (const pid of turn) if (!this.look(pid)) this.doubted.push(pid);
  }

  /** What to believe of a pid that the graph gives for `name`. */
  view(side: Side, name: string, pid: number): PeerView {
    if (pid === 0) return HOST;
    const who = `The ${side} ${JSON.stringify(name)}`;
    if (pid < 0) return { up: false, reason: `${who} is not up` };
    const entry = this.find(name, pid);
    if (entry?.start !== undefined) return { up: true, id: `${pid}:${entry.start}`, pid, start: entry.start };
    return { up: false, reason: `${who} is not up: ${entry?.doubt ?? `pid ${pid} is not in the graph`}` };
  }

  close(): void {
    for (const pid of [...this.handles.keys()]) this.release(pid);
    this.groups.clear();
    this.doubted = [];
  }

  private find(name: string, pid: number): Named | undefined {
    return this.groups.get(pid)?.find((entry) => entry.name === name);
  }

  private dropDead(): void {
    for (const [pid, handle] of [...this.handles]) if (!handle.alive) this.lost(pid);
  }

  /** Judges the process with this pid by everyone who is named by it. True when all of them are believed. */
  private look(pid: number): boolean {
    const group = this.groups.get(pid) ?? [];
    let handle: PeerHandle;
    try {
      handle = this.handles.get(pid) ?? this.open(pid);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      // That it can't be opened any more is no news after its exit, and not worth a second line in the log.
      for (const entry of group) this.judge(entry, entry.doubt === exitOf(pid) ? entry.doubt : why, undefined);
      return false;
    }
    for (const entry of group) {
      const doubt = disbelief(entry.name, handle, this.watch.ownCgroups, entry.atTicks);
      this.judge(entry, doubt, String(handle.startTicks));
    }
    // A stranger's pidfd is not kept: should the stranger exit, its successor is looked at anew.
    if (group.every((entry) => entry.start === undefined)) this.release(pid);
    return !isDoubted(group);
  }

  private judge(entry: Named, doubt: string | undefined, start: string | undefined): void {
    const believed = doubt === undefined ? start : undefined;
    if (entry.start === believed && entry.doubt === (doubt ?? "")) return;
    entry.start = believed;
    entry.doubt = doubt ?? "";
    this.version++;
  }

  private open(pid: number): PeerHandle {
    if (this.handles.size >= MAX_PEERS) throw new Error(`pid ${pid} is not watched, ${MAX_PEERS} others are`);
    const handle = this.watch.open(pid);
    this.handles.set(pid, handle);
    handle.onExit(() => {
      this.lost(pid);
      this.exited();
    });
    return handle;
  }

  private lost(pid: number): void {
    this.release(pid);
    for (const entry of this.groups.get(pid) ?? []) this.judge(entry, exitOf(pid), undefined);
    if (!this.doubted.includes(pid)) this.doubted.push(pid);
  }

  private release(pid: number): void {
    this.handles.get(pid)?.close();
    this.handles.delete(pid);
  }
}

function exitOf(pid: number): string {
  return `pid ${pid} has exited`;
}

function isDoubted(group: Group): boolean {
  return group.some((entry) => entry.start === undefined);
}
