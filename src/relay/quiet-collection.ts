/** Gives back the memory that a burst of sessions has left behind, once it is over: `limits.ts` says why. */
import { COLLECT_AFTER_SESSIONS, COLLECT_QUIET_MS } from "./limits.ts";
import { Timer, type Timers } from "./timers.ts";

export class QuietCollection {
  private readonly timers: Timers;
  private readonly now: () => number;
  private readonly collect: () => void;
  private ended = 0;
  /** When a session last came or went. */
  private last = 0;
  private readonly timer = new Timer(() => this.look());

  /** `now`: the reactor's clock. */
  constructor(timers: Timers, now: () => number, collect: () => void = () => Bun.gc(true)) {
    this.timers = timers;
    this.now = now;
    this.collect = collect;
  }

  sessionOpened(): void {
    this.last = this.now();
  }

  sessionClosed(): void {
    this.last = this.now();
    if (++this.ended >= COLLECT_AFTER_SESSIONS && this.timer.index < 0)
      this.timers.arm(this.timer, this.last + COLLECT_QUIET_MS);
  }

  private look(): void {
    const quietAt = this.last + COLLECT_QUIET_MS;
    if (quietAt > this.now()) {
      this.timers.arm(this.timer, quietAt);
      return;
    }
    this.ended = 0;
    this.collect();
  }
}
