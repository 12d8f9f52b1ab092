/**
 * Cuts one direction of a D-Bus stream into messages and asks for a verdict on each,
 * as soon as its header (and as much of its body as the verdict needs) is there.
 *
 * A message that lies whole in the chunk is judged and passed where it stands. What is
 * split is kept: the header, and the part of a body that the judge wants to see; the
 * rest of a body streams through or away. Nothing is allocated by a declared length:
 * the kept bytes grow as they arrive.
 */
import { FIXED_HEADER } from "./constants.ts";
import { Header, type HeaderError, type HeaderLimits, scanFields, scanFixed } from "./header.ts";

/** Verdicts on a message. A positive number: "ask again when that many bytes of the message are there". */
export const PASS = 0;
export const DROP = -1;
/** The judge ended the session; nothing more is asked. */
export const STOP = -2;

export interface Judge {
  /**
   * The header is sound. `b[at, at + available)` is what is there of the message; positions in
   * `header` count from `at`. May change bytes in place. PASS, DROP, STOP, or how many bytes of
   * the message (more than `available`, at most the whole of it) must be there to decide.
   */
  judge(b: Uint8Array, at: number, available: number, header: Header): number;
  /** Bytes of the chunk to pass on, in order. `first`: the message begins here. */
  passChunk(start: number, end: number, first: boolean): void;
  /** Kept bytes to pass on, in order; valid during the call only. */
  passKept(bytes: Uint8Array, first: boolean): void;
  /** The last byte of a message was passed or dropped. */
  boundary(): void;
  /** A message with too long a header begins and is thrown away (`skipLongFields`). */
  skipping?(): void;
}

const STATE = { HEADER: 0, PASSING: 1, DROPPING: 2 } as const;
/** Kept bytes begin at this size and double. Most headers fit. */
const FIRST_KEPT = 512;
/** A larger buffer than this is given back after its message. */
const KEEP_BUFFER = 8192;

export class Framer {
  readonly header = new Header();
  private readonly limits: HeaderLimits;
  private readonly sink: Judge;
  private state: number = STATE.HEADER;
  /** Bytes of the current message's body still to pass or drop. */
  private left = 0;
  private kept = new Uint8Array(FIRST_KEPT);
  private have = 0;
  /** How much must be kept before the next step; FIXED_HEADER, then the header, then what the judge asked for. */
  private want = FIXED_HEADER;

  constructor(limits: HeaderLimits, judge: Judge) {
    this.limits = limits;
    this.sink = judge;
  }

  /** Messages that have ended. */
  messages = 0;

  /** True between messages. False in the middle of one: nothing else may be written to its sink. */
  get atBoundary(): boolean {
    return this.state === STATE.HEADER && this.have === 0;
  }
  /** Bytes are kept until more come. */
  get keeping(): boolean {
    return this.have > 0;
  }
  /** True while a message's bytes are on their way out: others' bytes must wait. */
  get midMessage(): boolean {
    return this.state === STATE.PASSING;
  }

  /** Takes b[from, length). Undefined, or why the stream can't go on; "stopped" when the judge said so. */
  push(b: Uint8Array, length: number, from = 0): HeaderError | "stopped" | undefined {
    let at = from;
    while (at < length) {
      if (this.state !== STATE.HEADER) {
        const n = Math.min(this.left, length - at);
        if (this.state === STATE.PASSING) this.sink.passChunk(at, at + n, false);
        at += n;
        this.left -= n;
        if (this.left === 0) this.finished();
        continue;
      }
      if (this.have === 0) {
        const taken = this.inPlace(b, at, length - at);
        if (typeof taken !== "number") return taken;
        at += taken;
        if (taken > 0) continue;
      }
      const n = Math.min(this.want - this.have, length - at);
      this.keep(b, at, n);
      at += n;
      if (this.have === this.want) {
        const wrong = this.keptStep();
        if (wrong !== undefined) return wrong;
      }
    }
    return undefined;
  }

  /** Judges the message at `at` without copying. Bytes consumed, 0 when it must be kept, or an error. */
  private inPlace(b: Uint8Array, at: number, available: number): number | HeaderError | "stopped" {
    if (available < FIXED_HEADER) return 0;
    const header = this.header;
    const wrong = scanFixed(b, at, this.limits, header);
    if (wrong === "fields-too-long" && this.limits.skipLongFields === true) return this.skip(available);
    if (wrong !== undefined) return wrong;
    if (available < header.headerLength) return 0;
    const unsound = scanFields(b, at, this.limits, header);
    if (unsound !== undefined) return unsound;
    const total = header.headerLength + header.bodyLength;
    const here = Math.min(available, total);
    const verdict = this.sink.judge(b, at, here, header);
    if (verdict === STOP) return "stopped";
    if (verdict > 0) {
      this.keep(b, at, here);
      this.want = Math.min(verdict, total);
      return here;
    }
    if (verdict === PASS) this.sink.passChunk(at, at + here, true);
    this.settle(verdict, total - here);
    return here;
  }

  /** `want` bytes are kept: the fixed part, the header, or what the judge asked for. */
  private keptStep(): HeaderError | "stopped" | undefined {
    const header = this.header;
    if (this.have === FIXED_HEADER) {
      const wrong = scanFixed(this.kept, 0, this.limits, header);
      if (wrong === "fields-too-long" && this.limits.skipLongFields === true) {
        this.forget();
        this.skip(FIXED_HEADER);
        return undefined;
      }
      if (wrong !== undefined) return wrong;
      this.want = header.headerLength;
      if (this.want > this.have) return undefined;
    }
    const unsound = scanFields(this.kept, 0, this.limits, header);
    if (unsound !== undefined) return unsound;
    const total = header.headerLength + header.bodyLength;
    const verdict = this.sink.judge(this.kept, 0, this.have, header);
    if (verdict === STOP) return "stopped";
    if (verdict > 0) {
      this.want = Math.min(verdict, total);
      return undefined;
    }
    if (verdict === PASS) this.sink.passKept(this.kept.subarray(0, this.have), true);
    const left = total - this.have;
    this.forget();
    this.settle(verdict, left);
    return undefined;
  }

  /** Drops the message at hand, of which `available` bytes or less are here. Returns how many of them are its own. */
  private skip(available: number): number {
    const total = this.header.headerLength + this.header.bodyLength;
    const here = Math.min(available, total);
    this.sink.skipping?.();
    this.settle(DROP, total - here);
    return here;
  }
  private settle(verdict: number, left: number): void {
    this.left = left;
    if (left === 0) this.finished();
    else this.state = verdict === PASS ? STATE.PASSING : STATE.DROPPING;
  }
  private finished(): void {
    this.state = STATE.HEADER;
    this.messages = (this.messages + 1) >>> 0;
    this.sink.boundary();
  }
  private forget(): void {
    this.have = 0;
    this.want = FIXED_HEADER;
    if (this.kept.length > KEEP_BUFFER) this.kept = new Uint8Array(FIRST_KEPT);
  }
  private keep(b: Uint8Array, at: number, n: number): void {
    const need = this.have + n;
    if (need > this.kept.length) {
      const grown = new Uint8Array(Math.max(need, this.kept.length * 2));
      grown.set(this.kept.subarray(0, this.have));
      this.kept = grown;
    }
    this.kept.set(b.subarray(at, at + n), this.have);
    this.have = need;
  }
}
