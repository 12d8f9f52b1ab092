/** A clock that stands still until a test moves it. */
import type { Clock } from "../../src/reconcile/clock.ts";

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

export class FakeClock implements Clock {
  private now = 1_000_000;
  private readonly timers = new Set<Timer>();

  monotonic(): number {
    return this.now;
  }
  wall(): number {
    return Date.UTC(2026, 6, 1) + this.now;
  }
  after(ms: number, run: () => void): () => void {
    const timer = { at: this.now + ms, run };
    this.timers.add(timer);
    return () => void this.timers.delete(timer);
  }
  get armed(): number {
    return this.timers.size;
  }
  /** Milliseconds to the next timer; Infinity without one. */
  get nextIn(): number {
    return Math.min(...[...this.timers].map((timer) => timer.at)) - this.now;
  }
  /** Time passes; timers fire in order, and what they started goes on as far as it can without more time. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    await settled();
    for (let due = this.due(end); due !== undefined; due = this.due(end)) {
      this.timers.delete(due);
      this.now = Math.max(this.now, due.at);
      due.run();
      await settled();
    }
    this.now = end;
  }
  private due(end: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.timers) if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer;
    return first;
  }
}

/** Everything that only waits for other promises has happened. */
export async function settled(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
