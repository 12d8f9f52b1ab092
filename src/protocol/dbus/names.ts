/**
 * The grammar of names over raw bytes, one pass each, no allocation.
 * Source: D-Bus Specification, "Valid Names" and "Valid Object Paths"; where
 * dbus-daemon and the text differ the narrower reading stands.
 */
import { MAX_NAME } from "./constants.ts";

const LETTER = 1; // [A-Za-z_]
const DIGIT = 2;
const HYPHEN = 4; // bus names only
const DOT = 46;
const SLASH = 47;
const COLON = 58;

const CLASS = (() => {
  const table = new Uint8Array(256);
  for (let c = 65; c <= 90; c++) table[c] = LETTER;
  for (let c = 97; c <= 122; c++) table[c] = LETTER;
  table[95] = LETTER;
  for (let c = 48; c <= 57; c++) table[c] = DIGIT;
  table[45] = HYPHEN;
  return table;
})();

/** Dotted elements; `first` and `rest` are the classes of an element's first and later characters. Returns the number of dots or -1. */
function dotted(b: Uint8Array, start: number, end: number, first: number, rest: number): number {
  let dots = 0;
  let empty = true;
  for (let i = start; i < end; i++) {
    const c = b[i]!;
    if ((CLASS[c]! & (empty ? first : rest)) !== 0) empty = false;
    else if (c === DOT && !empty) {
      dots++;
      empty = true;
    } else return -1;
  }
  return empty ? -1 : dots;
}

/** `org.a.B`: two elements or more, none beginning with a digit. */
export function validInterface(b: Uint8Array, start: number, end: number): boolean {
  return end - start <= MAX_NAME && dotted(b, start, end, LETTER, LETTER | DIGIT) >= 1;
}

export function validMember(b: Uint8Array, start: number, end: number): boolean {
  return end - start <= MAX_NAME && dotted(b, start, end, LETTER, LETTER | DIGIT) === 0;
}

/** `:1.42` or `org.a.B-c`. */
export function validBusName(b: Uint8Array, start: number, end: number): boolean {
  if (end - start > MAX_NAME) return false;
  if (b[start] === COLON && start < end)
    return dotted(b, start + 1, end, LETTER | DIGIT | HYPHEN, LETTER | DIGIT | HYPHEN) >= 0;
  return dotted(b, start, end, LETTER | HYPHEN, LETTER | DIGIT | HYPHEN) >= 1;
}

/** `/` or `/a/b_1`. Paths have no length limit of their own. */
export function validPath(b: Uint8Array, start: number, end: number): boolean {
  if (end <= start || b[start] !== SLASH) return false;
  if (end === start + 1) return true;
  let afterSlash = true;
  for (let i = start + 1; i < end; i++) {
    const c = b[i]!;
    if ((CLASS[c]! & (LETTER | DIGIT)) !== 0) afterSlash = false;
    else if (c === SLASH && !afterSlash) afterSlash = true;
    else return false;
  }
  return !afterSlash;
}

/** Latin-1 bytes of `text`, or undefined when it holds anything above U+00FF (no name does). */
function bytesOf(text: string): Uint8Array {
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    out[i] = c > 0xff ? 0 : c;
  }
  return out;
}

export const isBusName = (text: string): boolean => validBusName(bytesOf(text), 0, text.length);
export const isWellKnownName = (text: string): boolean => !text.startsWith(":") && isBusName(text);
export const isInterface = (text: string): boolean => validInterface(bytesOf(text), 0, text.length);
export const isMember = (text: string): boolean => validMember(bytesOf(text), 0, text.length);
export const isPath = (text: string): boolean => validPath(bytesOf(text), 0, text.length);

/** A bus name or a prefix of one in whole elements: what the match rule key `arg0namespace` takes. */
export function isNamespace(text: string): boolean {
  const b = bytesOf(text);
  if (text.length > MAX_NAME) return false;
  if (text.startsWith(":")) return validBusName(b, 0, b.length);
  return dotted(b, 0, b.length, LETTER | HYPHEN, LETTER | DIGIT | HYPHEN) >= 0;
}
