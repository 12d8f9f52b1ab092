/**
 * One direction's way out: messages that pass stay where they are in the relay's chunk,
 * neighbours go as one range, and bytes of our own slip in between messages only.
 */
import type { Sink } from "../../relay/filter.ts";

/** Own messages that may wait for the end of one that is streaming through. */
const DEFERRED_MAX = 1024;
const NO_FDS: readonly number[] = [];

export class Pipe {
  /** True while a message is streaming through: own bytes wait for its end. */
  busy = false;
  private readonly sink: Sink;
  private source: Uint8Array | undefined;
  private inChunk = false;
  private from = -1;
  private to = -1;
  private deferred: Uint8Array[] = [];

  constructor(sink: Sink) {
    this.sink = sink;
  }

  /** Ranges are of `b` from here to `end()`; `inChunk`: it is the chunk that the relay is showing. */
  begin(b: Uint8Array, inChunk: boolean): void {
    this.source = b;
    this.inChunk = inChunk;
  }
  end(): void {
    this.flush();
    this.source = undefined;
  }

  range(start: number, end: number, fds: readonly number[] = NO_FDS): void {
    if (fds.length === 0 && this.to === start) {
      this.to = end;
      return;
    }
    this.flush();
    if (fds.length > 0) this.send(start, end, fds);
    else {
      this.from = start;
      this.to = end;
    }
  }

  /** A part of a passing message that lies elsewhere. */
  copy(bytes: Uint8Array, fds: readonly number[] = NO_FDS): void {
    this.flush();
    this.sink.write(bytes, fds);
  }

  /** A message of our own: now, or after the one that is passing. False: too many wait. */
  insert(bytes: Uint8Array): boolean {
    if (this.busy) {
      if (this.deferred.length >= DEFERRED_MAX) return false;
      this.deferred.push(bytes);
      return true;
    }
    this.flush();
    this.sink.write(bytes);
    return true;
  }

  /** A message has ended. */
  boundary(): void {
    this.busy = false;
    if (this.deferred.length === 0) return;
    const waiting = this.deferred;
    this.deferred = [];
    for (const bytes of waiting) this.insert(bytes);
  }

  private flush(): void {
    if (this.from < 0) return;
    const { from, to } = this;
    this.from = this.to = -1;
    this.send(from, to, NO_FDS);
  }
  private send(start: number, end: number, fds: readonly number[]): void {
    if (this.inChunk) this.sink.forward(start, end, fds);
    else this.sink.write(this.source!.subarray(start, end), fds);
  }
}
