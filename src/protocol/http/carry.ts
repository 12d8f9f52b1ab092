/**
 * Bytes of a head (or of trailers) that did not arrive whole in one chunk. Only heads
 * are ever carried; bodies stream through. Empty, it holds no memory.
 */
const NOTHING = new Uint8Array(0);
/** First size: a usual head fits, so most carries are allocated once. */
const FIRST_BYTES = 1024;

/** Bytes that many carries may hold together, so that many connections with half a head each stay bounded. */
export class CarryBudget {
  used = 0;
  readonly limit: number;
  constructor(limit: number) {
    this.limit = limit;
  }
}

export class Carry {
  bytes: Uint8Array = NOTHING;
  length = 0;
  private readonly budget: CarryBudget;

  constructor(budget: CarryBudget) {
    this.budget = budget;
  }

  /** Appends `bytes[from, to)`. False, and nothing done: the budget has no room for it. The caller bounds one carry. */
  append(bytes: Uint8Array, from: number, to: number): boolean {
    const needed = this.length + (to - from);
    if (needed > this.bytes.length && !this.grow(needed)) return false;
    this.bytes.set(bytes.subarray(from, to), this.length);
    this.length = needed;
    return true;
  }

  private grow(needed: number): boolean {
    let size = Math.max(this.bytes.length, FIRST_BYTES);
    while (size < needed) size *= 2;
    const more = size - this.bytes.length;
    if (this.budget.used + more > this.budget.limit) return false;
    this.budget.used += more;
    const grown = new Uint8Array(size);
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    return true;
  }

  /** Gives the memory back. Whoever drops a carry clears it first. */
  clear(): void {
    this.budget.used -= this.bytes.length;
    this.bytes = NOTHING;
    this.length = 0;
  }
}
