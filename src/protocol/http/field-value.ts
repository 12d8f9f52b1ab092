/**
 * Finds the end of a field value, four bytes a step. Values are most of a head, and this
 * is where most of a request's time would go byte by byte.
 */
import { FIELD_VALUE } from "./characters.ts";

/** A view of the bytes that were scanned last: the relay lends one buffer over and over. */
let viewed: Uint8Array = new Uint8Array(0);
let view = new DataView(viewed.buffer);

/** Below this a view costs more than it saves. */
const WORTHWHILE = 16;
const EVERY_BYTE = 0x01010101;
const EVERY_TOP_BIT = 0x80808080 | 0;
const SPACES = 0x20202020;
const DELS = 0x7f7f7f7f;

/**
 * The offset of the first byte of `bytes[at, stop)` that can't stand in a value (RFC 9110 section 5.5: controls
 * but HTAB), or `stop`.
 */
export function endOfValue(bytes: Uint8Array, at: number, stop: number): number {
  let i = at;
  if (stop - at >= WORTHWHILE) {
    if (viewed !== bytes) {
      viewed = bytes;
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    for (; i + 4 <= stop; i += 4) {
      const word = view.getInt32(i, true);
      // The top bit of each byte that is below 0x20, or may be because of a borrow from the byte before it.
      const low = (word - SPACES) & ~word;
      const del = word ^ DELS;
      const isDel = (del - EVERY_BYTE) & ~del;
      if (((low | isDel) & EVERY_TOP_BIT) !== 0) break;
    }
  }
  while (i < stop && FIELD_VALUE[bytes[i]!] !== 0) i++;
  return i;
}
