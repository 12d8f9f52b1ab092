/**
 * Keeps the part of a message that has arrived until the rest of it has.
 *
 * Whole messages are judged and sent on where they lie, in the receive buffer; only
 * the one that a chunk cuts in two is copied here. What is sent on therefore always
 * ends at the end of a message, and a message of our own can follow at any time.
 */
import { HEADER_BYTES, MAX_MESSAGE_BYTES, sizeAt } from "./wire.ts";

const NOTHING = new Uint8Array(0);
/** First room for a part: most messages are below 100 bytes. */
const FIRST_ROOM = 256;

export class Framer {
  private room = NOTHING;
  private used = 0;

  /** Bytes of an unfinished message. At most 65,531. */
  get carried(): number {
    return this.used;
  }

  /** What is carried; valid until the next call. Whole once `fill` has said so. */
  get bytes(): Uint8Array {
    return this.room.subarray(0, this.used);
  }

  /**
   * Takes what the carried message lacks from the start of `buffer[0, length)`.
   * Returns how many bytes it took, and with `whole` or `malformed` what came of it.
   */
  fill(buffer: Uint8Array, length: number): { readonly taken: number; readonly state: "part" | "whole" | "malformed" } {
    let taken = this.take(buffer, 0, length, HEADER_BYTES);
    if (this.used < HEADER_BYTES) return { taken, state: "part" };
    const size = sizeAt(this.room, 0);
    if (size === 0) return { taken, state: "malformed" };
    taken += this.take(buffer, taken, length, size);
    return { taken, state: this.used === size ? "whole" : "part" };
  }

  /** Carries `buffer[start, length)`, the beginning of a message. Only when nothing is carried. */
  keep(buffer: Uint8Array, start: number, length: number): void {
    if (start < length) this.take(buffer, start, length, MAX_MESSAGE_BYTES);
  }

  /** The carried message is done with. */
  clear(): void {
    this.used = 0;
    // A large one is rare; its memory is not kept for the life of the session.
    if (this.room.length > FIRST_ROOM) this.room = NOTHING;
  }

  /** Copies until `until` bytes are carried or `buffer` is used up. */
  private take(buffer: Uint8Array, start: number, length: number, until: number): number {
    const n = Math.min(until - this.used, length - start);
    if (n <= 0) return 0;
    const needed = this.used + n;
    // Room follows what has arrived, not what the header claims.
    if (needed > this.room.length) {
      const larger = new Uint8Array(Math.min(MAX_MESSAGE_BYTES, Math.max(FIRST_ROOM, 2 * needed)));
      larger.set(this.bytes);
      this.room = larger;
    }
    this.room.set(buffer.subarray(start, start + n), this.used);
    this.used = needed;
    return n;
  }
}
