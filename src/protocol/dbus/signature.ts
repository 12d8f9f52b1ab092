/**
 * Type signatures over raw bytes. Source: D-Bus Specification, "Type System".
 * Brackets must nest: dbus-daemon before 1.14.4 accepted `(sa{ss)}` (CVE-2022-42010).
 */
import { MAX_DEPTH, MAX_SIGNATURE } from "./constants.ts";

const A = 97;
const OPEN = 40;
const CLOSE = 41;
const OPEN_DICT = 123;
const CLOSE_DICT = 125;
const VARIANT = 118;

/** Alignment of a type by its first code, 0 for what starts no type. */
export const ALIGNMENT = (() => {
  const t = new Uint8Array(256);
  for (const [codes, n] of [
    ["ygv", 1],
    ["nq", 2],
    ["buihsoa", 4],
    ["xtd({", 8],
  ] as const)
    for (const c of codes) t[c.charCodeAt(0)] = n;
  return t;
})();

/** Size of a fixed type, 0 for the others. */
export const FIXED_SIZE = (() => {
  const t = new Uint8Array(256);
  for (const [codes, n] of [
    ["y", 1],
    ["nq", 2],
    ["buih", 4],
    ["xtd", 8],
  ] as const)
    for (const c of codes) t[c.charCodeAt(0)] = n;
  return t;
})();

const isBasic = (code: number): boolean => code !== VARIANT && ALIGNMENT[code] !== 0 && code !== A && !isOpen(code);
const isOpen = (code: number): boolean => code === OPEN || code === OPEN_DICT;

/**
 * Position after the one complete type at `at`, or -1 when there is none.
 * Recursion is bounded: 32 arrays and 32 brackets deep.
 */
export function typeEnd(b: Uint8Array, at: number, end: number, arrays = 0, brackets = 0): number {
  let i = at;
  let depth = arrays;
  while (i < end && b[i] === A) {
    if (++depth > MAX_DEPTH) return -1;
    i++;
  }
  if (i >= end) return -1;
  const code = b[i]!;
  if (code === OPEN_DICT) return i === at ? -1 : dictEnd(b, i, end, depth, brackets + 1);
  if (code === OPEN) return structEnd(b, i, end, depth, brackets + 1);
  return ALIGNMENT[code] === 0 ? -1 : i + 1;
}

function structEnd(b: Uint8Array, at: number, end: number, arrays: number, brackets: number): number {
  if (brackets > MAX_DEPTH) return -1;
  let i = at + 1;
  while (i < end && b[i] !== CLOSE) {
    i = typeEnd(b, i, end, arrays, brackets);
    if (i < 0) return -1;
  }
  return i < end && i > at + 1 ? i + 1 : -1;
}

function dictEnd(b: Uint8Array, at: number, end: number, arrays: number, brackets: number): number {
  if (brackets > MAX_DEPTH || at + 1 >= end || !isBasic(b[at + 1]!)) return -1;
  const i = typeEnd(b, at + 2, end, arrays, brackets);
  return i >= 0 && i < end && b[i] === CLOSE_DICT ? i + 1 : -1;
}

/** Whether [start, end) is a list of complete types (an empty one is). */
export function validSignature(b: Uint8Array, start: number, end: number): boolean {
  if (end - start > MAX_SIGNATURE) return false;
  let i = start;
  while (i < end) {
    i = typeEnd(b, i, end);
    if (i < 0) return false;
  }
  return true;
}
