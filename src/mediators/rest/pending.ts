/** The requests of one connection that have been sent on and not yet answered, oldest first. */

/**
 * Requests sent ahead of their answers. Clients that pipeline at all send a handful; what is
 * beyond waits in the consumer's socket.
 */
export const PIPELINE_MAX = 256;

/** What was asked, where someone wants to know: for the access log, and to judge again when the policy changes. */
export interface Asked {
  readonly method: string;
  /** Without the query, which may hold secrets. */
  readonly path: string;
  /** Milliseconds, the session's clock. */
  readonly at: number;
}

const NOT_PERSISTENT = 0x80;
const OLD_VERSION = 0x40;
const METHOD = 0x3f;

export class PendingRequests {
  count = 0;
  private first = 0;
  /** One byte a request: method index and flags. */
  private readonly ring = new Uint8Array(PIPELINE_MAX);
  private asked: (Asked | undefined)[] | undefined;

  get full(): boolean {
    return this.count === PIPELINE_MAX;
  }

  push(method: number, minor: number, persists: boolean, asked: Asked | undefined): void {
    const at = (this.first + this.count++) % PIPELINE_MAX;
    this.ring[at] = method | (minor === 0 ? OLD_VERSION : 0) | (persists ? 0 : NOT_PERSISTENT);
    if (asked !== undefined || this.asked !== undefined) {
      this.asked ??= [];
      this.asked[at] = asked;
    }
  }
  shift(): void {
    if (this.asked !== undefined) this.asked[this.first] = undefined;
    this.first = (this.first + 1) % PIPELINE_MAX;
    this.count--;
  }
  /** Of the oldest: index in METHODS. */
  get method(): number {
    return this.ring[this.first]! & METHOD;
  }
  /** Of the oldest: HTTP/1.0. */
  get oldVersion(): boolean {
    return (this.ring[this.first]! & OLD_VERSION) !== 0;
  }
  /** Of the oldest: the connection may be used again after its answer. */
  get persists(): boolean {
    return (this.ring[this.first]! & NOT_PERSISTENT) === 0;
  }
  /** Of the oldest. */
  get oldest(): Asked | undefined {
    return this.asked?.[this.first];
  }
  /** Of all, oldest first. */
  *all(): Generator<Asked | undefined> {
    for (let i = 0; i < this.count; i++) yield this.asked?.[(this.first + i) % PIPELINE_MAX];
  }
}
