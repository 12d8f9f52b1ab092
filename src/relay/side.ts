/**
 * One socket of a session: its place in epoll, reading for the session, and the queue towards its peer.
 *
 * A side is read only while nothing waits for the other one, so what one peer sends
 * is held back by what the other one takes, as between two sockets.
 */
import { EAGAIN, ECONNRESET, EPIPE, errnoName } from "../sys/errno.ts";
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
  SO_OOBINLINE,
} from "../sys/flags.ts";
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import type { Chunk } from "./chunk.ts";
import type { Sink } from "./filter.ts";
import { TORN } from "./lanes.ts";
import { CHUNK_BYTES, FDS_PER_MESSAGE_MAX, LANE_PAGE_BYTES, SESSION_QUEUE_MAX, SPLICE_BYTES } from "./limits.ts";
import { Outgoing } from "./outgoing.ts";
import type { EventHandler } from "./reactor.ts";
import type { RelaySession } from "./session.ts";

/** Scratch of the one data-plane thread for a receive. */
const received = new Memory(FDS_PER_MESSAGE_MAX * 4);
const receivedView = new Int32Array(received.buffer);
/** struct pump of native/pvx.c; its first six words are also what the receiving calls tell. */
const info = new Memory(44);
const infoView = new Int32Array(info.buffer);
const NFDS = 0;
const FLAGS = 1;
const HAS_CREDENTIALS = 2;
const SENT = 6;
const PIPE_READ = 7;
const PIPE_WRITE = 8;
const SPLICE_FROM = 9;
const PAGE_SIZE = 10;
infoView[PIPE_READ] = -1;
infoView[PIPE_WRITE] = -1;
infoView[SPLICE_FROM] = SPLICE_BYTES;
/** Where peeks land (pvx_recv_placed): 64 times this is the most that one looks at. */
const PAGE_BYTES = LANE_PAGE_BYTES;
const page = new Memory(PAGE_BYTES);
infoView[PAGE_SIZE] = PAGE_BYTES;
const NO_FDS: readonly number[] = [];
const PEER_LEFT = EPOLLHUP | EPOLLERR | EPOLLRDHUP;

/** From here on large pieces pass through this pipe instead of our memory. Both ends stay open as long as the thread lives. */
export function spliceThrough(readEnd: number, writeEnd: number): void {
  infoView[PIPE_READ] = readEnd;
  infoView[PIPE_WRITE] = writeEnd;
}

export class Side implements Sink, EventHandler {
  fd = -1;
  other!: Side;
  readonly out: Outgoing;
  /** The peer has shut its writing half and all of it has been read; or nothing it sends can go anywhere. */
  ended = false;
  /** Its end was read: the queue is empty, and the kernel lets nobody add to it any more. */
  private emptied = false;
  /** Our writing half is to be shut once the queue is empty. */
  endWanted = false;
  /** Our writing half is shut, or the peer takes no more. */
  shut = false;
  private readonly session: RelaySession;
  /** epoll mask in force; -1 before registration. */
  private mask = -1;
  private hungUp = false;
  /** Much came last time, so much is looked for at once. */
  private bulk = false;
  /** What of the queue the link's budget knows of. */
  private accountedBytes = 0;
  private accountedFds = 0;
  /** The reactor serves this side's plain bytes by itself. */
  private carried = false;

  constructor(session: RelaySession, maxFds: number) {
    this.session = session;
    const { owner } = session;
    this.out = new Outgoing(owner.plane.chunks, session.packets, maxFds, owner.discard);
  }

  get queued(): number {
    return this.out.bytes;
  }

  get name(): "consumer" | "provider" {
    return this.session.downstream === this ? "consumer" : "provider";
  }

  // ---- what a filter sends ----

  forward(start: number, end: number, fds: readonly number[] = NO_FDS): void {
    const { chunk, chunkLength } = this.session;
    if (chunk === undefined || start < 0 || start > end || end > chunkLength) {
      this.session.closeFds(fds);
      const length = chunk === undefined ? 0 : chunkLength;
      throw new RangeError(`Cannot forward [${start}, ${end}) of a chunk of ${length} bytes`);
    }
    if (this.deaf) {
      this.session.closeFds(fds);
      return;
    }
    if (fds.length > 0) this.session.handOver(fds);
    this.out.forward(chunk, start, end, fds);
    this.queuedMore();
  }

  write(bytes: Uint8Array, fds: readonly number[] = NO_FDS): void {
    if (this.deaf) {
      this.session.closeFds(fds);
      return;
    }
    if (fds.length > 0) this.session.handOver(fds);
    this.out.write(bytes, fds);
    this.queuedMore();
    if (!this.session.busy) this.session.touch();
  }

  end(): void {
    this.endWanted = true;
    this.session.touch();
  }

  /** Nothing more goes to this peer. */
  private get deaf(): boolean {
    return this.shut || this.endWanted || this.session.closed;
  }

  /** What the session's own filter queues is flushed as soon as its call returns: only what is left then is accounted. */
  private queuedMore(): void {
    const { out, session } = this;
    if (out.bytes > SESSION_QUEUE_MAX) session.abort(`more than ${SESSION_QUEUE_MAX} bytes wait for one peer`);
    if (!session.busy) this.account();
  }

  private account(): void {
    const { bytes, fdCount } = this.out;
    if (bytes === this.accountedBytes && fdCount === this.accountedFds) return;
    this.session.owner.queuedChanged(bytes - this.accountedBytes, fdCount - this.accountedFds);
    this.accountedBytes = bytes;
    this.accountedFds = fdCount;
  }

  // ---- epoll ----

  /** Registers with the reactor. Throws SysError. */
  attach(fd: number): void {
    this.fd = fd;
    // An urgent byte (MSG_OOB) is one like any other: not inline, a peek steps over it and epoll tells of it for ever.
    pvx.pvx_setsockopt_int(fd, SO_OOBINLINE, 1);
    this.mask = this.wanted();
    this.session.owner.plane.reactor.add(fd, this, this.mask >>> 0);
  }

  /** A side is read unless it has ended or something waits for the other one. */
  private get readable(): boolean {
    const { session, other } = this;
    if (this.ended || !session.reads(this)) return false;
    if (other.shut && session.filter === undefined) return false;
    return other.out.empty && this.out.bytes <= CHUNK_BYTES && !session.owner.overBudget;
  }

  private wanted(): number {
    const read = this.session.finishing ? this.drained : this.readable;
    const mask = (read ? EPOLLIN | EPOLLRDHUP : 0) | (this.out.empty ? 0 : EPOLLOUT);
    // Hang-ups are reported whatever is asked for: edge-triggered when nothing is, or the loop would spin on them.
    return mask || EPOLLET;
  }

  /** Brings the epoll mask in line with what is wanted now. The last step of a wakeup. */
  rearm(): void {
    if (this.mask === -1 || this.fd < 0) return;
    const mask = this.wanted();
    if (mask !== this.mask) {
      this.mask = mask;
      this.session.owner.plane.reactor.modify(this.fd, mask >>> 0);
    }
    if (this.passesPlainly) this.carry();
    else this.carryNot();
  }

  /** Nothing but "receive here, send there" is to be done with what comes next. */
  private get passesPlainly(): boolean {
    const { session, other } = this;
    if (session.filter !== undefined || session.packets || this.bulk || (this.mask & EPOLLIN) === 0) return false;
    return this.out.empty && other.takesStraight && !session.ending;
  }

  private carry(): void {
    if (this.carried) return;
    this.carried = true;
    const { owner } = this.session;
    owner.carry(this.fd, this.other.fd, this.session.downstream === this);
  }

  carryNot(): void {
    if (!this.carried) return;
    this.carried = false;
    this.session.owner.plane.reactor.carryNot(this.fd);
  }

  onEvents(events: number): void {
    const { session } = this;
    if (events === TORN) {
      session.abort(`the ${this.name} changed what it had sent`);
      session.settle();
      return;
    }
    if ((events & EPOLLHUP) !== 0) this.hangUp();
    if ((events & EPOLLOUT) !== 0) this.flush();
    if (session.closed) return;
    if (session.finishing) this.drain();
    else if ((events & (EPOLLIN | PEER_LEFT)) !== 0 && this.readable && this.read() && events === EPOLLIN) return;
    session.settle();
  }

  private hangUp(): void {
    if (this.hungUp) return;
    this.hungUp = true;
    this.session.halfOpen();
  }

  /** The peer is gone in both directions, and what it sent has been read or has nowhere to go. */
  get gone(): boolean {
    if (!this.hungUp) return this.ended && this.shut;
    return this.ended || this.other.shut;
  }

  // ---- receiving ----

  /** True: all of it is on its way and nothing about the session has changed. */
  private read(): boolean {
    const { session, other } = this;
    const { owner } = session;
    const { plane } = owner;
    const { chunks } = plane;
    const chunk = chunks.current();
    const { address } = chunk;
    infoView[SENT] = 0;
    let straight = false;
    let n: number;
    if (session.packets) n = this.receivePacket(chunk);
    else if (session.filter === undefined && other.takesStraight) {
      straight = true;
      n = pvx.pvx_pump(
        this.fd,
        other.fd,
        address,
        owner.pumpSize,
        received.address,
        info.address,
        page.address,
        owner.exact === 0 ? 0 : this.bulk ? 2 : 1,
      );
      this.expect(n >= PAGE_BYTES);
    } else if (owner.exact !== 0)
      n = pvx.pvx_recv_placed(
        this.fd,
        address,
        owner.readSize,
        received.address,
        info.address,
        page.address,
        PAGE_BYTES,
      );
    else n = pvx.pvx_recv(this.fd, address, owner.readSize, received.address, info.address);
    if (n < 0) {
      this.onReceiveError(n);
      return false;
    }
    const fds = infoView[NFDS] === 0 ? NO_FDS : Array.from(receivedView.subarray(0, infoView[NFDS]));
    const flags = infoView[FLAGS]!;
    if ((flags & (MSG_CTRUNC | MSG_TRUNC)) !== 0) {
      this.refuseTruncated(flags, chunk, fds);
      return false;
    }
    // A seqpacket's empty message reads as 0 too, but brings credentials with it; the end does not.
    if (n === 0 && (!session.packets || infoView[HAS_CREDENTIALS] === 0)) {
      this.emptied = true;
      this.onEnd();
      return false;
    }
    if (!straight) {
      session.arrived(this, chunk, n, fds);
      return session.filter !== undefined && !session.unsettled && other.out.empty && this.out.empty;
    }
    const sent = infoView[SENT]!;
    session.pumped(this, chunk, n, Math.max(sent, 0), fds);
    return sent === n;
  }

  /** Large pieces are the business of `read`, small ones of the reactor. */
  private expect(bulk: boolean): void {
    if (bulk === this.bulk) return;
    this.bulk = bulk;
    if (bulk) this.carryNot();
    // Back among the small ones: at the next settling, or when the stream goes on so.
    else if (this.passesPlainly) this.carry();
  }

  /** Straight to the kernel: nothing of the peer's is queued before it, nothing has to go with it. */
  private get takesStraight(): boolean {
    return this.out.empty && this.out.credentials === undefined && !this.shut && !this.endWanted;
  }

  private receivePacket(chunk: Chunk): number {
    const n = pvx.pvx_recv_packet(this.fd, chunk.address, chunk.length, received.address, info.address);
    // The peer closed with our bytes unread. A datagram queue tells that before what it sent (net/core/datagram.c), once.
    if (n !== -ECONNRESET) return n;
    return pvx.pvx_recv_packet(this.fd, chunk.address, chunk.length, received.address, info.address);
  }

  private onReceiveError(n: number): void {
    if (n === -EAGAIN) return;
    // A stream tells ECONNRESET after the last byte (net/unix/af_unix.c): an end like any other.
    if (n !== -ECONNRESET)
      this.session.log("debug", `Cannot receive from the ${this.name}: recvmsg(): ${errnoName(n)}`);
    this.hangUp();
    this.onEnd();
  }

  private refuseTruncated(flags: number, chunk: Chunk, fds: readonly number[]): void {
    this.session.closeFds(fds);
    const what =
      (flags & MSG_TRUNC) !== 0 ? `a message larger than ${chunk.length} bytes` : "fds that were lost (MSG_CTRUNC)";
    this.session.abort(`the ${this.name} sent ${what}`);
  }

  private onEnd(): void {
    if (this.ended) return;
    this.ended = true;
    this.session.sideEnded(this);
  }

  /** While a session is finishing: its consumer is read so that it gets to the answer, and what it says is dropped. */
  private get drained(): boolean {
    return this.shut && !this.ended;
  }

  private drain(): void {
    if (!this.drained) return;
    const chunk = this.session.owner.plane.chunks.current();
    const n = pvx.pvx_recv(this.fd, chunk.address, chunk.length, received.address, info.address);
    if (n > 0) this.session.closeFds(Array.from(receivedView.subarray(0, infoView[NFDS])));
    else if (n !== -EAGAIN) this.ended = true;
  }

  // ---- sending ----

  /** Sends what is queued, and the end after it. */
  flush(): void {
    if (this.fd < 0) return;
    const { out, session } = this;
    if (!out.empty) {
      const { bytes, fdCount } = out;
      const result = out.flush(this.fd);
      this.account();
      session.sent(this, bytes - out.bytes, fdCount - out.fdCount);
      if (typeof result === "object") {
        this.refuseMore(result.errno);
        return;
      }
    }
    if (this.endWanted && !this.shut && out.empty) {
      this.shut = true;
      // Where nothing else is left to do the session closes right away, which says as much.
      if (session.finishing || !this.other.gone) pvx.pvx_shutdown(this.fd, SHUT_WR);
    }
  }

  /** The peer reads no more: as between two sockets, its writer is told by EPIPE. */
  private refuseMore(errno: number): void {
    this.dropQueue();
    this.shut = true;
    const { other, session } = this;
    if (errno !== EPIPE && errno !== ECONNRESET) {
      session.abort(`Cannot send to the ${this.name}: sendmsg(): ${errnoName(errno)}`);
      return;
    }
    session.halfOpen();
    if (session.filter !== undefined || other.fd < 0) return;
    pvx.pvx_shutdown(other.fd, SHUT_RD);
    other.ended = true;
  }

  dropQueue(): void {
    this.out.drop();
    this.account();
  }

  /** Closes the socket and what is queued for it. */
  close(): void {
    this.dropQueue();
    if (this.fd < 0) return;
    this.carried = false;
    const { owner, packets } = this.session;
    if (this.emptied && !packets) owner.closeEmpty(this.fd);
    else owner.hangUp(this.fd, packets);
    this.fd = -1;
  }
}
