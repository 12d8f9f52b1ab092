/**
 * What waits to be sent to one side: bytes in order, fds at the byte they leave with.
 *
 * Invariant: fds of a segment leave with its first byte, in one message that begins
 * there; so they come neither later than nor before the bytes queued ahead of them.
 * Ownership: fds queued here are ours, closed once they are sent or dropped.
 */
import { EAGAIN, EINVAL } from "../sys/errno.ts";
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import { Chunk, type ChunkPool } from "./chunk.ts";
import { ARENA_BYTES, CHUNK_BYTES, FDS_PER_MESSAGE_MAX, IOV_MAX, KEEP_BYTES } from "./limits.ts";

interface Segment {
  chunk: Chunk;
  start: number;
  end: number;
  /** Empty for most. */
  fds: number[];
}

const NO_FDS: number[] = [];

/** Scratch of the one data-plane thread: iovecs, fds and credentials of the message being sent. */
const iov = new Memory(IOV_MAX * 16);
const iovWords = new Uint32Array(iov.buffer);
const fdArray = new Memory(FDS_PER_MESSAGE_MAX * 4);
const fdView = new Int32Array(fdArray.buffer);
const credentialsArray = new Memory(12);
const credentialsView = new Uint32Array(credentialsArray.buffer);

function setIov(i: number, address: number, length: number): void {
  iovWords[4 * i] = address >>> 0;
  iovWords[4 * i + 1] = Math.floor(address / 2 ** 32);
  iovWords[4 * i + 2] = length;
  iovWords[4 * i + 3] = 0;
}

/** Where filters' own bytes are gathered until the end of the wakeup. */
class Arena {
  private chunk = new Chunk(ARENA_BYTES, true);
  private used = 0;
  /** Copies bytes to a stable address. */
  put(bytes: Uint8Array): { chunk: Chunk; start: number; end: number } {
    if (this.chunk.refs === 0) this.used = 0;
    if (bytes.length > ARENA_BYTES / 2) {
      const chunk = new Chunk(bytes.length, false);
      chunk.bytes.set(bytes);
      return { chunk, start: 0, end: bytes.length };
    }
    if (this.used + bytes.length > ARENA_BYTES) {
      this.chunk = new Chunk(ARENA_BYTES, true);
      this.used = 0;
    }
    const start = this.used;
    this.chunk.bytes.set(bytes, start);
    this.used += bytes.length;
    return { chunk: this.chunk, start, end: this.used };
  }
}
const arena = new Arena();

/** "sent": nothing is left. "blocked": the kernel takes no more now. "broken": -errno, the peer does not read any more. */
export type FlushResult = "sent" | "blocked" | { readonly errno: number };

export class Outgoing {
  bytes = 0;
  fdCount = 0;
  /** Credentials to attach to the first message (SCM_CREDENTIALS); cleared when it has left. */
  credentials: { readonly pid: number; readonly uid: number; readonly gid: number } | undefined;
  private readonly segments: Segment[] = [];
  /** Memory of this queue's own that still has room behind its last segment. */
  private tail: Chunk | undefined;
  private tailUsed = 0;
  private head = 0;
  private readonly pool: ChunkPool;
  /** Message boundaries are kept: one segment, one message. */
  private readonly packets: boolean;
  private readonly maxFds: number;
  /** Closes an fd of ours that somebody sent us. */
  private readonly discard: (fd: number) => void;

  constructor(pool: ChunkPool, packets: boolean, maxFds: number, discard: (fd: number) => void = pvx.pvx_close) {
    this.pool = pool;
    this.packets = packets;
    this.maxFds = maxFds;
    this.discard = discard;
  }

  get empty(): boolean {
    return this.head === this.segments.length;
  }

  /** Queues a range of a receive buffer; bytes that follow directly on the last segment join it. */
  forward(chunk: Chunk, start: number, end: number, fds: readonly number[] | undefined): void {
    const last = this.empty ? undefined : this.segments[this.segments.length - 1];
    if (fds === undefined || fds.length === 0) {
      if (last !== undefined && last.chunk === chunk && last.end === start && !this.packets && last.fds.length === 0) {
        this.bytes += end - start;
        last.end = end;
        return;
      }
      if (start === end && !this.packets) return;
    }
    this.push(chunk, start, end, fds);
  }

  /** Queues a copy of bytes. */
  write(bytes: Uint8Array, fds: readonly number[] | undefined): void {
    if (bytes.length === 0 && !this.packets && (fds === undefined || fds.length === 0)) return;
    const { chunk, start, end } = arena.put(bytes);
    this.forward(chunk, start, end, fds);
  }

  /** Whether so many fds can go with so many bytes: each message with fds carries at most `maxFds`, and a byte (unix(7)). */
  fits(bytes: number, fds: number): boolean {
    return fds <= (this.packets ? this.maxFds : bytes * this.maxFds);
  }

  private push(chunk: Chunk, start: number, end: number, fds: readonly number[] | undefined): void {
    const own = fds === undefined || fds.length === 0 ? NO_FDS : [...fds];
    // More than fits is a fault of the caller; the fds are ours already.
    if (!this.fits(end - start, own.length)) {
      for (const fd of own) this.discard(fd);
      throw new RangeError(`Cannot send ${own.length} fds with ${end - start} bytes`);
    }
    chunk.refs++;
    this.segments.push({ chunk, start, end, fds: own });
    this.bytes += end - start;
    this.fdCount += own.length;
  }

  /** Sends what the kernel takes. Returns bytes moved through `moved`. */
  flush(fd: number): FlushResult {
    if (this.empty) return "sent";
    while (this.head < this.segments.length) {
      const first = this.segments[this.head]!;
      const nfds = Math.min(first.fds.length, this.maxFds);
      // One piece without anything beside it, the usual case: sendto(2) spares the kernel the message header.
      const plain = nfds === 0 && this.head + 1 === this.segments.length && this.credentials === undefined;
      const n = plain
        ? pvx.pvx_send(fd, first.chunk.address, first.start, first.end - first.start)
        : this.sendMessage(fd, first, nfds);
      if (n < 0) return n === -EAGAIN ? "blocked" : { errno: -n };
      if (n === 0 && first.end > first.start) return { errno: EINVAL };
      this.credentials = undefined;
      this.sentFds(first, nfds);
      this.advance(n);
    }
    this.clear();
    return "sent";
  }

  /** One sendmsg(2), with the fds and credentials that belong to it. */
  private sendMessage(fd: number, first: Segment, nfds: number): number {
    const count = this.gather(first, nfds);
    for (let i = 0; i < nfds; i++) fdView[i] = first.fds[i]!;
    let credentials: Memory | undefined;
    if (this.credentials !== undefined) {
      credentialsView[0] = this.credentials.pid;
      credentialsView[1] = this.credentials.uid;
      credentialsView[2] = this.credentials.gid;
      credentials = credentialsArray;
    }
    return pvx.pvx_sendv(fd, iov.address, count, fdArray.address, nfds, credentials?.address ?? null);
  }

  /** Fills the iovec table for one message that begins with `first`; returns the number of entries. */
  private gather(first: Segment, nfds: number): number {
    // More fds than fit in one message: the rest need bytes of their own behind this one.
    if (nfds < first.fds.length) {
      setIov(0, Number(first.chunk.address) + first.start, 1);
      return 1;
    }
    let count = 0;
    for (let i = this.head; i < this.segments.length && count < IOV_MAX; i++) {
      const segment = this.segments[i]!;
      if (i > this.head && (this.packets || segment.fds.length > 0)) break;
      setIov(count++, Number(segment.chunk.address) + segment.start, segment.end - segment.start);
    }
    return count;
  }

  private sentFds(segment: Segment, n: number): void {
    if (n === 0) return;
    for (let i = 0; i < n; i++) this.discard(segment.fds[i]!);
    segment.fds.splice(0, n);
    this.fdCount -= n;
  }

  private advance(sent: number): void {
    this.bytes -= sent;
    let left = sent;
    do {
      const segment = this.segments[this.head]!;
      const take = Math.min(left, segment.end - segment.start);
      segment.start += take;
      left -= take;
      if (segment.start < segment.end) return;
      this.head++;
      this.pool.release(segment.chunk);
    } while (left > 0);
  }

  /**
   * At the end of a wakeup: what is left in buffers that others use too is copied out of
   * them, so that a slow session does not pin 256 KiB for a few bytes. A large rest
   * stays where it is as long as few do: it will leave soon, and copying it would cost
   * more than it frees.
   */
  settle(): void {
    if (this.empty) return;
    if (this.head > 0) {
      this.segments.splice(0, this.head);
      this.head = 0;
    }
    let shared = 0;
    for (const { chunk, start, end } of this.segments) if (chunk.shared) shared += Math.max(end - start, 1);
    if (shared === 0) return;
    if (shared > CHUNK_BYTES / 2 || (shared >= KEEP_BYTES && this.pool.keepsFew)) return;
    this.copyOut(shared);
  }

  /** Moves `total` bytes of shared buffers into memory of this queue's own; segments that become neighbours are joined. */
  private copyOut(total: number): void {
    if (this.tail?.refs === 0) this.tailUsed = 0;
    if (this.tail === undefined || this.tail.length - this.tailUsed < total) {
      // As much again as is queued: a queue that grows by small pieces is copied a few times, not each time.
      this.tail = new Chunk(Math.max(total, Math.min(this.bytes, KEEP_BYTES), 64), false);
      this.tailUsed = 0;
    }
    const own = this.tail;
    const kept: Segment[] = [];
    for (const segment of this.segments) {
      if (segment.chunk.shared) this.moveTo(own, segment);
      const last = kept[kept.length - 1];
      const joins =
        last !== undefined &&
        !this.packets &&
        segment.fds.length === 0 &&
        last.chunk === segment.chunk &&
        last.end === segment.start;
      if (joins) {
        last.end = segment.end;
        this.pool.release(segment.chunk);
      } else kept.push(segment);
    }
    this.segments.splice(0, this.segments.length, ...kept);
  }

  private moveTo(own: Chunk, segment: Segment): void {
    const { chunk, start, end } = segment;
    own.bytes.set(chunk.bytes.subarray(start, end), this.tailUsed);
    own.refs++;
    this.pool.release(chunk);
    segment.chunk = own;
    segment.start = this.tailUsed;
    this.tailUsed += end - start;
    segment.end = this.tailUsed;
  }

  /** Drops everything; closes the fds. */
  drop(): void {
    for (let i = this.head; i < this.segments.length; i++) {
      const segment = this.segments[i]!;
      for (const fd of segment.fds) this.discard(fd);
      this.pool.release(segment.chunk);
    }
    this.clear();
    this.bytes = 0;
    this.fdCount = 0;
  }

  private clear(): void {
    this.segments.length = 0;
    this.head = 0;
    this.tail = undefined;
  }
}
