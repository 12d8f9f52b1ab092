/**
 * The seam between the relay, which moves bytes and fds and knows no protocol,
 * and the mediators, which know one protocol each and own no fd of a session.
 *
 * Runs in the data-plane Worker: synchronous code only. A filter never blocks,
 * never awaits, never reads a clock of its own (`session.now()`), and never
 * throws for bad input: it refuses with the protocol's own error and finishes
 * the session. What it does throw ends that one session and is logged as a bug.
 *
 * Names: upstream = towards the provider, downstream = towards the consumer.
 */

/** Kernel's word on a unix peer (SO_PEERCRED), in the daemon's namespaces. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who a session belongs to. Taken from the graph, never from a byte the consumer sent. */
export interface LinkIdentity {
  readonly type: string;
  readonly name: string;
  readonly consumer: string;
  readonly provider: string;
  readonly role: string;
  readonly interface: string;
  readonly target: string;
}

/** One denial, for the audit stream. `asked` holds the protocol's own words (method and path; name, member; global). */
export interface AuditRecord {
  readonly action: string;
  readonly rule: string;
  readonly asked: Readonly<Record<string, string | number | boolean | null>>;
}

/**
 * One side of a session to send to. Everything given here is queued in order and
 * leaves in that order; the relay writes when the filter's call returns and
 * pauses the *other* side's reading while anything is left over.
 */
export interface Sink {
  /**
   * Sends `buffer[start, end)` of the chunk that the filter is being given, without a copy.
   * Allowed only inside `fromConsumer`/`fromProvider`, only with offsets of that chunk.
   * `fds` leave with the first of these bytes; they belong to the relay from here on.
   */
  forward(start: number, end: number, fds?: readonly number[]): void;
  /** Sends bytes of the filter's own (copied before the call returns). `fds` as in `forward`. */
  write(bytes: Uint8Array, fds?: readonly number[]): void;
  /** Shuts this side's writing half down after what is queued has left. Idempotent. */
  end(): void;
  /** Bytes queued and not yet taken by the kernel. */
  readonly queued: number;
}

export interface Session {
  readonly link: LinkIdentity;
  readonly peer: PeerCredentials;
  readonly upstream: Sink;
  readonly downstream: Sink;
  /** Milliseconds of a monotonic clock, read once for each wakeup of the reactor. */
  now(): number;
  /** `onDeadline` is called once at or shortly after `at` (clock of `now()`); 0 disarms. One deadline a session: the earliest wins by your own bookkeeping. */
  setDeadline(at: number): void;
  /** True: the consumer is not read until `pauseConsumer(false)`; its end is not noticed meanwhile either. For requests that must wait their turn. */
  pauseConsumer(paused: boolean): void;
  /** The session is over. For handlers that keep sessions which their filter has let go of (`passThrough`). */
  readonly closed: boolean;
  /** Dials the provider now, for handlers with `dialsAtAccept: false`. The consumer is not read until it is connected or `onUpstreamFailed` was called; neither comes before the filter's present call has returned. Idempotent. */
  connectUpstream(): void;
  /**
   * Sends what is queued to the consumer and then the end, for at most `FINISH_MS`; closes the provider's
   * side at once, and the consumer's when it has ended too. Until then what it still says is read and
   * dropped, so that it comes to read the answer. No callback but `onClosed` follows.
   * For refusals: `session.downstream.write(error); session.finish("403 ...")`.
   */
  finish(reason: string): void;
  /** Closes both sides at once; what is queued is dropped. */
  abort(reason: string): void;
  /** From here on bytes pass both ways untouched and the filter is no longer asked (after Upgrade). fds then pass as the handler's `maxFdsPerMessage` has it; an end that the filter had kept to itself passes as well. */
  passThrough(): void;
  /** The consumer's SO_PEERCRED goes with the first message to the provider, as SCM_CREDENTIALS (unix(7)). */
  attachCredentials(): void;
  /** Counts and records a denial (rate-limited by the relay). */
  deny(record: AuditRecord): void;
  /** Closes fds that the filter was given and will not send on. */
  closeFds(fds: readonly number[]): void;
  /** A log line with the link's key. Level "debug" | "info" | "warn". */
  log(level: "debug" | "info" | "warn", message: string): void;
  /** Sends a structured record to the control thread (access log, bound interfaces, learn mode). Must be structured-cloneable and small. */
  report(kind: string, record: Readonly<Record<string, unknown>>): void;
}

/**
 * Protocol logic of one session.
 *
 * `buffer[0, length)` is what has just arrived; it is the relay's receive buffer and
 * valid only during the call: copy what must be kept. `fds` are the ancillary fds that
 * arrived with it and belong to the filter: each is sent on or given to `closeFds`,
 * also at `onClosed`. (What is left after that, the relay closes: a filter that throws leaks none.)
 */
export interface Filter {
  fromConsumer(buffer: Uint8Array, length: number, fds: readonly number[]): void;
  fromProvider(buffer: Uint8Array, length: number, fds: readonly number[]): void;
  /** The consumer shut its writing half. Without this method: `session.upstream.end()`. */
  consumerEnded?(): void;
  /** The provider shut its writing half. Without this method: `session.downstream.end()`. */
  providerEnded?(): void;
  onUpstreamConnected?(): void;
  /** The provider could not be reached within the hold. Without this method the session is closed. */
  onUpstreamFailed?(reason: string): void;
  onDeadline?(): void;
  /** The link's configuration changed (policy reload) while this session is open. */
  onConfig?(config: unknown): void;
  /** Last call. Both sides are gone; give kept fds to `session.closeFds`. */
  onClosed?(): void;
}

/** How to reach the provider for one session. */
export type Dial =
  | { readonly ok: true; readonly fd: number }
  /** `retry`: not there yet (ENOENT, ECONNREFUSED, EAGAIN, container down): hold and try again. */
  | { readonly ok: false; readonly retry: boolean; readonly reason: string };

/** Data-plane half of one link: made from the plain configuration that the mediator sent over. */
export interface LinkHandler {
  /** True: the provider is dialled as soon as a consumer is accepted. False: when the filter asks. */
  readonly dialsAtAccept: boolean;
  /** True: fds keep their exact byte position (raw unix); costs a peek a read. False: at or before their bytes. */
  readonly exactFdPosition: boolean;
  /** Most fds in one outgoing message (253 by the kernel; 28 for libwayland). 0: none pass, also after `passThrough`: who sends one ends its session. */
  readonly maxFdsPerMessage: number;
  /** Returns a connected (or connecting, non-blocking) socket of the provider. The fd is the relay's from then on. */
  dial(peer: PeerCredentials): Dial;
  /** The filter of a new session, or undefined to pass bytes and fds through. */
  open(session: Session): Filter | undefined;
  /** New configuration of the same link. */
  configure(config: unknown): void;
  /** Closes what the handler itself holds. Sessions are already gone. */
  close(): void;
}
