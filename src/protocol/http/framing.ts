/**
 * What a head says of its body's framing (RFC 9112 section 6), read as strictly for
 * requests as for responses: whatever two parsers could read in two ways is refused.
 */
import { ascii, COMMA, FOLDED, HTAB, isFolded, NINE, SPACE, TOKEN, ZERO } from "./characters.ts";
import type { FieldSection } from "./fields.ts";
import { KIND } from "./fields.ts";
import { REFUSED, type Refusal } from "./refusal.ts";

/** No Content-Length stands in the head. */
export const NO_LENGTH = -1;
/** Decimal digits of the largest length taken: 999 TB, well inside the exact integers of a double. */
const LENGTH_DIGITS = 15;
/** Connection options of one head: each costs a look at every field, so a few kilobytes of them must not buy milliseconds. */
const MOST_OPTIONS = 32;

const CHUNKED = ascii("chunked");
const CLOSE = ascii("close");
const KEEP_ALIVE = ascii("keep-alive");
const UPGRADE = ascii("upgrade");

/** The number in `bytes[start, end)`, or -1 if it is not 1*DIGIT without leading zeros and of at most 15 digits. */
export function decimal(bytes: Uint8Array, start: number, end: number): number {
  const digits = end - start;
  if (digits < 1 || digits > LENGTH_DIGITS || (digits > 1 && bytes[start] === ZERO)) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte < ZERO || byte > NINE) return -1;
    value = value * 10 + (byte - ZERO);
  }
  return value;
}

/** Content-Length and Transfer-Encoding of one head. Reused from head to head. */
export class Framing {
  contentLength = NO_LENGTH;
  chunked = false;

  reset(): void {
    this.contentLength = NO_LENGTH;
    this.chunked = false;
  }

  takeLength(bytes: Uint8Array, start: number, end: number): Refusal | undefined {
    if (this.contentLength !== NO_LENGTH) return REFUSED.repeatedLength;
    // "5, 5" may be read as 5 (RFC 9110 section 8.6), or refused: a list is how smuggling begins.
    const length = decimal(bytes, start, end);
    if (length < 0) return REFUSED.malformedLength;
    this.contentLength = length;
    return undefined;
  }

  takeCoding(bytes: Uint8Array, start: number, end: number): Refusal | undefined {
    if (this.chunked) return REFUSED.doubledCoding;
    if (!isFolded(bytes, start, end, CHUNKED)) return badCoding(bytes, start, end);
    this.chunked = true;
    return undefined;
  }

  /** After all fields: `oldVersion` is HTTP/1.0, which has no transfer codings (RFC 9112 section 6.1). */
  check(oldVersion: boolean): Refusal | undefined {
    if (!this.chunked) return undefined;
    if (this.contentLength !== NO_LENGTH) return REFUSED.bothFramings;
    return oldVersion ? REFUSED.codingInOldVersion : undefined;
  }
}

function badCoding(bytes: Uint8Array, start: number, end: number): Refusal {
  for (let i = start; i < end; i++) if (bytes[i] === COMMA) return REFUSED.doubledCoding;
  return REFUSED.unknownCoding;
}

/** The options of all Connection fields of one head (RFC 9110 section 7.6.1). Reused from head to head. */
export class ConnectionOptions {
  close = false;
  keepAlive = false;
  upgrade = false;
  /** Some option is none of the three: it may name a field of the head. */
  nominates = false;
  private options = 0;

  reset(): void {
    this.close = false;
    this.keepAlive = false;
    this.upgrade = false;
    this.nominates = false;
    this.options = 0;
  }

  /** One Connection field's value. */
  take(bytes: Uint8Array, start: number, end: number): Refusal | undefined {
    const wellFormed = eachToken(bytes, start, end, (from, to) => {
      this.options++;
      if (isFolded(bytes, from, to, CLOSE)) this.close = true;
      else if (isFolded(bytes, from, to, KEEP_ALIVE)) this.keepAlive = true;
      else if (isFolded(bytes, from, to, UPGRADE)) this.upgrade = true;
      else this.nominates = true;
    });
    return wellFormed && this.options <= MOST_OPTIONS ? undefined : REFUSED.connection;
  }
}

/** Calls `take` for each token of the comma-separated list in `bytes[start, end)`; false if a member is no token. */
export function eachToken(
  bytes: Uint8Array,
  start: number,
  end: number,
  take: (start: number, end: number) => void,
): boolean {
  let at = start;
  while (at < end) {
    while (at < end && (bytes[at] === SPACE || bytes[at] === HTAB || bytes[at] === COMMA)) at++;
    const from = at;
    while (at < end && TOKEN[bytes[at]!] !== 0) at++;
    if (at > from) take(from, at);
    while (at < end && (bytes[at] === SPACE || bytes[at] === HTAB)) at++;
    if (at < end && bytes[at] !== COMMA) return false;
  }
  return true;
}

/**
 * Leaves out the fields that a Connection option names, as an intermediary must (RFC 9110 section 7.6.1).
 * An option that names a field the message can't be read without is refused: obeying it would
 * change the message, ignoring it would leave the next hop to obey.
 */
export function dropNominated(bytes: Uint8Array, base: number, fields: FieldSection): Refusal | undefined {
  let refusal: Refusal | undefined;
  for (let field = 0; field < fields.count; field++) {
    if (fields.kinds[field] !== KIND.CONNECTION) continue;
    eachToken(bytes, base + fields.valueStart(field), base + fields.valueEnd(field), (from, to) => {
      refusal = dropNamed(bytes, base, fields, from, to) ?? refusal;
    });
  }
  return refusal;
}

function dropNamed(
  bytes: Uint8Array,
  base: number,
  fields: FieldSection,
  from: number,
  to: number,
): Refusal | undefined {
  const name = bytes.slice(from, to);
  for (let i = 0; i < name.length; i++) name[i] = FOLDED[name[i]!]!;
  for (let field = 0; field < fields.count; field++) {
    if (!isFolded(bytes, base + fields.lineStart(field), base + fields.nameEnd(field), name)) continue;
    if (MUST_STAY.has(fields.kinds[field]!)) return REFUSED.connection;
    fields.kept[field] = 0;
  }
  return undefined;
}

const MUST_STAY: ReadonlySet<number> = new Set([KIND.CONTENT_LENGTH, KIND.TRANSFER_ENCODING, KIND.HOST, KIND.EXPECT]);
