/**
 * Where a body ends (RFC 9112 sections 6 and 7), over any split of its bytes. The bytes
 * themselves are never held: each step answers with the span of the chunk that may go on.
 *
 * Chunk extensions are left out of the spans: recipients ignore them (RFC 9112 section 7.1.1),
 * and parsers that disagree on where one ends are how requests were smuggled in them.
 */
import { CR, FIELD_VALUE, HEX_VALUE, LF, NOT_HEX, SEMICOLON } from "./characters.ts";
import { REFUSED, type Refusal } from "./refusal.ts";

/** What a step ended with. */
export const BODY = {
  /** All bytes given are used up; the body goes on. */
  MORE: 0,
  /** Bytes are left out behind the span: call again. */
  SKIPPED: 1,
  /** The last chunk is in and a field follows: the trailer section begins at `at`. */
  TRAILERS: 2,
  /** The body is over; `at` is the first byte behind it. */
  END: 3,
  REFUSED: 4,
} as const;

const NONE = 0;
const LENGTH = 1;
const UNTIL_CLOSE = 2;
const SIZE_START = 3;
const SIZE = 4;
const EXTENSION = 5;
const SIZE_LF = 6;
const DATA = 7;
const DATA_CR = 8;
const DATA_LF = 9;
const LAST_LINE = 10;
const LAST_LF = 11;

/** Hexadecimal digits of a chunk size, leading zeros counted: 2^52 stays exact in a double. */
const SIZE_DIGITS = 13;

export class BodyReader {
  /** The span that may go on: `[spanStart, spanEnd)` of the bytes given to the last step. */
  spanStart = 0;
  spanEnd = 0;
  /** The first byte that the last step did not use. */
  at = 0;
  /** Content bytes so far, framing not counted. */
  contentBytes = 0;
  refusal: Refusal | undefined;

  private state = NONE;
  private remaining = 0;
  private digits = 0;
  private extensionBytes = 0;
  private readonly extensionLimit: number;

  constructor(extensionLimit: number) {
    this.extensionLimit = extensionLimit;
  }

  /** No body. */
  startNone(): void {
    this.start(NONE, 0);
  }
  /** `length` bytes. */
  startLength(length: number): void {
    this.start(length === 0 ? NONE : LENGTH, length);
  }
  startChunked(): void {
    this.start(SIZE_START, 0);
  }
  startUntilClose(): void {
    this.start(UNTIL_CLOSE, 0);
  }
  /** The trailers behind the last chunk have been read. */
  finish(): void {
    this.state = NONE;
  }
  /** The end of the stream is the end of the body. */
  get endsAtClose(): boolean {
    return this.state === UNTIL_CLOSE;
  }

  private start(state: number, remaining: number): void {
    this.state = state;
    this.remaining = remaining;
    this.contentBytes = 0;
    this.extensionBytes = 0;
    this.refusal = undefined;
  }

  /** Reads `bytes[at, end)`. Returns one of BODY; the span is to be sent on first, whatever the answer. */
  step(bytes: Uint8Array, at: number, end: number): number {
    this.spanStart = at;
    if (this.state === NONE) return this.stop(BODY.END, at, at);
    if (this.state === LENGTH) {
      const take = this.take(at, end);
      return this.stop(this.remaining === 0 ? BODY.END : BODY.MORE, take, take);
    }
    if (this.state === UNTIL_CLOSE) {
      this.contentBytes += end - at;
      return this.stop(BODY.MORE, end, end);
    }
    return this.stepChunked(bytes, at, end);
  }

  private stop(answer: number, spanEnd: number, at: number): number {
    this.spanEnd = spanEnd;
    this.at = at;
    return answer;
  }

  private refuse(refusal: Refusal, at: number): number {
    this.refusal = refusal;
    return this.stop(BODY.REFUSED, at, at);
  }

  /** Takes content bytes; returns the offset behind them. */
  private take(at: number, end: number): number {
    const count = Math.min(this.remaining, end - at);
    this.remaining -= count;
    this.contentBytes += count;
    return at + count;
  }

  private stepChunked(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      const byte = bytes[at]!;
      switch (this.state) {
        case SIZE_START:
          if (HEX_VALUE[byte] === NOT_HEX) return this.refuse(REFUSED.chunkSize, at);
          this.remaining = 0;
          this.digits = 0;
          this.state = SIZE;
          break;
        case SIZE:
          if (HEX_VALUE[byte] !== NOT_HEX) {
            if (++this.digits > SIZE_DIGITS) return this.refuse(REFUSED.chunkSize, at);
            this.remaining = this.remaining * 16 + HEX_VALUE[byte]!;
            at++;
            break;
          }
          if (byte === SEMICOLON) {
            this.state = EXTENSION;
            const spanEnd = at;
            at = this.skipExtension(bytes, at, end);
            if (this.refusal !== undefined) return this.stop(BODY.REFUSED, spanEnd, at);
            return this.stop(BODY.SKIPPED, spanEnd, at);
          }
          if (byte !== CR) return this.refuse(byte === LF ? REFUSED.bareLf : REFUSED.chunkSize, at);
          this.state = SIZE_LF;
          at++;
          break;
        case EXTENSION:
          at = this.skipExtension(bytes, at, end);
          this.spanStart = at;
          if (this.refusal !== undefined) return this.stop(BODY.REFUSED, at, at);
          break;
        case SIZE_LF:
          if (byte !== LF) return this.refuse(REFUSED.bareCr, at);
          this.state = this.remaining === 0 ? LAST_LINE : DATA;
          at++;
          break;
        case DATA:
          at = this.take(at, end);
          if (this.remaining === 0) this.state = DATA_CR;
          break;
        case DATA_CR:
          if (byte !== CR) return this.refuse(REFUSED.chunkEnd, at);
          this.state = DATA_LF;
          at++;
          break;
        case DATA_LF:
          if (byte !== LF) return this.refuse(REFUSED.chunkEnd, at);
          this.state = SIZE_START;
          at++;
          break;
        case LAST_LINE:
          if (byte !== CR) return this.stop(BODY.TRAILERS, at, at);
          this.state = LAST_LF;
          at++;
          break;
        default:
          if (byte !== LF) return this.refuse(REFUSED.bareCr, at);
          this.state = NONE;
          return this.stop(BODY.END, at + 1, at + 1);
      }
    }
    return this.stop(BODY.MORE, end, end);
  }

  /** Returns the offset of the CR behind the extension, or `end`, or the offending byte with `refusal` set. */
  private skipExtension(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && FIELD_VALUE[bytes[at]!] !== 0) {
      if (++this.extensionBytes > this.extensionLimit) {
        this.refusal = REFUSED.chunkExtension;
        return at;
      }
      at++;
    }
    if (at === end) return at;
    if (bytes[at] === CR) this.state = SIZE;
    else this.refusal = bytes[at] === LF ? REFUSED.bareLf : REFUSED.chunkExtension;
    return at;
  }
}
