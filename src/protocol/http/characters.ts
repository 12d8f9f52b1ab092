/**
 * Which byte may stand where in an HTTP/1.1 message, as 256-entry tables.
 * A table look-up is the whole test of a scanning loop: no branch a class.
 */

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SPACE = 0x20;
export const HASH = 0x23;
export const PERCENT = 0x25;
export const ASTERISK = 0x2a;
export const COMMA = 0x2c;
export const DASH = 0x2d;
export const DOT = 0x2e;
export const SLASH = 0x2f;
export const ZERO = 0x30;
export const NINE = 0x39;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const QUESTION = 0x3f;

const DIGITS = "0123456789";
const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/** RFC 3986 section 2.3. */
const UNRESERVED_TEXT = `${DIGITS}${LETTERS}-._~`;
/** RFC 3986 section 2.2. */
const SUB_DELIMS = "!$&'()*+,;=";

function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (let i = 0; i < characters.length; i++) table[characters.charCodeAt(i)] = 1;
  return table;
}

function tableOfRange(first: number, last: number, table: Uint8Array = new Uint8Array(256)): Uint8Array {
  return table.fill(1, first, last + 1);
}

/** RFC 9110 section 5.6.2: the characters of a token (field names, codings, connection options). */
export const TOKEN = tableOf(`!#$%&'*+-.^_\`|~${DIGITS}${LETTERS}`);

/** RFC 9110 section 5.5: field-content is HTAB, SP, VCHAR and obs-text; never CR, LF, NUL or another control. */
export const FIELD_VALUE = tableOfRange(0x80, 0xff, tableOfRange(0x20, 0x7e, tableOf("\t")));

/**
 * A path: pchar and "/" of RFC 3986 section 3.3, and "[", "]", "|", "^", which URL parsers of browsers
 * leave bare and no server takes for a separator. "%" is left out: the scan stops there to note it.
 * A backslash is not in it: some servers take it for "/".
 */
export const PATH = tableOf(`${UNRESERVED_TEXT}${SUB_DELIMS}:@/[]|^`);

/** A query: what URL parsers leave bare there (WHATWG URL, query percent-encode set): all of VCHAR but `"`, "#", "<", ">". */
export const QUERY = tableOfRange(0x21, 0x7e);
for (const character of '"#<>') QUERY[character.charCodeAt(0)] = 0;

/** uri-host and port of RFC 9110 section 7.2; user information ("@") is none of it. */
export const HOST = tableOf(`${UNRESERVED_TEXT}${SUB_DELIMS}%:[]`);

export const UNRESERVED = tableOf(UNRESERVED_TEXT);

export const UPPERCASE = tableOfRange(0x41, 0x5a);

export const NOT_HEX = 255;
/** Value of a hexadecimal digit, or NOT_HEX. */
export const HEX_VALUE = new Uint8Array(256).fill(NOT_HEX);
for (let i = 0; i < 16; i++) {
  HEX_VALUE["0123456789abcdef".charCodeAt(i)] = i;
  HEX_VALUE["0123456789ABCDEF".charCodeAt(i)] = i;
}

/**
 * Lower case, with "-" for every character of a token that is no letter and no digit. CGI-like providers fold "_"
 * and "-" into one variable name (RFC 3875 section 4.1.18), and lighttpd and older Apaches all the others with them,
 * so for identity and framing all these spellings are one name.
 */
export const FOLDED = new Uint8Array(256);
for (let i = 0; i < 256; i++) FOLDED[i] = i >= 0x41 && i <= 0x5a ? i + 0x20 : i;
for (let i = 0; i < 256; i++)
  if (TOKEN[i] !== 0 && !(DIGITS + LETTERS).includes(String.fromCharCode(i))) FOLDED[i] = DASH;

/** The bytes of an ASCII text. */
export function ascii(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The text of ASCII (or Latin-1) bytes in `[start, end)`. */
export function text(bytes: Uint8Array, start: number, end: number): string {
  let result = "";
  for (let i = start; i < end; i++) result += String.fromCharCode(bytes[i]!);
  return result;
}

/** Whether `bytes[start, end)` is `folded`, as FOLDED reads it. `folded` is lower case with "-". */
export function isFolded(bytes: Uint8Array, start: number, end: number, folded: Uint8Array): boolean {
  if (end - start !== folded.length) return false;
  for (let i = 0; i < folded.length; i++) if (FOLDED[bytes[start + i]!] !== folded[i]) return false;
  return true;
}
