/**
 * The seam for a shortcut through the codec: something faster that finds the usual head in
 * one pass. It is never the judge: a head that it does not know goes through the codec, and one that it
 * knows means in the codec exactly what it says.
 */
import { FIELD_VALUE, HOST, PATH, QUERY, TOKEN } from "./characters.ts";
import { FIRST_LETTERS } from "./fields.ts";

export interface HeadScanner {
  /**
   * The length of the request head that begins at `bytes[at]` and is whole before `end`, or 0: not whole, or not
   * usual. Usual: HTTP/1.1, the origin-form without escapes in the path, one good Host, and no field that matters
   * to the codec but perhaps one Content-Length.
   */
  request(bytes: Uint8Array, at: number, end: number): number;
  /** The same for an answer: HTTP/1.1, final, with a body by Content-Length, and no other field that matters. */
  response(bytes: Uint8Array, at: number, end: number): number;
  /** Of the head found last, offsets from its first byte: see FOUND. Overwritten by the next call. */
  readonly found: Uint32Array;
}

/** Places in `found`. LENGTH_START and LENGTH_END: the value of Content-Length; both 0 where there is none. */
export const FOUND = {
  METHOD_END: 0,
  PATH_END: 1,
  TARGET_END: 2,
  LINE_END: 3,
  STATUS: 4,
  LENGTH_START: 5,
  LENGTH_END: 6,
} as const;

/** What a scanner must know: bits by byte (1 token, 2 path, 4 query, 8 host, 16 field value), and the first letters of the names that matter by length. */
export function scannerTables(): { readonly classes: Uint8Array; readonly letters: Uint32Array } {
  const classes = new Uint8Array(256);
  for (const [bit, table] of [TOKEN, PATH, QUERY, HOST, FIELD_VALUE].entries())
    for (let byte = 0; byte < 256; byte++) if (table[byte] !== 0) classes[byte]! |= 1 << bit;
  return { classes, letters: FIRST_LETTERS };
}
