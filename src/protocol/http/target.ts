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

  /** Reads `bytes[start, end)`; false if it is malformed. `options`: the method is OPTIONS. */
  parse(bytes: Uint8Array, start: number, end: number, options: boolean): boolean {
    this.start = start;
    this.end = end;
    this.authorityStart = start;
    this.authorityEnd = start;
    this.asterisk = false;
    this.pathStart = start;
    if (bytes[start] === ASTERISK) {
      this.asterisk = options && end === start + 1;
      this.pathEnd = end;
      this.escaped = false;
      return this.asterisk;
    }
    if (bytes[start] !== SLASH && !this.parseAuthority(bytes)) return false;
    return this.parsePath(bytes) && isQuery(bytes, this.pathEnd, end);
  }

  private parseAuthority(bytes: Uint8Array): boolean {
    const scheme = schemeLength(bytes, this.start, this.end);
    if (scheme === 0) return false;
    let at = this.start + scheme;
    this.authorityStart = at;
    while (at < this.end && HOST[bytes[at]!] !== 0) at++;
    this.authorityEnd = at;
    this.pathStart = at;
    return at > this.authorityStart && (at === this.end || bytes[at] === SLASH || bytes[at] === QUESTION);
  }

  private parsePath(bytes: Uint8Array): boolean {
    let at = this.pathStart;
    this.escaped = false;
    for (;;) {
      while (at < this.end && PATH[bytes[at]!] !== 0) at++;
      if (at === this.end || bytes[at] !== PERCENT) break;
      if (!isEscape(bytes, at, this.end)) return false;
      this.escaped = true;
      at += 3;
    }
    this.pathEnd = at;
    return at === this.end || bytes[at] === QUESTION;
  }
}

/** A well-formed escape, and not %00: what follows a NUL is cut off by some and kept by others. */
function isEscape(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + 2 >= end) return false;
  if (bytes[at + 1] === ZERO && bytes[at + 2] === ZERO) return false;
  return HEX_VALUE[bytes[at + 1]!] !== NOT_HEX && HEX_VALUE[bytes[at + 2]!] !== NOT_HEX;
}

function isQuery(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (QUERY[bytes[at]!] === 0) return false;
  return true;
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
  // FOLDED also reads "_" as "-"; neither stands in a scheme, so "_" is kept apart here.
  return FOLDED[byte] === DASH ? byte : FOLDED[byte]!;
}
