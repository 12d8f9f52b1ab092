/**
 * Receive buffers. One is lent to every receive; when a send could not take all of
 * it and much is left, the queue keeps the buffer instead of copying, and the pool
 * gives the next one.
 */
import { Memory } from "../sys/memory.ts";
import { CHUNK_BYTES, CHUNK_POOL, CHUNKS_KEPT } from "./limits.ts";

export class Chunk extends Memory {
  /** Queue segments that point into this buffer. */
  refs = 0;
  /** True: lent to one wakeup after the other. False: made for what one queue keeps. */
  readonly shared: boolean;
  constructor(size: number, shared: boolean) {
    super(size);
    this.shared = shared;
  }
}

export class ChunkPool {
  private readonly free: Chunk[] = [];
  private lent: Chunk = new Chunk(CHUNK_BYTES, true);
  /** Receive buffers that queues hold on to. */
  private kept = 0;

  /** The buffer for the next receive: the same as last time unless a queue kept that one. */
  current(): Chunk {
    if (this.lent.refs > 0) {
      this.kept++;
      this.lent = this.free.pop() ?? new Chunk(CHUNK_BYTES, true);
    }
    return this.lent;
  }

  /** Whether queues may still keep receive buffers instead of copying out of them. */
  get keepsFew(): boolean {
    return this.kept < CHUNKS_KEPT;
  }

  /** A segment let go of its buffer. */
  release(chunk: Chunk): void {
    chunk.refs--;
    if (chunk.refs > 0 || chunk === this.lent || !chunk.shared || chunk.length !== CHUNK_BYTES) return;
    this.kept--;
    if (this.free.length < CHUNK_POOL) this.free.push(chunk);
  }
}
