/** A response head: status line and fields, resumable at any byte. */
import { ascii, CR, FIELD_VALUE, LF, NINE, SPACE, ZERO } from "./characters.ts";
import { FieldSection, KIND } from "./fields.ts";
import { ConnectionOptions, Framing } from "./framing.ts";
import { FOUND, type HeadScanner } from "./head-scanner.ts";
import { type HttpLimits, REFUSED, type Refusal } from "./refusal.ts";

const PROTOCOL_STATE = 0;
const MINOR = 1;
const VERSION_END = 2;
const STATUS = 3;
const STATUS_END = 4;
const REASON = 5;
const LINE_LF = 6;
const FIELDS = 7;
const DONE = 8;

const PROTOCOL = ascii("HTTP/1.");
const USUAL = ascii("HTTP/1.1 ");

export class ResponseHead {
  /** Where the head lies, once `done`: `bytes[base, base + end)`. */
  bytes: Uint8Array = new Uint8Array(0);
  base = 0;
  status = 0;
  minor = 1;
  readonly fields: FieldSection;
  readonly framing = new Framing();
  readonly connection = new ConnectionOptions();
  /** Index of the first Upgrade field, or -1. */
  upgradeField = -1;
  refusal: Refusal | undefined;
  private state = PROTOCOL_STATE;
  private matched = 0;

  constructor(limits: HttpLimits) {
    this.fields = new FieldSection(limits.fields);
  }

  reset(): void {
    this.state = PROTOCOL_STATE;
    this.matched = 0;
    this.status = 0;
    this.refusal = undefined;
    this.fields.reset();
  }
  get done(): boolean {
    return this.state === DONE;
  }
  get idle(): boolean {
    return this.state === PROTOCOL_STATE && this.matched === 0;
  }
  /** Relative to `base`: one past the empty line. */
  get end(): number {
    return this.fields.end;
  }
  /** 1xx but 101: another head follows for the same request. */
  get interim(): boolean {
    return this.status < 200 && this.status !== 101;
  }
  get persists(): boolean {
    return !this.connection.close && (this.minor === 1 || this.connection.keepAlive);
  }

  scan(bytes: Uint8Array, base: number, at: number, stop: number): number {
    let i = at;
    if (this.state !== FIELDS) {
      i = this.scanLine(bytes, i, stop);
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

  /** What `scan` and `complete` would find in a usual head: no field in it matters but Content-Length. */
  takeUsual(bytes: Uint8Array, at: number, stop: number, scanner: HeadScanner): number {
    const length = scanner.response(bytes, at, stop);
    if (length === 0) return 0;
    const { framing } = this;
    const { found } = scanner;
    framing.reset();
    if (framing.takeLength(bytes, at + found[FOUND.LENGTH_START]!, at + found[FOUND.LENGTH_END]!) !== undefined)
      return 0;
    this.minor = 1;
    this.status = found[FOUND.STATUS]!;
    this.connection.reset();
    this.upgradeField = -1;
    this.fields.pass(length);
    this.state = DONE;
    this.bytes = bytes;
    this.base = at;
    return length;
  }

  private scanLine(bytes: Uint8Array, at: number, stop: number): number {
    for (let i = this.usualStart(bytes, at, stop); i < stop; i++) {
      const byte = bytes[i]!;
      if (!this.takeLineByte(byte)) {
        this.refusal = byte === LF && this.state !== LINE_LF ? REFUSED.bareLf : REFUSED.statusLine;
        return i;
      }
      if (this.state === FIELDS) return i + 1;
    }
    return stop;
  }

  /** "HTTP/1.1 " and a status in one look, which is how nearly every answer begins; else the bytes are taken one by one. */
  private usualStart(bytes: Uint8Array, at: number, stop: number): number {
    if (this.state !== PROTOCOL_STATE || this.matched !== 0 || stop - at < USUAL.length + 3) return at;
    for (let i = 0; i < USUAL.length; i++) if (bytes[at + i] !== USUAL[i]) return at;
    const first = bytes[at + USUAL.length]! - ZERO;
    const second = bytes[at + USUAL.length + 1]! - ZERO;
    const third = bytes[at + USUAL.length + 2]! - ZERO;
    if (first < 1 || first > 5 || second < 0 || second > 9 || third < 0 || third > 9) return at;
    this.minor = 1;
    this.status = first * 100 + second * 10 + third;
    this.state = STATUS_END;
    return at + USUAL.length + 3;
  }

  /** One byte of the status line (RFC 9112 section 4); false if it can't stand here. */
  private takeLineByte(byte: number): boolean {
    switch (this.state) {
      case PROTOCOL_STATE:
        if (byte !== PROTOCOL[this.matched]) return false;
        if (++this.matched === PROTOCOL.length) this.state = MINOR;
        return true;
      case MINOR:
        this.minor = byte - ZERO;
        this.state = VERSION_END;
        return this.minor === 0 || this.minor === 1;
      case VERSION_END:
        this.matched = 0;
        this.state = STATUS;
        return byte === SPACE;
      case STATUS:
        if (byte < ZERO || byte > NINE) return false;
        this.status = this.status * 10 + (byte - ZERO);
        if (++this.matched === 3) this.state = STATUS_END;
        return this.matched < 3 || (this.status >= 100 && this.status <= 599);
      case STATUS_END:
        // The space before an empty reason is demanded by the grammar and left out by many servers.
        this.state = byte === SPACE ? REASON : LINE_LF;
        return byte === SPACE || byte === CR;
      case REASON:
        if (byte === CR) this.state = LINE_LF;
        return byte === CR || FIELD_VALUE[byte] !== 0;
      default:
        this.state = FIELDS;
        return byte === LF;
    }
  }

  private complete(): Refusal | undefined {
    this.framing.reset();
    this.connection.reset();
    this.upgradeField = -1;
    for (let field = 0; field < this.fields.count; field++) {
      const kind = this.fields.kinds[field]!;
      if (kind === KIND.OTHER) continue;
      const refusal = this.takeField(field, kind);
      if (refusal !== undefined) return refusal;
    }
    return this.framing.check(this.minor === 0) ?? this.checkBodyless();
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
        return this.connection.take(this.bytes, start, end);
      case KIND.PROXY_CONNECTION:
        // Clients that obey its "close" must not be sent another answer.
        this.connection.take(this.bytes, start, end);
        return undefined;
      case KIND.UPGRADE:
        if (this.upgradeField < 0) this.upgradeField = field;
        return undefined;
      default:
        return undefined;
    }
  }

  /**
   * 1xx and 204 have no body and must not announce one (RFC 9112 section 6.1, RFC 9110 section 8.6). A
   * consumer that believed such an announcement would read the next answer as this one's body.
   */
  private checkBodyless(): Refusal | undefined {
    if (this.status >= 200 && this.status !== 204) return undefined;
    // HTTP/1.0 has none (RFC 9110 section 15.2), and one that closes says that no final answer follows.
    if (this.status < 200 && !this.persists) return REFUSED.interimCloses;
    return this.framing.chunked || this.framing.contentLength > 0 ? REFUSED.bodyForbidden : undefined;
  }
}
