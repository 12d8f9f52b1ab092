/** Bytes of requests that must wait until those before them have been answered. */
import { Carry, type CarryBudget } from "../../protocol/http/carry.ts";

/**
 * The consumer is not read while something is held, so this is the rest of one receive at
 * most. Several hundred small requests; a client that sends more ahead is told to wait.
 */
export const HELD_MAX = 64 * 1024;
const NOTHING = new Uint8Array(0);

export class Held {
  private readonly carry: Carry;
  constructor(budget: CarryBudget) {
    this.carry = new Carry(budget);
  }
  get length(): number {
    return this.carry.length;
  }
  /** False: there is no room. */
  append(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.carry.length + end - start > HELD_MAX) return false;
    return this.carry.append(bytes, start, end);
  }
  /** All of it; nothing is held any more. */
  take(): Uint8Array {
    if (this.carry.length === 0) return NOTHING;
    const bytes = this.carry.bytes.subarray(0, this.carry.length);
    this.carry.clear();
    return bytes;
  }
}
