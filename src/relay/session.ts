/**
 * One consumer connection and its provider connection: two sides, bytes and fds in
 * both directions, through a filter or straight.
 *
 * Life: accepted -> dialling (held while the provider is not there) -> connected ->
 * half-open (one side has ended) -> closed. Every path ends in `close`, which closes
 * both sockets, every fd in the queues and every fd that the filter still holds,
 * each exactly once.
 */
import type { Chunk } from "./chunk.ts";
import type { AuditRecord, Filter, LinkIdentity, PeerCredentials, Session } from "./filter.ts";
import { FINISH_MS, LINGER_MS } from "./limits.ts";
import type { RelayLink } from "./relay-link.ts";
import { Side } from "./side.ts";
import { Timer } from "./timers.ts";

export class RelaySession implements Session {
  readonly owner: RelayLink;
  readonly peer: PeerCredentials;
  readonly downstream: Side;
  readonly upstream: Side;
  filter: Filter | undefined;
  /** The buffer that the filter is being shown, for `forward`. */
  chunk: Chunk | undefined;
  chunkLength = 0;
  closed = false;
  finishing = false;
  consumerPaused = false;
  /** One send, one message: as the link was when the session began. */
  readonly packets: boolean;
  private connected = false;
  private dialling = false;
  /** The filter has asked for the dial from within a call, which begins when the call is over. */
  private dialAsked = false;
  /** Inside of a filter's call: what it asks for is done when it returns. */
  busy = false;
  private touched = false;
  /** Something has changed since `settle` looked: it is to look again before the wakeup ends. */
  unsettled = true;
  /** fds that the filter was given and has neither sent on nor closed. */
  private lentFds: Set<number> | undefined;
  private finishReason = "";
  private abortReason: string | undefined;
  private timer: Timer | undefined;
  private filterDeadline = 0;
  private lingerFrom = 0;
  private finishBy = 0;
  holdUntil = 0;

  /** Throws when the session can't begin; the consumer's socket is then the caller's, and nothing else is left. */
  constructor(owner: RelayLink, fd: number, peer: PeerCredentials) {
    this.owner = owner;
    this.peer = peer;
    this.packets = owner.packets;
    const { handler } = owner;
    this.downstream = new Side(this, handler.maxFdsPerMessage);
    this.upstream = new Side(this, handler.maxFdsPerMessage);
    this.downstream.other = this.upstream;
    this.upstream.other = this.downstream;
    try {
      this.busy = true;
      this.filter = handler.open(this);
      this.busy = false;
      // The provider first: the consumer's place in epoll is then right from the start.
      this.downstream.fd = fd;
      if (handler.dialsAtAccept) this.connectUpstream();
      this.dialWanted();
      this.downstream.attach(fd);
    } catch (error) {
      this.downstream.fd = -1;
      this.discard();
      throw error;
    }
  }

  get link(): LinkIdentity {
    return this.owner.identity;
  }

  now(): number {
    return this.owner.plane.reactor.now;
  }

  /** Whether `side` may be read as far as the session's state is concerned. */
  reads(side: Side): boolean {
    if (this.finishing) return false;
    if (side === this.upstream) return this.connected;
    return !this.consumerPaused && !this.dialling && (this.connected || this.filter !== undefined);
  }

  // ---- dialling ----

  connectUpstream(): void {
    if (this.connected || this.dialling || this.closed || this.finishing) return;
    this.dialling = true;
    this.unsettled = true;
    // A filter's callbacks never run inside of its own calls.
    if (this.busy) this.dialAsked = true;
    else this.owner.dial(this);
  }

  private dialWanted(): void {
    if (!this.dialAsked) return;
    this.dialAsked = false;
    if (!this.over) this.owner.dial(this);
  }

  /** The link has a connected socket for this session, which is the session's from here on. */
  dialled(fd: number): void {
    this.dialling = false;
    if (this.over) {
      this.owner.hangUp(fd, this.packets);
      return;
    }
    this.connected = true;
    try {
      this.upstream.attach(fd);
    } catch (error) {
      this.upstream.close();
      this.abort(String(error));
      return;
    }
    this.guard((filter) => filter.onUpstreamConnected?.());
    this.touch();
  }

  /** The provider can't be reached, or not within the hold. */
  dialFailed(reason: string): void {
    this.dialling = false;
    if (this.over) return;
    if (this.filter?.onUpstreamFailed === undefined) this.abort(reason);
    else this.guard((filter) => filter.onUpstreamFailed?.(reason));
    this.touch();
  }

  get isDialling(): boolean {
    return this.dialling && !this.closed;
  }

  // ---- data ----

  /** What a side has received and the pump has not sent on. */
  arrived(from: Side, chunk: Chunk, n: number, fds: readonly number[]): void {
    this.owner.arrived(from === this.downstream);
    if (this.lingerFrom !== 0) this.lingerFrom = this.now();
    const { filter } = this;
    if (filter === undefined) {
      this.pass(from.other, chunk, 0, n, fds);
      return;
    }
    if (fds.length > 0) this.lend(fds);
    this.chunk = chunk;
    this.chunkLength = n;
    this.show(filter, from === this.downstream, chunk.bytes, n, fds);
    this.chunk = undefined;
    this.flushBoth();
  }

  /** As `guard`, which all other calls go through; this one is made for every message, and a closure each would cost more than the rest of it. */
  private show(filter: Filter, fromConsumer: boolean, bytes: Uint8Array, n: number, fds: readonly number[]): void {
    if (this.over) return;
    this.busy = true;
    try {
      if (fromConsumer) filter.fromConsumer(bytes, n, fds);
      else filter.fromProvider(bytes, n, fds);
    } catch (error) {
      this.filterFailed(error);
    }
    this.busy = false;
    this.dialWanted();
  }

  /** The straight path: `sent` of the `n` bytes have left already, the others are queued. */
  pumped(from: Side, chunk: Chunk, n: number, sent: number, fds: readonly number[]): void {
    this.owner.arrived(from === this.downstream);
    if (this.lingerFrom !== 0) this.lingerFrom = this.now();
    const to = from.other;
    if (sent > 0) this.sent(to, sent, 0);
    if (sent < n || fds.length > 0) this.pass(to, chunk, sent, n, fds);
  }

  private pass(to: Side, chunk: Chunk, start: number, end: number, fds: readonly number[]): void {
    if (to.shut || to.endWanted) this.closeFds(fds);
    else if (!to.out.fits(end - start, fds.length)) {
      this.closeFds(fds);
      this.abort(`${fds.length} fds came with ${end - start} bytes: more than this link passes`);
    } else {
      this.chunk = chunk;
      this.chunkLength = end;
      to.forward(start, end, fds);
      this.chunk = undefined;
      to.flush();
    }
  }

  sent(to: Side, bytes: number, fds: number): void {
    this.owner.passed(to === this.upstream, bytes, fds);
    if (this.lingerFrom !== 0 && bytes > 0) this.lingerFrom = this.now();
  }

  private lend(fds: readonly number[]): void {
    this.lentFds ??= new Set();
    for (const fd of fds) this.lentFds.add(fd);
  }

  /** The filter has given these on. */
  handOver(fds: readonly number[]): void {
    if (this.lentFds !== undefined) for (const fd of fds) this.lentFds.delete(fd);
  }

  sideEnded(side: Side): void {
    if (this.filter !== undefined && side === this.downstream && this.filter.consumerEnded !== undefined)
      this.guard((filter) => filter.consumerEnded?.());
    else if (this.filter !== undefined && side === this.upstream && this.filter.providerEnded !== undefined)
      this.guard((filter) => filter.providerEnded?.());
    else side.other.end();
    this.halfOpen();
    this.flushBoth();
  }

  /** One direction is over: the other one must go on moving bytes, or the session ends (`LINGER_MS`). */
  halfOpen(): void {
    this.lingerFrom = this.now();
    this.unsettled = true;
  }

  private flushBoth(): void {
    if (this.closed) return;
    this.upstream.flush();
    this.downstream.flush();
  }

  // ---- what a filter may ask for ----

  setDeadline(at: number): void {
    this.filterDeadline = at;
    this.touch();
  }
  pauseConsumer(paused: boolean): void {
    this.consumerPaused = paused;
    this.touch();
  }
  passThrough(): void {
    this.filter = undefined;
    this.filterDeadline = 0;
    this.consumerPaused = false;
    // An end that the filter has kept to itself passes as well.
    if (this.downstream.ended) this.upstream.end();
    if (this.upstream.ended) this.downstream.end();
    this.touch();
  }
  finish(reason: string): void {
    if (this.finishing || this.closed) return;
    this.finishing = true;
    this.finishReason = reason;
    this.finishBy = this.now() + FINISH_MS;
    this.touch();
  }
  abort(reason: string): void {
    this.abortReason ??= reason;
    this.touch();
  }
  deny(record: AuditRecord): void {
    this.owner.denied(record);
  }
  closeFds(fds: readonly number[]): void {
    this.handOver(fds);
    for (const fd of fds) this.owner.discard(fd);
  }
  log(level: "debug" | "info" | "warn", message: string): void {
    this.owner.log(level, message);
  }
  report(kind: string, record: Readonly<Record<string, unknown>>): void {
    this.owner.report(kind, record);
  }
  attachCredentials(): void {
    this.upstream.out.credentials = this.peer;
  }
  configure(config: unknown): void {
    if (this.closed) return;
    this.guard((filter) => filter.onConfig?.(config));
    this.settle();
  }

  /** Filters may act outside of the relay's own calls (owner tracking across sessions): settle at the end of the wakeup. */
  touch(): void {
    this.unsettled = true;
    this.downstream.carryNot();
    this.upstream.carryNot();
    if (this.touched || this.busy || this.closed) return;
    this.touched = true;
    this.owner.plane.reactor.defer(() => {
      this.touched = false;
      this.settle();
    });
  }

  // ---- ending ----

  /** Ends, or goes on, according to what the calls before have left. The last step of every wakeup of a session. */
  settle(): void {
    if (this.closed || this.busy) return;
    this.unsettled = false;
    const { downstream, upstream, owner } = this;
    if (this.abortReason === undefined) this.flushBoth();
    // A flush may have found a reason.
    if (this.abortReason !== undefined) {
      this.close(this.abortReason);
      return;
    }
    if (this.finishing) {
      if (this.finished()) {
        this.close(this.finishReason);
        return;
      }
    } else if (this.complete()) {
      this.close("ended");
      return;
    }
    downstream.out.settle();
    upstream.out.settle();
    downstream.rearm();
    upstream.rearm();
    if (owner.overBudget) owner.park(this);
    this.armTimer();
  }

  /** What comes is not only to be passed on, but also to be noted. */
  get ending(): boolean {
    return this.over || this.lingerFrom !== 0;
  }

  /** The session is decided: no callback but `onClosed` follows. */
  private get over(): boolean {
    return this.closed || this.finishing || this.abortReason !== undefined;
  }

  /**
   * The last words have reached the consumer's socket and it has ended as well. Until
   * then it is read: a consumer that is still writing would be killed by SIGPIPE, or
   * find ECONNRESET, before it came to read them.
   */
  private finished(): boolean {
    const { downstream, upstream } = this;
    if (this.dialling) {
      this.dialling = false;
      this.owner.unhold(this);
    }
    upstream.close();
    if (downstream.shut && !downstream.endWanted) return true;
    if (!downstream.endWanted) {
      downstream.endWanted = true;
      downstream.flush();
    }
    return downstream.gone || (downstream.shut && downstream.ended);
  }

  /** Nothing more can come or go. */
  private complete(): boolean {
    const { downstream: d, upstream: u } = this;
    if (!this.connected) return this.filter !== undefined && !this.dialling && d.gone;
    if (d.ended && u.ended) return d.out.empty && u.out.empty;
    // One peer is gone altogether: what it sent has yet to reach the other one, nothing else matters.
    if (d.gone) return u.out.empty;
    if (u.gone) return d.out.empty;
    return false;
  }

  private armTimer(): void {
    let at = Number.POSITIVE_INFINITY;
    if (this.filterDeadline !== 0) at = this.filterDeadline;
    if (this.finishBy !== 0 && this.finishBy < at) at = this.finishBy;
    if (this.dialling && this.holdUntil < at) at = this.holdUntil;
    if (this.lingerFrom !== 0 && this.lingerFrom + LINGER_MS < at) at = this.lingerFrom + LINGER_MS;
    const { timers } = this.owner.plane.reactor;
    if (at === Number.POSITIVE_INFINITY) {
      if (this.timer !== undefined) timers.cancel(this.timer);
      return;
    }
    this.timer ??= new Timer(() => this.onTimer());
    if (this.timer.index < 0 || this.timer.at !== at) timers.arm(this.timer, at);
  }

  private onTimer(): void {
    const now = this.now();
    const due = (at: number) => at !== 0 && at <= now;
    if (due(this.finishBy)) this.close(`${this.finishReason} (the consumer did not end by itself)`);
    if (this.closed) return;
    if (this.dialling && due(this.holdUntil)) this.owner.giveUp(this);
    if (this.lingerFrom !== 0 && due(this.lingerFrom + LINGER_MS)) this.abort("half-open without a byte for too long");
    if (due(this.filterDeadline)) {
      this.filterDeadline = 0;
      this.guard((filter) => filter.onDeadline?.());
    }
    this.settle();
  }

  /** Calls into the filter. What it throws is a bug of ours: it ends this session and no other. */
  private guard(call: (filter: Filter) => void): void {
    const { filter, busy } = this;
    if (filter === undefined || this.over) return;
    this.busy = true;
    try {
      call(filter);
    } catch (error) {
      this.filterFailed(error);
    }
    this.busy = busy;
    if (!busy) this.dialWanted();
  }

  private filterFailed(error: unknown): void {
    this.owner.sessionError(error);
    this.abort("internal error");
  }

  close(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.busy = false;
    this.discard();
    this.owner.sessionClosed(this, reason);
  }

  /** Gives back everything that the session holds. */
  private discard(): void {
    this.closed = true;
    if (this.timer !== undefined) this.owner.plane.reactor.timers.cancel(this.timer);
    try {
      this.filter?.onClosed?.();
    } catch (error) {
      this.owner.sessionError(error);
    }
    // What a filter forgot, or held when it threw.
    if (this.lentFds !== undefined) this.closeFds([...this.lentFds]);
    this.downstream.close();
    this.upstream.close();
    this.owner.unhold(this);
  }
}
