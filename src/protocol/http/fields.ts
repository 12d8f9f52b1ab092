/**
 * A section of fields (of a head or of trailers), scanned line by line and resumable at
 * any byte. Offsets are kept relative to the section's base, so that the bytes may
 * move from the relay's buffer to a carry between two chunks.
 */
import { ascii, COLON, CR, DASH, FOLDED, HTAB, isFolded, LF, SPACE, TOKEN } from "./characters.ts";
import { endOfValue } from "./field-value.ts";
import { REFUSED, type Refusal } from "./refusal.ts";

/** What a field is to us. OTHER is forwarded and not looked at. */
export const KIND = {
  OTHER: 0,
  CONTENT_LENGTH: 1,
  TRANSFER_ENCODING: 2,
  CONNECTION: 3,
  HOST: 4,
  UPGRADE: 5,
  EXPECT: 6,
  /** Hop-by-hop by its name: Keep-Alive, TE, HTTP2-Settings. */
  HOP: 7,
  /** Begins with x-pv-: ours alone. */
  IDENTITY: 8,
  /** Makes some frameworks take another method or path than the request line's. */
  OVERRIDE: 9,
  /** Reads as one of the framing or connection fields once "_" and its like are folded to "-". */
  AMBIGUOUS: 10,
  /** Never standardised, yet read as Connection by many clients. */
  PROXY_CONNECTION: 11,
} as const;

const SPECIAL: readonly (readonly [string, number])[] = [
  ["te", KIND.HOP],
  ["host", KIND.HOST],
  ["expect", KIND.EXPECT],
  ["upgrade", KIND.UPGRADE],
  ["connection", KIND.CONNECTION],
  ["keep-alive", KIND.HOP],
  ["content-length", KIND.CONTENT_LENGTH],
  ["http2-settings", KIND.HOP],
  ["proxy-connection", KIND.PROXY_CONNECTION],
  ["transfer-encoding", KIND.TRANSFER_ENCODING],
  ["x-http-method", KIND.OVERRIDE],
  ["x-method-override", KIND.OVERRIDE],
  ["x-http-method-override", KIND.OVERRIDE],
  ["x-original-url", KIND.OVERRIDE],
  ["x-original-uri", KIND.OVERRIDE],
  ["x-rewrite-url", KIND.OVERRIDE],
];

interface Special {
  readonly name: Uint8Array;
  readonly kind: number;
}
const LONGEST_SPECIAL = 22;
/** The special names by length: most lengths have none, the others one to three. */
const SPECIAL_BY_LENGTH: readonly (readonly Special[])[] = Array.from({ length: LONGEST_SPECIAL + 1 }, (_, length) =>
  SPECIAL.filter(([name]) => name.length === length).map(([name, kind]) => ({ name: ascii(name), kind })),
);
const IDENTITY_PREFIX = ascii("x-pv-");
const X = 0x78;

/**
 * For each length of a name, the first letters (bit 0 is "@", 1 "a") that a special name of that length has: one
 * look tells that a usual field is none of them. "x" is in all: identity has no length.
 */
export const FIRST_LETTERS = new Uint32Array(LONGEST_SPECIAL + 1);
for (const [name] of SPECIAL) FIRST_LETTERS[name.length]! |= 1 << (name.charCodeAt(0) & 31);

/** The kind of the field whose name is `bytes[start, end)`. */
export function kindOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  const first = bytes[start]! | 0x20;
  if (first === X) {
    if (length >= IDENTITY_PREFIX.length && isFolded(bytes, start, start + IDENTITY_PREFIX.length, IDENTITY_PREFIX))
      return KIND.IDENTITY;
  }
  if (length > LONGEST_SPECIAL || ((FIRST_LETTERS[length]! >>> (first & 31)) & 1) === 0) return KIND.OTHER;
  return specialKind(bytes, start, end);
}

function specialKind(bytes: Uint8Array, start: number, end: number): number {
  const candidates = SPECIAL_BY_LENGTH[end - start]!;
  for (let i = 0; i < candidates.length; i++) {
    const candidate = candidates[i]!;
    if (!isFolded(bytes, start, end, candidate.name)) continue;
    if (candidate.kind !== KIND.OVERRIDE)
      for (let at = start; at < end; at++) if (FOLDED[bytes[at]!] === DASH && bytes[at] !== DASH) return KIND.AMBIGUOUS;
    return candidate.kind;
  }
  return KIND.OTHER;
}

const LINE_START = 0;
const NAME = 1;
const VALUE_START = 2;
const VALUE = 3;
const VALUE_LF = 4;
const LAST_LF = 5;
const DONE = 6;

/** Numbers kept a field: line start, name end, value start, value end (without white space). */
const STRIDE = 4;
/** Most heads have fewer fields; the arrays double up to the limit. A connection that has not asked yet has none. */
const FIRST_ROOM = 24;
const NO_BYTES = new Uint8Array(0);

export class FieldSection {
  /** Fields so far. */
  count = 0;
  /** Relative to the base: one past the empty line, once `done`. */
  end = 0;
  refusal: Refusal | undefined;
  kinds: Uint8Array = NO_BYTES;
  /** 0: left out when the section is forwarded. */
  kept: Uint8Array = NO_BYTES;
  private offsets = new Int32Array(0);
  private state = LINE_START;
  /** Of the field under way, where a chunk ended in it: line start, name end, value start. */
  private start = 0;
  private nameStop = 0;
  private valueAt = 0;
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  reset(): void {
    this.count = 0;
    this.state = LINE_START;
    this.refusal = undefined;
  }
  /** A section that ends at `end` and has no field that matters: none is listed. */
  pass(end: number): void {
    this.count = 0;
    this.refusal = undefined;
    this.end = end;
    this.state = DONE;
  }
  get done(): boolean {
    return this.state === DONE;
  }
  lineStart(field: number): number {
    return this.offsets[field * STRIDE]!;
  }
  nameEnd(field: number): number {
    return this.offsets[field * STRIDE + 1]!;
  }
  valueStart(field: number): number {
    return this.offsets[field * STRIDE + 2]!;
  }
  valueEnd(field: number): number {
    return this.offsets[field * STRIDE + 3]!;
  }
  /** One past the field's CRLF: lines follow each other without a gap. */
  lineEnd(field: number): number {
    return field + 1 < this.count ? this.lineStart(field + 1) : this.end - 2;
  }

  /**
   * Scans `bytes[at, stop)`; the section began at `base`. Returns the offset after the last byte taken:
   * `stop`, or less once `done` or with `refusal` set (then the offset of the offending byte).
   */
  scan(bytes: Uint8Array, base: number, at: number, stop: number): number {
    let { state, start, nameStop, valueAt } = this;
    let i = at;
    while (i < stop) {
      if (state === LINE_START) {
        const first = bytes[i]!;
        if (first === CR) {
          state = LAST_LF;
          i++;
          continue;
        }
        if (TOKEN[first] === 0) return this.refuse(i, badLineStart(first));
        if (this.count === this.kinds.length && !this.grow()) return this.refuse(i, REFUSED.tooManyFields);
        start = i - base;
        state = NAME;
      }
      if (state === NAME) {
        while (i < stop && TOKEN[bytes[i]!] !== 0) i++;
        if (i === stop) break;
        const after = bytes[i]!;
        if (after !== COLON) return this.refuse(i, badNameEnd(after));
        nameStop = i - base;
        state = VALUE_START;
        if (++i === stop) break;
      }
      if (state === VALUE_START) {
        while (i < stop && (bytes[i] === SPACE || bytes[i] === HTAB)) i++;
        if (i === stop) break;
        valueAt = i - base;
        state = VALUE;
      }
      if (state === VALUE) {
        i = endOfValue(bytes, i, stop);
        if (i === stop) break;
        const after = bytes[i]!;
        if (after !== CR) return this.refuse(i, badValueByte(after));
        state = VALUE_LF;
        if (++i === stop) break;
      }
      if (state === VALUE_LF) {
        if (bytes[i] !== LF) return this.refuse(i, REFUSED.bareCr);
        this.add(bytes, base, start, nameStop, valueAt, i - 1 - base);
        state = LINE_START;
        i++;
        continue;
      }
      if (bytes[i] !== LF) return this.refuse(i, REFUSED.bareCr);
      this.state = DONE;
      this.end = ++i - base;
      return i;
    }
    this.state = state;
    this.start = start;
    this.nameStop = nameStop;
    this.valueAt = valueAt;
    return i;
  }

  private refuse(at: number, refusal: Refusal): number {
    this.refusal = refusal;
    return at;
  }

  /** A complete field; all offsets relative to `base`. */
  private add(
    bytes: Uint8Array,
    base: number,
    start: number,
    nameStop: number,
    valueAt: number,
    lineStop: number,
  ): void {
    const { count, offsets } = this;
    const kind = kindOf(bytes, base + start, base + nameStop);
    // Parsers in use refuse a tab behind a length or a coding: it stays in the value, where it is malformed.
    const tab = kind === KIND.CONTENT_LENGTH || kind === KIND.TRANSFER_ENCODING ? SPACE : HTAB;
    let last = base + lineStop - 1;
    while (last >= base + valueAt && (bytes[last] === SPACE || bytes[last] === tab)) last--;
    const at = count * STRIDE;
    offsets[at] = start;
    offsets[at + 1] = nameStop;
    offsets[at + 2] = valueAt;
    offsets[at + 3] = last + 1 - base;
    this.kinds[count] = kind;
    this.kept[count] = 1;
    this.count = count + 1;
  }

  /** False: there are as many as there may be. */
  private grow(): boolean {
    if (this.count === this.limit) return false;
    const room = Math.min(Math.max(this.kinds.length * 2, FIRST_ROOM), this.limit);
    const grown = <T extends Uint8Array | Int32Array>(into: T, from: T): T => {
      into.set(from);
      return into;
    };
    this.kinds = grown(new Uint8Array(room), this.kinds);
    this.kept = grown(new Uint8Array(room), this.kept);
    this.offsets = grown(new Int32Array(room * STRIDE), this.offsets);
    return true;
  }
}

function badLineStart(byte: number): Refusal {
  if (byte === SPACE || byte === HTAB) return REFUSED.obsFold;
  if (byte === LF) return REFUSED.bareLf;
  return byte === 0 ? REFUSED.nul : REFUSED.fieldName;
}

function badNameEnd(byte: number): Refusal {
  if (byte === SPACE || byte === HTAB) return REFUSED.spaceBeforeColon;
  if (byte === LF) return REFUSED.bareLf;
  if (byte === CR) return REFUSED.fieldName;
  return byte === 0 ? REFUSED.nul : REFUSED.fieldName;
}

function badValueByte(byte: number): Refusal {
  if (byte === LF) return REFUSED.bareLf;
  return byte === 0 ? REFUSED.nul : REFUSED.control;
}
