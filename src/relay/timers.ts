/** Deadlines of the reactor: a binary heap, since most are set, moved and cancelled and few ever fire. */

export class Timer {
  at = 0;
  /** Place in the heap, -1 when not armed. */
  index = -1;
  readonly fire: () => void;
  constructor(fire: () => void) {
    this.fire = fire;
  }
}

export class Timers {
  private readonly heap: Timer[] = [];

  get size(): number {
    return this.heap.length;
  }

  /** Arms or moves a timer to `at` (ms of the reactor's clock). */
  arm(timer: Timer, at: number): void {
    timer.at = at;
    if (timer.index < 0) {
      timer.index = this.heap.length;
      this.heap.push(timer);
    }
    this.up(timer.index);
    this.down(timer.index);
  }

  cancel(timer: Timer): void {
    const { index } = timer;
    if (index < 0) return;
    timer.index = -1;
    const last = this.heap.pop()!;
    if (last === timer) return;
    this.heap[index] = last;
    last.index = index;
    this.up(index);
    this.down(last.index);
  }

  /** Milliseconds until the next deadline (0 when it is due), or -1 when there is none. */
  wait(now: number): number {
    const first = this.heap[0];
    return first === undefined ? -1 : Math.max(0, Math.ceil(first.at - now));
  }

  /** Fires what is due at `now`: at most as many as were armed at the start, so that one which arms itself anew can't hold the loop. */
  fireDue(now: number): void {
    for (let left = this.heap.length; left > 0; left--) {
      const first = this.heap[0];
      if (first === undefined || first.at > now) return;
      this.cancel(first);
      first.fire();
    }
  }

  private up(from: number): void {
    let i = from;
    const timer = this.heap[i]!;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const other = this.heap[parent]!;
      if (other.at <= timer.at) break;
      this.heap[i] = other;
      other.index = i;
      i = parent;
    }
    this.heap[i] = timer;
    timer.index = i;
  }

  private down(from: number): void {
    let i = from;
    const timer = this.heap[i]!;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.heap.length) break;
      if (child + 1 < this.heap.length && this.heap[child + 1]!.at < this.heap[child]!.at) child++;
      const other = this.heap[child]!;
      if (other.at >= timer.at) break;
      this.heap[i] = other;
      other.index = i;
      i = child;
    }
    this.heap[i] = timer;
    timer.index = i;
  }
}
