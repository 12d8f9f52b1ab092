/**
 * The loop of the data plane: blocks in epoll_wait, hands events to the owners of
 * the fds, fires deadlines. Level-triggered, so nothing that was left unread is lost.
 *
 * Why not Bun's own sockets: they drop ancillary data. Why no promises here: a
 * wakeup's work is done when the call returns, and no other thread of control can
 * come between two of its steps.
 */
import { checked } from "../sys/errno.ts";
import { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD } from "../sys/flags.ts";
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import { Lanes } from "./lanes.ts";
import { Timers } from "./timers.ts";

export interface EventHandler {
  /** EPOLL* bits. Called at most once a wakeup for each fd. */
  onEvents(events: number): void;
}

/** Events a wakeup; more wait in the kernel for the next one. */
const BATCH = 256;
/** Longest sleep: a backstop, not a poll. */
const SLEEP_MAX_MS = 60_000;

export class Reactor {
  readonly timers = new Timers();
  /** Milliseconds of a monotonic clock, read once a wakeup. */
  now = performance.now();
  /** Wakeups so far. */
  turns = 0;
  private readonly epoll = checked(pvx.pvx_epoll_create(), () => "epoll_create1()");
  private readonly handlers: (EventHandler | undefined)[] = [];
  private readonly generations: number[] = [];
  private readonly events = new Memory(BATCH * 12);
  private readonly view = new Uint32Array(this.events.buffer);
  private readonly deferred: (() => void)[] = [];
  private readonly lanes: Lanes;
  private stopping = false;

  /** `counters`: what lanes count into. `spins`: whether a wait may look for a moment before it sleeps. */
  constructor(counters = new Memory(8), spins = false) {
    this.lanes = new Lanes(counters);
    this.lanes.spins = spins;
  }

  /** Registers an fd; the handler gets its events until `remove`. Throws SysError. */
  add(fd: number, handler: EventHandler, events: number): void {
    // A number that is used again must not get the events of its former owner from the same batch.
    const generation = ((this.generations[fd] ?? 0) + 1) >>> 0;
    while (this.generations.length <= fd) {
      this.generations.push(0);
      this.handlers.push(undefined);
    }
    checked(pvx.pvx_epoll_ctl(this.epoll, EPOLL_CTL_ADD, fd, events, generation), () => `epoll_ctl(ADD, ${fd})`);
    this.generations[fd] = generation;
    this.handlers[fd] = handler;
  }

  /** Which events are wanted from now on. */
  modify(fd: number, events: number): void {
    checked(
      pvx.pvx_epoll_ctl(this.epoll, EPOLL_CTL_MOD, fd, events, this.generations[fd]!),
      () => `epoll_ctl(MOD, ${fd})`,
    );
  }

  /** From now on what arrives at `fd` is sent to `to` by the wait itself, as long as it is plain; anything else comes as an event. */
  carry(fd: number, to: number, messages: number, bytes: number): void {
    this.lanes.open(fd, this.generations[fd]!, to, messages, bytes);
  }

  /** All events of `fd` come to its handler again. */
  carryNot(fd: number): void {
    this.lanes.close(fd);
  }

  /** Forgets an fd that is about to be closed (closing takes it out of epoll: nobody else holds a duplicate). */
  forget(fd: number): void {
    this.handlers[fd] = undefined;
    this.lanes.close(fd);
    this.generations[fd] = ((this.generations[fd] ?? 0) + 1) >>> 0;
  }

  /** Forgets an fd that stays open, or that may have duplicates. */
  remove(fd: number): void {
    pvx.pvx_epoll_ctl(this.epoll, EPOLL_CTL_DEL, fd, 0, 0);
    this.forget(fd);
  }

  /** Runs `work` once, after the events of this wakeup. */
  defer(work: () => void): void {
    this.deferred.push(work);
  }

  stop(): void {
    this.stopping = true;
  }

  /**
   * Returns after `stop()`, with the wakeup's work done, and may be called again. What a handler
   * throws comes out of here: the reactor's state can't be trusted then.
   */
  run(): void {
    this.stopping = false;
    while (!this.stopping) this.turn(SLEEP_MAX_MS);
  }

  /** One wakeup, waiting at most `maxMs`. */
  turn(maxMs: number): void {
    const due = this.timers.wait(this.now);
    let wait = due < 0 || due > maxMs ? maxMs : due;
    if (this.deferred.length > 0) wait = 0;
    // `now` is as old as the last wakeup: a deadline may pass while its work ran. Look at the clock before sleeping.
    if (wait > 0 && due >= 0) {
      const late = performance.now() - this.now;
      wait = Math.max(0, Math.ceil(wait - late));
    }
    const n = checked(this.lanes.wait(this.epoll, this.events, BATCH, wait), () => "epoll_pwait()");
    this.now = performance.now();
    this.turns++;
    this.lanes.learn(this.now, n);
    const { view, handlers, generations } = this;
    for (let i = 0; i < n; i++) {
      const fd = view[3 * i]!;
      if (generations[fd] === view[3 * i + 1]) handlers[fd]?.onEvents(view[3 * i + 2]!);
    }
    this.timers.fireDue(this.now);
    if (this.deferred.length > 0) for (const work of this.deferred.splice(0)) work();
  }
}
