/**
 * A request head: its request line, scanned byte by byte and resumable, then its fields.
 * `scan` may be called with any split of the head; the outcome is the same. One object
 * serves all heads of a connection, one after the other.
 */
import {
  ascii,
  CR,
  DOT,
  HOST,
  isFolded,
  LF,
  NINE,
  PATH,
  PERCENT,
  QUERY,
  QUESTION,
  SPACE,
  TOKEN,
  ZERO,
} from "./characters.ts";
import { FieldSection, KIND } from "./fields.ts";
import { ConnectionOptions, dropNominated, Framing } from "./framing.ts";
import { FOUND, type HeadScanner } from "./head-scanner.ts";
import {
  CONNECT_METHOD,
  CONTENT_MEANS_NOTHING,
  HTTP2_METHOD,
  METHOD_BYTES,
  methodIndex,
  OPTIONS,
  UNKNOWN_METHOD,
} from "./methods.ts";
import { type HttpLimits, REFUSED, type Refusal } from "./refusal.ts";
import { Target } from "./target.ts";

const BEFORE = 0;
const BEFORE_LF = 1;
const METHOD = 2;
const TARGET = 3;
const VERSION = 4;
const LINE_CR = 5;
const LINE_LF = 6;
const FIELDS = 7;
const DONE = 8;

/** "HTTP/1." and one digit. */
const PROTOCOL = ascii("HTTP/1.");
const CONTINUE = ascii("100-continue");

export class RequestHead {
  /** Where the head lies, once `done`: `bytes[base, base + end)`. All other offsets are relative to `base`. */
  bytes: Uint8Array = new Uint8Array(0);
  base = 0;
  /** Index in METHODS. */
  method = 0;
  /** 1 or 0 of HTTP/1.1 and HTTP/1.0. */
  minor = 1;
  /** One past the request line's CRLF. */
  lineEnd = 0;
  /** Absolute offsets into `bytes` (not relative). */
  readonly target = new Target();
  readonly fields: FieldSection;
  readonly framing = new Framing();
  readonly connection = new ConnectionOptions();
  /** Index of the Upgrade field, or -1. */
  upgradeField = -1;
  expectsContinue = false;
  /** A field is there that makes some frameworks take another method or path. */
  overrides = false;
  refusal: Refusal | undefined;

  private state = BEFORE;
  /** Bytes of PROTOCOL seen. */
  private matched = 0;
  private targetStart = 0;
  private targetEnd = 0;
  /** -1 while the path is being scanned. */
  private pathEnd = -1;
  private escaped = false;
  /** One empty line before the request line has been skipped. */
  private skipped = false;
  private lineStart = 0;

  constructor(limits: HttpLimits) {
    this.fields = new FieldSection(limits.fields);
  }

  reset(): void {
    this.state = BEFORE;
    this.skipped = false;
    this.refusal = undefined;
    this.fields.reset();
  }
  get done(): boolean {
    return this.state === DONE;
  }
  /** Nothing of a request has been seen: an end of input here is a clean end. */
  get idle(): boolean {
    return this.state === BEFORE;
  }
  /** Relative to `base`: one past the empty line. */
  get end(): number {
    return this.fields.end;
  }
  /** Relative to `base`: where the request line begins (after a tolerated empty line). */
  get start(): number {
    return this.lineStart;
  }
  get hasBody(): boolean {
    return this.framing.chunked || this.framing.contentLength > 0;
  }
  /**
   * Whether another request may follow on this connection (RFC 9112 section 9.3). Not behind content that the
   * provider may have left unread: its next request would be the consumer's words, identity and all.
   */
  get persists(): boolean {
    if (this.hasBody && CONTENT_MEANS_NOTHING.has(this.method)) return false;
    return !this.connection.close && (this.minor === 1 || this.connection.keepAlive);
  }

  /** Scans `bytes[at, stop)` of a head that began at `base`. Returns the offset after the last byte taken, as FieldSection.scan. */
  scan(bytes: Uint8Array, base: number, at: number, stop: number): number {
    let i = at;
    if (this.state !== FIELDS) {
      i = this.scanLine(bytes, base, i, stop);
      if (this.state !== FIELDS || this.refusal !== undefined) return i;
    }
    i = this.fields.scan(bytes, base, i, stop);
    this.refusal = this.fields.refusal;
    if (this.fields.done) {
      this.state = DONE;
      this.bytes = bytes;
      this.base = base;
      this.refusal = this.complete();
    }
    return i;
  }

  /** What `scan` and `complete` would find in a usual head: no field in it matters but Host and perhaps Content-Length. */
  takeUsual(bytes: Uint8Array, at: number, stop: number, scanner: HeadScanner): number {
    const length = scanner.request(bytes, at, stop);
    if (length === 0) return 0;
    const { found } = scanner;
    const methodEnd = at + found[FOUND.METHOD_END]!;
    const method = methodIndex(bytes, at, methodEnd);
    // Unknown, CONNECT, HTTP/2: refused, and `scan` says how.
    if (method < 0) return 0;
    const { framing, target } = this;
    framing.reset();
    const lengthEnd = found[FOUND.LENGTH_END]!;
    if (lengthEnd > 0 && framing.takeLength(bytes, at + found[FOUND.LENGTH_START]!, at + lengthEnd) !== undefined)
      return 0;
    const pathEnd = at + found[FOUND.PATH_END]!;
    if (!target.accept(bytes, methodEnd + 1, pathEnd, at + found[FOUND.TARGET_END]!, false, false)) return 0;
    this.method = method;
    this.minor = 1;
    this.lineStart = 0;
    this.lineEnd = found[FOUND.LINE_END]!;
    this.connection.reset();
    this.upgradeField = -1;
    this.expectsContinue = false;
    this.overrides = false;
    this.fields.pass(length);
    this.state = DONE;
    this.bytes = bytes;
    this.base = at;
    return length;
  }

  private scanLine(bytes: Uint8Array, base: number, at: number, stop: number): number {
    let i = at;
    while (i < stop) {
      switch (this.state) {
        case BEFORE:
          if (bytes[i] === CR && !this.skipped) {
            this.state = BEFORE_LF;
            i++;
            break;
          }
          if (TOKEN[bytes[i]!] === 0) return this.refuse(i, badStart(bytes[i]!));
          this.lineStart = i - base;
          this.state = METHOD;
          break;
        case BEFORE_LF:
          // RFC 9112 section 2.2: one empty line before a request line is ignored.
          if (bytes[i] !== LF) return this.refuse(i, REFUSED.bareCr);
          this.skipped = true;
          this.state = BEFORE;
          i++;
          break;
        case METHOD:
          i = this.scanMethod(bytes, base, i, stop);
          break;
        case TARGET:
          i = this.scanTarget(bytes, base, i, stop);
          break;
        case VERSION:
          i = this.scanVersion(bytes, i, stop);
          break;
        case LINE_CR:
          if (bytes[i] !== CR) return this.refuse(i, badLineByte(bytes[i]!));
          this.state = LINE_LF;
          i++;
          break;
        default:
          if (bytes[i] !== LF) return this.refuse(i, REFUSED.bareCr);
          i++;
          this.lineEnd = i - base;
          this.state = FIELDS;
          return i;
      }
      if (this.refusal !== undefined) return i;
    }
    return i;
  }

  private refuse(at: number, refusal: Refusal): number {
    this.refusal = refusal;
    return at;
  }

  private scanMethod(bytes: Uint8Array, base: number, at: number, stop: number): number {
    const start = base + this.lineStart;
    // Stops at the first byte too many, so that an endless token is refused at once.
    const last = Math.min(stop, start + METHOD_BYTES + 1);
    let i = at;
    while (i < last && TOKEN[bytes[i]!] !== 0) i++;
    if (i - start > METHOD_BYTES) return this.refuse(i, REFUSED.unknownMethod);
    if (i === stop) return i;
    if (bytes[i] !== SPACE) return this.refuse(i, bytes[i] === 0 ? REFUSED.nul : badMethodByte(bytes[i]!));
    this.method = methodIndex(bytes, start, i);
    if (this.method === CONNECT_METHOD) return this.refuse(i, REFUSED.connect);
    if (this.method === HTTP2_METHOD) return this.refuse(i, REFUSED.http2);
    if (this.method === UNKNOWN_METHOD) return this.refuse(i, REFUSED.unknownMethod);
    this.targetStart = i + 1 - base;
    this.pathEnd = -1;
    this.escaped = false;
    this.state = TARGET;
    return i + 1;
  }

  /** Characters only: what the target as a whole means is seen once the head is complete. */
  private scanTarget(bytes: Uint8Array, base: number, at: number, stop: number): number {
    let i = at;
    while (this.pathEnd < 0) {
      while (i < stop && PATH[bytes[i]!] !== 0) i++;
      if (i === stop) return i;
      const byte = bytes[i]!;
      if (byte === SPACE || byte === QUESTION) this.pathEnd = i - base;
      else if (byte !== PERCENT) return this.refuse(i, badTargetByte(byte));
      else {
        this.escaped = true;
        i++;
      }
    }
    while (i < stop && QUERY[bytes[i]!] !== 0) i++;
    if (i === stop) return i;
    if (bytes[i] !== SPACE) return this.refuse(i, badTargetByte(bytes[i]!));
    this.targetEnd = i - base;
    if (this.targetEnd === this.targetStart) return this.refuse(i, REFUSED.requestLine);
    this.matched = 0;
    this.state = VERSION;
    return i + 1;
  }

  private scanVersion(bytes: Uint8Array, at: number, stop: number): number {
    let i = at;
    while (i < stop && this.matched < PROTOCOL.length) {
      const byte = bytes[i]!;
      if (byte !== PROTOCOL[this.matched]) return this.refuse(i, badVersionByte(byte, this.matched));
      this.matched++;
      i++;
    }
    if (i === stop) return i;
    const digit = bytes[i]! - ZERO;
    if (digit !== 0 && digit !== 1) return this.refuse(i, badVersionByte(bytes[i]!, this.matched));
    this.minor = digit;
    this.state = LINE_CR;
    return i + 1;
  }

  /** All fields are in: what they say of the message, and which of them are not forwarded. */
  private complete(): Refusal | undefined {
    this.framing.reset();
    this.connection.reset();
    this.upgradeField = -1;
    this.expectsContinue = false;
    this.overrides = false;
    if (!this.acceptTarget()) return REFUSED.target;
    let hosts = 0;
    for (let field = 0; field < this.fields.count; field++) {
      const kind = this.fields.kinds[field]!;
      if (kind === KIND.OTHER) continue;
      if (kind === KIND.HOST) hosts++;
      const refusal = this.takeField(field, kind);
      if (refusal !== undefined) return refusal;
    }
    if (hosts > 1 || (hosts === 0 && this.minor === 1)) return REFUSED.host;
    const refusal = this.framing.check(this.minor === 0);
    if (refusal !== undefined) return refusal;
    return this.connection.nominates ? dropNominated(this.bytes, this.base, this.fields) : undefined;
  }

  private acceptTarget(): boolean {
    const { base, bytes, escaped, method, pathEnd, target, targetEnd, targetStart } = this;
    return target.accept(bytes, base + targetStart, base + pathEnd, base + targetEnd, escaped, method === OPTIONS);
  }

  private takeField(field: number, kind: number): Refusal | undefined {
    const start = this.base + this.fields.valueStart(field);
    const end = this.base + this.fields.valueEnd(field);
    switch (kind) {
      case KIND.CONTENT_LENGTH:
        return this.framing.takeLength(this.bytes, start, end);
      case KIND.TRANSFER_ENCODING:
        return this.framing.takeCoding(this.bytes, start, end);
      case KIND.CONNECTION:
        this.fields.kept[field] = 0;
        return this.connection.take(this.bytes, start, end);
      case KIND.HOST:
        return this.checkHost(start, end);
      case KIND.UPGRADE:
        this.fields.kept[field] = 0;
        if (this.upgradeField >= 0) return REFUSED.upgrade;
        this.upgradeField = field;
        return undefined;
      case KIND.EXPECT:
        if (!isFolded(this.bytes, start, end, CONTINUE)) return REFUSED.expectation;
        this.expectsContinue = true;
        return undefined;
      case KIND.AMBIGUOUS:
        return REFUSED.ambiguousName;
      case KIND.OVERRIDE:
        this.overrides = true;
        return undefined;
      default:
        this.fields.kept[field] = 0;
        return undefined;
    }
  }

  private checkHost(start: number, end: number): Refusal | undefined {
    for (let at = start; at < end; at++) if (HOST[this.bytes[at]!] === 0) return REFUSED.host;
    const target = this.target;
    if (!target.absolute) return undefined;
    const authority = this.bytes.subarray(target.authorityStart, target.authorityEnd);
    if (authority.length !== end - start) return REFUSED.hostMismatch;
    for (let i = 0; i < authority.length; i++)
      if (lowerCase(authority[i]!) !== lowerCase(this.bytes[start + i]!)) return REFUSED.hostMismatch;
    return undefined;
  }
}

function lowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

function badStart(byte: number): Refusal {
  if (byte === LF) return REFUSED.bareLf;
  return byte === 0 ? REFUSED.nul : REFUSED.requestLine;
}

function badMethodByte(byte: number): Refusal {
  return byte === LF ? REFUSED.bareLf : byte === CR ? REFUSED.requestLine : REFUSED.method;
}

function badTargetByte(byte: number): Refusal {
  if (byte === LF) return REFUSED.bareLf;
  if (byte === 0) return REFUSED.nul;
  return byte === CR ? REFUSED.requestLine : REFUSED.target;
}

/** `matched` bytes of "HTTP/1." were right. A digit or dot where another stands is another version; all else is no version. */
function badVersionByte(byte: number, matched: number): Refusal {
  const numeric = (byte >= ZERO && byte <= NINE) || byte === DOT;
  return numeric && matched >= "HTTP/".length ? REFUSED.version : badLineByte(byte);
}

function badLineByte(byte: number): Refusal {
  if (byte === LF) return REFUSED.bareLf;
  return byte === 0 ? REFUSED.nul : REFUSED.requestLine;
}
