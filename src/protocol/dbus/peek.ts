/**
 * The first arguments of the few bodies that policy looks into: `s`, `ss`, `ssv`, `su`,
 * `sa{sv}as`, `as`, `sss`. Sound by itself: bounds, padding, NUL, UTF-8.
 */
import { validUtf8 } from "./body.ts";
import { readU32 } from "./integers.ts";
import { ascii } from "./intern.ts";

const decoder = new TextDecoder("utf-8");

/** Reads strings one after the other from b[at, end); `base` is the message's first byte. */
export class BodyReader {
  private readonly b: Uint8Array;
  private readonly base: number;
  private readonly end: number;
  private readonly le: boolean;
  position: number;

  constructor(b: Uint8Array, base: number, at: number, end: number, littleEndian: boolean) {
    this.b = b;
    this.base = base;
    this.position = at;
    this.end = end;
    this.le = littleEndian;
  }

  /** A 32-bit integer or a length; undefined at the end or with padding that is not zero. */
  u32(): number | undefined {
    if (!this.align(4) || this.position + 4 > this.end) return undefined;
    const value = readU32(this.b, this.position, this.le);
    this.position += 4;
    return value;
  }

  string(): string | undefined {
    const length = this.u32();
    if (length === undefined) return undefined;
    const from = this.position;
    const to = from + length;
    if (length >= this.end - from || this.b[to] !== 0 || !validUtf8(this.b, from, to)) return undefined;
    this.position = to + 1;
    for (let i = from; i < to; i++) if (this.b[i]! > 0x7f) return decoder.decode(this.b.subarray(from, to));
    // Pieces, because a function takes a limited number of arguments.
    let text = "";
    for (let i = from; i < to; i += 4096) text += ascii(this.b, i, Math.min(i + 4096, to));
    return text;
  }

  /** `as`: at most `most` strings; undefined when malformed or longer. */
  strings(most: number): string[] | undefined {
    const length = this.u32();
    if (length === undefined || length > this.end - this.position) return undefined;
    const stop = this.position + length;
    const out: string[] = [];
    while (this.position < stop) {
      const text = this.string();
      if (text === undefined || this.position > stop || out.length === most) return undefined;
      out.push(text);
    }
    return out;
  }

  private align(to: number): boolean {
    const aligned = this.base + ((this.position - this.base + to - 1) & ~(to - 1));
    if (aligned > this.end) return false;
    for (; this.position < aligned; this.position++) if (this.b[this.position] !== 0) return false;
    return true;
  }
}

/**
 * How many bytes of the body hold its first string, given its first `available` bytes:
 * 4 until the length is there, then 4 + length + NUL. Infinity when that passes `most`.
 */
export function firstStringNeeds(
  b: Uint8Array,
  at: number,
  available: number,
  littleEndian: boolean,
  most: number,
): number {
  if (available < 4) return 4;
  const needs = 4 + readU32(b, at, littleEndian) + 1;
  return needs > most ? Number.POSITIVE_INFINITY : needs;
}
