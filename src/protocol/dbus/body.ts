/**
 * Message bodies over raw bytes: full validation by signature, and the few peeks
 * that policy needs. Nothing is allocated but the strings that a peek returns.
 * Source: D-Bus Specification, "Marshaling". Positions are absolute; alignment
 * counts from `base`, the message's first byte.
 */
import { MAX_ARRAY, MAX_VALUE_DEPTH } from "./constants.ts";
import { readU32 } from "./integers.ts";
import { validPath } from "./names.ts";
import { ALIGNMENT, FIXED_SIZE, typeEnd, validSignature } from "./signature.ts";

const BOOLEAN = 98;
const STRING = 115;
const OBJECT_PATH = 111;
const SIGNATURE = 103;
const VARIANT = 118;
const ARRAY = 97;

// Pure and single-threaded: what does not change during one validation stands here instead of on every call's stack.
let bytes: Uint8Array = new Uint8Array(0);
let base = 0;
let le = true;

/** Skips zero padding; -1 when it is not zero or passes `end`. */
function align(p: number, end: number, to: number): number {
  const aligned = base + ((p - base + to - 1) & ~(to - 1));
  if (aligned > end) return -1;
  for (let i = p; i < aligned; i++) if (bytes[i] !== 0) return -1;
  return aligned;
}

/** UTF-8 without NUL, overlong forms, surrogates and values above U+10FFFF ("Marshaling", type string). */
export function validUtf8(b: Uint8Array, start: number, end: number): boolean {
  let i = start;
  while (i < end) {
    const c = b[i]!;
    if (c < 0x80) {
      if (c === 0) return false;
      i++;
      continue;
    }
    const extra = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
    if (extra === 0 || i + extra >= end) return false;
    const next = b[i + 1]!;
    if (c === 0xe0 ? next < 0xa0 : c === 0xed ? next > 0x9f : c === 0xf0 ? next < 0x90 : c === 0xf4 && next > 0x8f)
      return false;
    for (let k = 1; k <= extra; k++) if ((b[i + k]! & 0xc0) !== 0x80) return false;
    i += extra + 1;
  }
  return true;
}

/** One value of the complete type at `sig`. Returns the position after it or -1. */
function value(sig: number, sigEnd: number, at: number, end: number, depth: number): number {
  if (depth > MAX_VALUE_DEPTH) return -1;
  const code = bytes[sig]!;
  const alignment = ALIGNMENT[code]!;
  let p = alignment === 1 ? at : align(at, end, alignment);
  if (p < 0 || p >= end) return -1;
  const size = FIXED_SIZE[code]!;
  if (size !== 0) {
    if (p + size > end || (code === BOOLEAN && readU32(bytes, p, le) > 1)) return -1;
    return p + size;
  }
  switch (code) {
    case STRING:
    case OBJECT_PATH: {
      if (p + 4 > end) return -1;
      const length = readU32(bytes, p, le);
      p += 4;
      if (length >= end - p || bytes[p + length] !== 0) return -1;
      const sound = code === STRING ? validUtf8(bytes, p, p + length) : validPath(bytes, p, p + length);
      return sound ? p + length + 1 : -1;
    }
    case SIGNATURE:
      return signature(p, end);
    case VARIANT:
      return variant(p, end, depth);
    case ARRAY:
      return array(sig, sigEnd, p, end, depth);
    default:
      return members(sig + 1, sigEnd - 1, p, end, depth + 1);
  }
}

function signature(p: number, end: number): number {
  const length = bytes[p]!;
  if (length + 1 > end - p - 1 || bytes[p + 1 + length] !== 0) return -1;
  return validSignature(bytes, p + 1, p + 1 + length) ? p + length + 2 : -1;
}

function variant(p: number, end: number, depth: number): number {
  const after = signature(p, end);
  if (after < 0) return -1;
  const sig = p + 1;
  const sigEnd = after - 1;
  // Exactly one complete type.
  if (sig === sigEnd || typeEnd(bytes, sig, sigEnd) !== sigEnd) return -1;
  return value(sig, sigEnd, after, end, depth + 1);
}

/** The values of the types in [sig, sigEnd), one after the other. */
function members(sig: number, sigEnd: number, at: number, end: number, depth: number): number {
  if (depth > MAX_VALUE_DEPTH) return -1;
  let p = at;
  for (let s = sig; s < sigEnd; ) {
    const next = typeEnd(bytes, s, sigEnd);
    p = value(s, next, p, end, depth);
    if (p < 0) return -1;
    s = next;
  }
  return p;
}

function array(sig: number, sigEnd: number, at: number, end: number, depth: number): number {
  if (at + 4 > end) return -1;
  const length = readU32(bytes, at, le);
  if (length > MAX_ARRAY) return -1;
  const element = bytes[sig + 1]!;
  let p = align(at + 4, end, ALIGNMENT[element]!);
  if (p < 0 || length > end - p) return -1;
  const stop = p + length;
  const size = FIXED_SIZE[element]!;
  if (size !== 0 && element !== BOOLEAN) return length % size === 0 ? stop : -1;
  // Structs and dict entries go through `members` at once: their brackets are stripped the same way for each.
  while (p < stop) {
    p = value(sig + 1, sigEnd, p, stop, depth + 1);
    if (p < 0) return -1;
  }
  return p;
}

/**
 * Whether the body [at, end) of the message at `from` is exactly the values of the
 * (valid) signature [sig, sigEnd): lengths, padding, booleans, UTF-8, paths, variants.
 */
export function validBody(
  b: Uint8Array,
  from: number,
  sig: number,
  sigEnd: number,
  at: number,
  end: number,
  littleEndian: boolean,
): boolean {
  bytes = b;
  base = from;
  le = littleEndian;
  return members(sig, sigEnd, at, end, 0) === end;
}

/** One variant at `at` inside a header. Position after it or -1. */
export function validateVariant(b: Uint8Array, from: number, at: number, end: number, littleEndian: boolean): number {
  bytes = b;
  base = from;
  le = littleEndian;
  // The fields array, its struct: two levels stand around a field's variant.
  return at < end ? variant(at, end, 2) : -1;
}
