/**
 * One consumer connection and its provider connection: two sides, bytes and fds in
 * both directions, through a filter or straight.
 *
 * Life: accepted -> dialling (held while the provider is not there) -> connected ->
 * half-open (one side has ended) -> closed. Backpressure: a side is not read while
 * anything waits for the other one. Every path ends in `close`, which closes both
 * sockets and every fd in the queues exactly once.
 */
import { EAGAIN, ECONNRESET, errnoName } from "../sys/errno.ts";
import {
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  MSG_CTRUNC,
  MSG_TRUNC,
  SHUT_RD,
  SHUT_WR,
  SO_PASSCRED,
} from "../sys/flags.ts";
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import type { Chunk } from "./chunk.ts";
import type { AuditRecord, Filter, LinkIdentity, PeerCredentials, Session, Sink } from "./filter.ts";
import { CHUNK_BYTES, FDS_PER_MESSAGE_MAX, FINISH_MS, LINGER_MS, SESSION_QUEUE_MAX } from "./limits.ts";
import { type FlushResult, Outgoing } from "./outgoing.ts";
import type { EventHandler } from "./reactor.ts";
import type { RelayLink } from "./relay-link.ts";
import { Timer } from "./timers.ts";

/** Scratch of the one data-plane thread for a receive. */
const received = new Memory(FDS_PER_MESSAGE_MAX * 4);
const receivedView = new Int32Array(received.buffer);
const info = new Memory(32);
const infoView = new Int32Array(info.buffer);
const peekPage = new Memory(4096);
const NO_FDS: readonly number[] = [];

/** One socket of a session: reads for the session, and the queue towards this peer. */
export class Side implements Sink, EventHandler {
  fd = -1;
  other!: Side;
  readonly out: Outgoing;
  /** The peer has shut its writing half and all of it has been read. */
  ended = false;
  /** Our writing half is to be shut once the queue is empty. */
  endWanted = false;
  /** Our writing half is shut, or the peer takes no more. */
  shut = false;
  private readonly session: RelaySession;
  private readonly packets: boolean;
  /** epoll mask in force; -1 before registration. */
  private mask = -1;
  private hungUp = false;

  constructor(session: RelaySession, packets: boolean, maxFds: number) {
    this.session = session;
    this.packets = packets;
    this.out = new Outgoing(session.owner.plane.chunks, packets, maxFds);
  }

  get queued(): number {
    return this.out.bytes;
  }

  forward(start: number, end: number, fds?: readonly number[]): void {
    const { chunk, chunkLength } = this.session;
    if (chunk === undefined || start < 0 || start > end || end > chunkLength)
      throw new RangeError(
        `Cannot forward [${start}, ${end}) of a chunk of ${chunk === undefined ? 0 : chunkLength} bytes`,
      );
    if (this.shut || this.endWanted) {
      this.session.closeFds(fds ?? NO_FDS);
      return;
    }
    const { bytes, fdCount } = this.out;
    this.out.forward(chunk, start, end, fds);
    this.account(bytes, fdCount);
  }

  write(bytes: Uint8Array, fds?: readonly number[]): void {
    if (this.shut || this.endWanted) {
      this.session.closeFds(fds ?? NO_FDS);
      return;
    }
    const before = this.out.bytes;
    const { fdCount } = this.out;
    this.out.write(bytes, fds);
    this.account(before, fdCount);
    this.session.touch();
  }

  end(): void {
    this.endWanted = true;
    this.session.touch();
  }

  private account(bytesBefore: number, fdsBefore: number): void {
    this.session.owner.queuedChanged(this.out.bytes - bytesBefore, this.out.fdCount - fdsBefore);
    if (this.out.bytes > SESSION_QUEUE_MAX)
      this.session.abort(`more than ${SESSION_QUEUE_MAX} bytes wait for one peer`);
  }

  /** Registers with the reactor. Throws SysError. */
  attach(fd: number): void {
    this.fd = fd;
    this.mask = this.wanted();
    this.session.owner.plane.reactor.add(fd, this, this.mask);
  }

  /** A side is read unless it has ended or something waits for the other one. */
  private get readable(): boolean {
    const { session, other } = this;
    if (this.ended || session.finishing || !session.connectedOrFiltered(this)) return false;
    if (session.consumerPaused && this === session.downstream) return false;
    if (other.shut && session.filter === undefined) return false;
    return other.out.empty && this.out.bytes <= CHUNK_BYTES && !session.owner.overBudget;
  }

  private wanted(): number {
    const read = this.readable ? EPOLLIN | EPOLLRDHUP : 0;
    const write = this.out.empty ? 0 : EPOLLOUT;
    // Hang-ups are reported whatever is asked for: edge-triggered when nothing is, or the loop would spin on them.
    return read | write || EPOLLET;
  }

  /** Brings the epoll mask in line with what is wanted now. */
  rearm(): void {
    if (this.fd < 0) return;
    const mask = this.wanted();
    if (mask === this.mask) return;
    this.mask = mask;
    this.session.owner.plane.reactor.modify(this.fd, mask >>> 0);
  }

  onEvents(events: number): void {
    const { session } = this;
    if ((events & EPOLLHUP) !== 0) this.hungUp = true;
    if ((events & EPOLLOUT) !== 0) this.flush();
    if (session.closed) return;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) {
      if (this.readable) this.read((events & EPOLLRDHUP) !== 0);
    }
    session.settle();
  }

  /** The peer is gone in both directions and everything it sent has been read. */
  get gone(): boolean {
    return this.ended && (this.hungUp || this.shut);
  }

  private read(peerEnded: boolean): void {
    const { session } = this;
    const { plane } = session.owner;
    const chunk = plane.chunks.current();
    const size = session.owner.readSize;
    let n: number;
    if (this.packets) {
      if (peerEnded) pvx.pvx_setsockopt_int(this.fd, SO_PASSCRED, 1);
      n = pvx.pvx_recv(this.fd, chunk.address, chunk.length, received.address, info.address);
    } else if (session.owner.handler.exactFdPosition)
      n = pvx.pvx_recv_placed(this.fd, chunk.address, size, received.address, info.address, peekPage.address, 4096);
    else n = pvx.pvx_recv(this.fd, chunk.address, size, received.address, info.address);
    if (n < 0) {
      if (n === -EAGAIN) return;
      // ECONNRESET: the peer closed with our bytes unread. What it sent has been read by now (af_unix.c reads data first).
      if (n !== -ECONNRESET) session.log("debug", `Cannot receive from the ${this.name}: recvmsg(): ${errnoName(n)}`);
      this.hungUp = true;
      this.onEnd();
      return;
    }
    const flags = infoView[1]!;
    const fds = infoView[0] === 0 ? NO_FDS : Array.from(receivedView.subarray(0, infoView[0]));
    if ((flags & (MSG_CTRUNC | MSG_TRUNC)) !== 0) {
      session.closeFds(fds);
      const what =
        (flags & MSG_TRUNC) !== 0 ? `a message larger than ${chunk.length} bytes` : "fds that were lost (MSG_CTRUNC)";
      session.abort(`the ${this.name} sent ${what}`);
      return;
    }
    // A seqpacket's empty message and the end both read as 0: only a message brings credentials with it.
    if (n === 0 && (!this.packets || (peerEnded && infoView[2] === 0))) {
      this.onEnd();
      return;
    }
    session.arrived(this, chunk, n, fds);
  }

  private onEnd(): void {
    if (this.ended) return;
    this.ended = true;
    this.session.sideEnded(this);
  }

  get name(): "consumer" | "provider" {
    return this.session.downstream === this ? "consumer" : "provider";
  }

  /** Sends what is queued, and the end after it. */
  flush(): void {
    if (this.fd < 0) return;
    if (!this.out.empty) {
      const bytes = this.out.bytes;
      const fds = this.out.fdCount;
      const result: FlushResult = this.out.flush(this.fd);
      this.session.owner.queuedChanged(this.out.bytes - bytes, this.out.fdCount - fds);
      this.session.sent(this, bytes - this.out.bytes, fds - this.out.fdCount);
      if (typeof result === "object") {
        this.refuseMore(result.errno);
        return;
      }
    }
    if (this.out.empty && this.endWanted && !this.shut) {
      this.shut = true;
      pvx.pvx_shutdown(this.fd, SHUT_WR);
    }
  }

  /** The peer reads no more: as between two sockets, its writer is told by EPIPE. */
  private refuseMore(errno: number): void {
    this.dropQueue();
    this.shut = true;
    const { other, session } = this;
    if (errnoName(errno) !== "EPIPE" && errno !== ECONNRESET)
      session.abort(`Cannot send to the ${this.name}: sendmsg(): ${errnoName(errno)}`);
    else if (session.filter === undefined && other.fd >= 0) {
      pvx.pvx_shutdown(other.fd, SHUT_RD);
      other.ended = true;
    }
  }

  dropQueue(): void {
    this.session.owner.queuedChanged(-this.out.bytes, -this.out.fdCount);
    this.out.drop();
  }

  /** Closes the socket and what is queued for it. */
  close(): void {
    this.dropQueue();
    if (this.fd < 0) return;
    this.session.owner.plane.reactor.forget(this.fd);
    pvx.pvx_close(this.fd);
    this.fd = -1;
  }

  /** Used by the straight path: sends from the receive buffer without queueing; returns what went, or -errno. */
  sendStraight(chunk: Chunk, n: number): number {
    return pvx.pvx_send(this.fd, chunk.address, 0, n);
  }
}

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
  private connected = false;
  private dialling = false;
  private inFilter = false;
  private touched = false;
  private finishReason = "";
  private abortReason: string | undefined;
  private timer: Timer | undefined;
  private filterDeadline = 0;
  private lingerFrom = 0;
  private finishBy = 0;
  holdUntil = 0;

  constructor(owner: RelayLink, fd: number, peer: PeerCredentials) {
    this.owner = owner;
    this.peer = peer;
    const { packets, handler } = owner;
    this.downstream = new Side(this, packets, handler.maxFdsPerMessage);
    this.upstream = new Side(this, packets, handler.maxFdsPerMessage);
    this.downstream.other = this.upstream;
    this.upstream.other = this.downstream;
    this.filter = handler.open(this);
    this.downstream.attach(fd);
    if (handler.dialsAtAccept) this.connectUpstream();
    this.settle();
  }

  get link(): LinkIdentity {
    return this.owner.identity;
  }

  now(): number {
    return this.owner.plane.reactor.now;
  }

  /** Whether `side` may be read as far as the dial is concerned. */
  connectedOrFiltered(side: Side): boolean {
    return side === this.upstream ? this.connected : !this.dialling && (this.connected || this.filter !== undefined);
  }

  // ---- dialling ----

  connectUpstream(): void {
    if (this.connected || this.dialling || this.closed || this.finishing) return;
    this.dialling = true;
    this.owner.dial(this);
  }

  /** The link has a connected socket for this session. */
  dialled(fd: number): void {
    this.dialling = false;
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
    if (this.filter?.onUpstreamFailed === undefined) this.abort(reason);
    else this.guard((filter) => filter.onUpstreamFailed?.(reason));
    this.touch();
  }

  get isDialling(): boolean {
    return this.dialling && !this.closed;
  }

  // ---- data ----

  arrived(from: Side, chunk: Chunk, n: number, fds: readonly number[]): void {
    const to = from.other;
    this.owner.count(from === this.downstream ? "messages_in" : "messages_out", 1);
    if (this.lingerFrom !== 0) this.lingerFrom = this.now();
    if (this.filter === undefined) {
      if (to.shut || to.endWanted) this.closeFds(fds);
      else this.pump(to, chunk, n, fds);
      return;
    }
    this.chunk = chunk;
    this.chunkLength = n;
    this.guard((filter) => {
      if (from === this.downstream) filter.fromConsumer(chunk.bytes, n, fds);
      else filter.fromProvider(chunk.bytes, n, fds);
    });
    this.chunk = undefined;
    this.flushBoth();
  }

  /** The straight path: one receive, one send, nothing queued unless the kernel is full. */
  private pump(to: Side, chunk: Chunk, n: number, fds: readonly number[]): void {
    let done = 0;
    if (fds.length === 0 && to.out.empty && to.out.credentials === undefined && !this.owner.packets) {
      const sent = to.sendStraight(chunk, n);
      if (sent === n) {
        this.sent(to, n, 0);
        return;
      }
      if (sent > 0) {
        done = sent;
        this.sent(to, sent, 0);
      }
    }
    this.chunk = chunk;
    this.chunkLength = n;
    to.forward(done, n, fds);
    this.chunk = undefined;
    to.flush();
  }

  sent(to: Side, bytes: number, fds: number): void {
    if (bytes > 0) this.owner.count(to === this.upstream ? "bytes_in" : "bytes_out", bytes);
    if (fds > 0) this.owner.count("fds", fds);
  }

  sideEnded(side: Side): void {
    if (this.filter !== undefined && side === this.downstream && this.filter.consumerEnded !== undefined)
      this.guard((filter) => filter.consumerEnded?.());
    else if (this.filter !== undefined && side === this.upstream && this.filter.providerEnded !== undefined)
      this.guard((filter) => filter.providerEnded?.());
    else side.other.end();
    this.lingerFrom = this.now();
    this.flushBoth();
  }

  private flushBoth(): void {
    if (this.closed) return;
    if (!this.finishing) this.upstream.flush();
    if (!this.closed) this.downstream.flush();
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
    for (const fd of fds) pvx.pvx_close(fd);
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
    this.guard((filter) => filter.onConfig?.(config));
    this.settle();
  }

  /** Filters may act outside of the relay's own calls (owner tracking across sessions): settle at the end of the wakeup. */
  touch(): void {
    if (this.touched || this.inFilter || this.closed) return;
    this.touched = true;
    this.owner.plane.reactor.defer(() => {
      this.touched = false;
      this.settle();
    });
  }

  // ---- ending ----

  /** Ends, or goes on, according to what the calls before have left. The last step of every wakeup of a session. */
  settle(): void {
    if (this.closed || this.inFilter) return;
    if (this.abortReason !== undefined) {
      this.close(this.abortReason);
      return;
    }
    this.flushBoth();
    const { downstream, upstream } = this;
    if (this.finishing) {
      upstream.dropQueue();
      if (downstream.out.empty || downstream.shut) {
        this.close(this.finishReason);
        return;
      }
    } else if (this.complete()) {
      this.close("ended");
      return;
    }
    if (this.abortReason !== undefined) {
      this.close(this.abortReason);
      return;
    }
    downstream.out.settle();
    upstream.out.settle();
    downstream.rearm();
    upstream.rearm();
    if (this.owner.overBudget) this.owner.park(this);
    this.armTimer();
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
    let at = this.filterDeadline;
    const sooner = (other: number) => {
      if (other !== 0 && (at === 0 || other < at)) at = other;
    };
    sooner(this.finishBy);
    if (this.dialling) sooner(this.holdUntil);
    if (this.lingerFrom !== 0) sooner(this.lingerFrom + LINGER_MS);
    const { timers } = this.owner.plane.reactor;
    if (at === 0) {
      if (this.timer !== undefined) timers.cancel(this.timer);
      return;
    }
    this.timer ??= new Timer(() => this.onTimer());
    if (this.timer.index < 0 || this.timer.at !== at) timers.arm(this.timer, at);
  }

  private onTimer(): void {
    const now = this.now();
    const due = (at: number) => at !== 0 && at <= now;
    if (due(this.finishBy)) this.abort(`${this.finishReason} (the consumer did not take the answer)`);
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
    const { filter } = this;
    if (filter === undefined || this.closed) return;
    this.inFilter = true;
    try {
      call(filter);
    } catch (error) {
      this.owner.sessionError(error);
      this.abort("internal error");
    } finally {
      this.inFilter = false;
    }
  }

  close(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    if (this.timer !== undefined) this.owner.plane.reactor.timers.cancel(this.timer);
    const { filter } = this;
    if (filter?.onClosed !== undefined) {
      try {
        filter.onClosed();
      } catch (error) {
        this.owner.sessionError(error);
      }
    }
    this.downstream.close();
    this.upstream.close();
    this.owner.sessionClosed(this, reason);
  }
}
