/**
 * The fds of one direction: they come at or before the bytes of their message, and each
 * message says how many are its own (UNIX_FDS). What does not add up ends the session.
 */
const NONE: readonly number[] = [];

/** fds that wait in all sessions of a link: without a cap of their own, many sessions would use up the daemon's. */
export interface HeldFds {
  heldFds: number;
}
/** As LINK_FDS_MAX of the relay. */
export const LINK_HELD_FDS_MAX = 1024;

export class FdQueue {
  private queue: number[] = [];
  private readonly most: number;
  private readonly link: HeldFds;

  /** `most`: fds that may wait at once. */
  constructor(most: number, link: HeldFds) {
    this.most = most;
    this.link = link;
  }

  get waiting(): number {
    return this.queue.length;
  }
  /** False: too many wait. They are kept until `drain`. */
  add(fds: readonly number[]): boolean {
    if (fds.length === 0) return true;
    for (const fd of fds) this.queue.push(fd);
    this.link.heldFds += fds.length;
    return this.queue.length <= this.most && this.link.heldFds <= LINK_HELD_FDS_MAX;
  }
  /** The fds of a message, or undefined when they did not come. */
  take(count: number): readonly number[] | undefined {
    if (count === 0) return NONE;
    if (count > this.queue.length) return undefined;
    this.link.heldFds -= count;
    return this.queue.splice(0, count);
  }
  drain(): readonly number[] {
    const all = this.queue;
    this.link.heldFds -= all.length;
    this.queue = [];
    return all;
  }
}
