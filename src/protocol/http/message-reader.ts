/**
 * The loop that requests and responses share: a head, its body, perhaps trailers, then
 * the next head. Pull, not push: `next()` answers what comes next in the bytes that were
 * given, so that the caller may stop between two messages.
 */
import { BODY, BodyReader } from "./body.ts";
import { Carry, type CarryBudget } from "./carry.ts";
import type { FieldSection } from "./fields.ts";
import type { HeadScanner } from "./head-scanner.ts";
import { type HttpLimits, REFUSED, type Refusal } from "./refusal.ts";
import { TrailerReader } from "./trailers.ts";

/** What `next()` answers. Before anything else is done, the span is to be sent on where it is not empty. */
export const EVENT = {
  /** The bytes given are used up. */
  MORE: 0,
  /** A head is complete: `head`. Its bytes are valid until the next call of `next()` or `give()`. */
  HEAD: 1,
  /** Only a span. */
  SPAN: 2,
  /** `trailers` is to be sent on; END follows. */
  TRAILERS: 3,
  /** The message is complete. */
  END: 4,
  /** `refusal` says why; nothing more is read, ever. */
  REFUSED: 5,
} as const;

export interface Head {
  readonly fields: FieldSection;
  readonly refusal: Refusal | undefined;
  readonly done: boolean;
  readonly idle: boolean;
  scan(bytes: Uint8Array, base: number, at: number, stop: number): number;
  /** Takes the head at `bytes[at]` if it is whole before `stop` and usual: its length, or 0 and nothing done. */
  takeUsual(bytes: Uint8Array, at: number, stop: number, scanner: HeadScanner): number;
  reset(): void;
  /** Where the head lies once it is done; let go of when the head has been dealt with. */
  bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

const HEAD = 0;
const IN_BODY = 1;
const IN_TRAILERS = 2;
const ENDED = 3;
const FAILED = 4;

export abstract class MessageReader<H extends Head> {
  readonly head: H;
  readonly body: BodyReader;
  spanStart = 0;
  spanEnd = 0;
  refusal: Refusal | undefined;
  /** The first byte not used. */
  at = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  private end = 0;
  private state = HEAD;
  private readonly carry: Carry;
  private readonly trailerReader: TrailerReader;
  private readonly headLimit: number;
  private readonly scanner: HeadScanner | undefined;

  /** `scanner`: a shortcut for usual heads. */
  constructor(head: H, limits: HttpLimits, budget: CarryBudget, scanner: HeadScanner | undefined) {
    this.scanner = scanner;
    this.head = head;
    this.carry = new Carry(budget);
    this.body = new BodyReader(limits.extensionBytes);
    this.trailerReader = new TrailerReader(head.fields, limits, budget);
    this.headLimit = limits.headBytes;
  }

  /** Takes `bytes[start, end)` as the next input. The input before it must be used up. */
  give(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.spanStart = start;
    this.spanEnd = start;
  }
  get trailers(): Uint8Array {
    return this.trailerReader.bytes;
  }
  /** Between two messages, and nothing of the next one seen. */
  get idle(): boolean {
    return this.state === ENDED || (this.state === HEAD && this.head.idle && this.carry.length === 0);
  }
  /** Part of a head has been seen. */
  get inHead(): boolean {
    return this.state === HEAD && !this.idle;
  }
  /** Behind a head, before the end of its message. */
  get inBody(): boolean {
    return this.state === IN_BODY || this.state === IN_TRAILERS;
  }
  /** Gives carried memory back; the reader is not used again. */
  close(): void {
    this.carry.clear();
    this.trailerReader.clear();
  }
  /** Bytes of input not yet used. */
  get left(): number {
    return this.end - this.at;
  }

  next(): number {
    this.spanStart = this.at;
    this.spanEnd = this.at;
    switch (this.state) {
      case ENDED:
        this.head.reset();
        this.release();
        this.state = HEAD;
        return this.nextHead();
      case HEAD:
        return this.nextHead();
      case IN_BODY:
        return this.nextBody();
      case IN_TRAILERS:
        return this.nextTrailers();
      default:
        return EVENT.REFUSED;
    }
  }

  /** Starts `body` for the head that is complete; called before HEAD is answered, or by the caller through `follow`. */
  protected enterBody(): void {
    this.state = IN_BODY;
  }
  /** After a head that belongs to no final message (1xx): the next head follows. */
  protected endMessage(): void {
    this.state = ENDED;
  }
  /** A complete head: starts its body, or refuses it. */
  protected abstract headDone(): Refusal | undefined;

  private refuse(refusal: Refusal): number {
    this.refusal = refusal;
    this.state = FAILED;
    return EVENT.REFUSED;
  }

  private nextHead(): number {
    if (this.at === this.end) return EVENT.MORE;
    const begun = this.carry.length;
    const room = Math.min(this.end - this.at, this.headLimit - begun);
    if (begun === 0 && this.scanner !== undefined) {
      const length = this.head.takeUsual(this.bytes, this.at, this.at + room, this.scanner);
      if (length > 0) return this.headTaken(length);
    }
    if (begun > 0 && !this.carry.append(this.bytes, this.at, this.at + room)) return this.refuse(REFUSED.noRoom);
    const bytes = begun > 0 ? this.carry.bytes : this.bytes;
    const base = begun > 0 ? 0 : this.at;
    const from = base + begun;
    const used = this.head.scan(bytes, base, from, from + room) - from;
    if (this.head.refusal !== undefined) return this.refuse(this.head.refusal);
    if (!this.head.done) {
      if (begun + room === this.headLimit) return this.refuse(REFUSED.headTooLarge);
      if (begun === 0 && !this.carry.append(this.bytes, this.at, this.end)) return this.refuse(REFUSED.noRoom);
      this.at = this.end;
      return EVENT.MORE;
    }
    return this.headTaken(used);
  }

  private headTaken(length: number): number {
    this.at += length;
    this.spanStart = this.at;
    this.spanEnd = this.at;
    const refusal = this.headDone();
    return refusal === undefined ? EVENT.HEAD : this.refuse(refusal);
  }

  /** The head's bytes have been dealt with. */
  private release(): void {
    if (this.carry.length === 0) return;
    this.carry.clear();
    this.head.bytes = NO_BYTES;
  }

  private nextBody(): number {
    this.release();
    const answer = this.body.step(this.bytes, this.at, this.end);
    this.spanStart = this.body.spanStart;
    this.spanEnd = this.body.spanEnd;
    this.at = this.body.at;
    switch (answer) {
      case BODY.MORE:
        return EVENT.MORE;
      case BODY.SKIPPED:
        return EVENT.SPAN;
      case BODY.TRAILERS:
        this.trailerReader.start();
        this.state = IN_TRAILERS;
        return EVENT.SPAN;
      case BODY.END:
        this.state = ENDED;
        return EVENT.END;
      default:
        return this.refuse(this.body.refusal!);
    }
  }

  private nextTrailers(): number {
    const complete = this.trailerReader.read(this.bytes, this.at, this.end);
    this.at = this.trailerReader.at;
    if (this.trailerReader.refusal !== undefined) return this.refuse(this.trailerReader.refusal);
    this.spanStart = this.at;
    this.spanEnd = this.at;
    if (!complete) return EVENT.MORE;
    this.body.finish();
    this.state = IN_BODY;
    return EVENT.TRAILERS;
  }
}
