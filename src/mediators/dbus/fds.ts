/**
 * The fds of one direction: they come at or before the bytes of their message, and each
 * message says how many are its own (UNIX_FDS). What does not add up ends the session.
 */
const NONE: readonly number[] = [];

export class FdQueue {
  private queue: number[] = [];
  private readonly most: number;

  /** `most`: fds that may wait at once. */
  constructor(most: number) {
    this.most = most;
  }

  get waiting(): number {
    return this.queue.length;
  }
  /** False: too many wait. They are kept until `drain`. */
  add(fds: readonly number[]): boolean {
    for (const fd of fds) this.queue.push(fd);
    return this.queue.length <= this.most;
  }
  /** The fds of a message, or undefined when they did not come. */
  take(count: number): readonly number[] | undefined {
    if (count === 0) return NONE;
    return count > this.queue.length ? undefined : this.queue.splice(0, count);
  }
  drain(): readonly number[] {
    const all = this.queue;
    this.queue = [];
    return all;
  }
}
