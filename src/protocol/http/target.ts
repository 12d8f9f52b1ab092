/**
 * The request target (RFC 9112 section 3.2) once its extent is known: which of the forms it
 * has, and where its path and query stand. Authority-form belongs to CONNECT alone and is not served.
 */
import {
  ASTERISK,
  ascii,
  DASH,
  FOLDED,
  HEX_VALUE,
  HOST,
  NOT_HEX,
  PATH,
  PERCENT,
  QUERY,
  QUESTION,
  SLASH,
  ZERO,
} from "./characters.ts";

/** Offsets into the bytes that were parsed. Reused from head to head. */
export class Target {
  start = 0;
  end = 0;
  /** The path is `[pathStart, pathEnd)`; empty for `http://host` and `http://host?query`. */
  pathStart = 0;
  pathEnd = 0;
  /** The authority of the absolute form; empty for the others. */
  authorityStart = 0;
  authorityEnd = 0;
  /** OPTIONS * */
  asterisk = false;
  /** A "%" stands in the path. */
  escaped = false;

  get absolute(): boolean {
    return this.authorityEnd > this.authorityStart;
  }

  /** Reads the target `bytes[start, end)`; false if it is malformed. `options`: the method is OPTIONS. */
  parse(bytes: Uint8Array, start: number, end: number, options: boolean): boolean {
    let pathEnd = start;
    let escaped = false;
    for (; pathEnd < end && bytes[pathEnd] !== QUESTION; pathEnd++) {
      if (bytes[pathEnd] === PERCENT) escaped = true;
      else if (PATH[bytes[pathEnd]!] === 0) return false;
    }
    for (let at = pathEnd; at < end; at++) if (QUERY[bytes[at]!] === 0) return false;
    return this.accept(bytes, start, pathEnd, end, escaped, options);
  }

  /**
   * As `parse`, for one whose characters have been looked at: `[start, pathEnd)` has only those of a path and "%",
   * `[pathEnd, end)` is empty or begins with "?" and has only those of a query. `escaped`: a "%" stands in the path.
   */
  accept(bytes: Uint8Array, start: number, pathEnd: number, end: number, escaped: boolean, options: boolean): boolean {
    this.start = start;
    this.end = end;
    this.authorityStart = start;
    this.authorityEnd = start;
    this.pathStart = start;
    this.pathEnd = pathEnd;
    this.escaped = escaped;
    this.asterisk = bytes[start] === ASTERISK;
    if (this.asterisk) return options && end === start + 1;
    if (bytes[start] !== SLASH && !this.findAuthority(bytes)) return false;
    return !escaped || hasGoodEscapes(bytes, this.pathStart, pathEnd);
  }

  private findAuthority(bytes: Uint8Array): boolean {
    const scheme = schemeLength(bytes, this.start, this.pathEnd);
    if (scheme === 0) return false;
    let at = this.start + scheme;
    this.authorityStart = at;
    while (at < this.pathEnd && HOST[bytes[at]!] !== 0) at++;
    this.authorityEnd = at;
    this.pathStart = at;
    return at > this.authorityStart && (at === this.pathEnd || bytes[at] === SLASH);
  }
}

function hasGoodEscapes(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] === PERCENT && !isEscape(bytes, at, end)) return false;
  return true;
}

/** A well-formed escape, and not %00: what follows a NUL is cut off by some and kept by others. */
function isEscape(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + 2 >= end) return false;
  if (bytes[at + 1] === ZERO && bytes[at + 2] === ZERO) return false;
  return HEX_VALUE[bytes[at + 1]!] !== NOT_HEX && HEX_VALUE[bytes[at + 2]!] !== NOT_HEX;
}

const HTTP = ascii("http://");
const HTTPS = ascii("https://");

function schemeLength(bytes: Uint8Array, start: number, end: number): number {
  for (const scheme of [HTTP, HTTPS]) {
    let i = 0;
    while (i < scheme.length && start + i < end && lower(bytes[start + i]!) === scheme[i]) i++;
    if (i === scheme.length) return i;
  }
  return 0;
}

function lower(byte: number): number {
  // FOLDED also reads "_" and its like as "-"; none stands in a scheme, so they are kept apart here.
  return FOLDED[byte] === DASH ? byte : FOLDED[byte]!;
}
