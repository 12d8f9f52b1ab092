/**
 * The lanes of native/pvx.c, as this thread keeps them: directions of sessions whose
 * bytes pass as they are, served inside the wait itself. And when that wait may look
 * for a moment before it sleeps.
 *
 * A lane is open only while its session's next step is "receive here, send there": the
 * session opens it as the last step of a wakeup and closes it with the first change.
 */
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import { LANE_PAGE_BYTES, SPIN_PAUSE_MAX, SPIN_US } from "./limits.ts";

/** In place of EPOLL* bits: what was sent on is not what left the queue. */
export const TORN = 1 << 24;

/** Words of struct lane: to, generation, messages, bytes, skip. */
const WORDS = 5;
/** Words of struct lanes. */
const COUNT = 6;
const PAGE_SIZE = 7;
const SPIN = 8;
const SPUN = 9;
const MOVED = 10;
const SPUN_IN_VAIN = 2;

export class Lanes {
  private table = new Memory(1024 * WORDS * 4);
  private view = new Uint32Array(this.table.buffer);
  private readonly page = new Memory(LANE_PAGE_BYTES);
  private readonly head = new Memory(48);
  private readonly pointers = new BigUint64Array(this.head.buffer);
  private readonly words = new Uint32Array(this.head.buffer);
  private lastEvents = 0;
  private pause = 0;
  private nextPause = 1;
  /** Whether a moment of looking may save a sleep: not where the peers wait for our processor. */
  spins = false;

  /** `counters` are what lanes count into. */
  constructor(counters: Memory) {
    this.pointers[0] = BigInt(this.table.address);
    this.pointers[1] = BigInt(counters.address);
    this.pointers[2] = BigInt(this.page.address);
    this.words[COUNT] = 1024;
    this.words[PAGE_SIZE] = LANE_PAGE_BYTES;
  }

  /** What arrives at `fd` goes to `to`; `messages` and `bytes` are the indices of its counters. */
  open(fd: number, generation: number, to: number, messages: number, bytes: number): void {
    if (fd >= this.words[COUNT]!) this.grow(fd);
    const { view } = this;
    const at = fd * WORDS;
    view[at] = to + 1;
    view[at + 1] = generation;
    view[at + 2] = messages;
    view[at + 3] = bytes;
  }

  close(fd: number): void {
    if (fd < this.words[COUNT]!) this.view[fd * WORDS] = 0;
  }

  private grow(fd: number): void {
    const table = new Memory(2 ** Math.ceil(Math.log2(fd + 1)) * WORDS * 4);
    const view = new Uint32Array(table.buffer);
    view.set(this.view);
    this.table = table;
    this.view = view;
    this.pointers[0] = BigInt(table.address);
    this.words[COUNT] = view.length / WORDS;
  }

  /** As pvx_epoll_wait, less the events of lanes. */
  wait(epoll: number, events: Memory, max: number, timeoutMs: number): number {
    return pvx.pvx_epoll_lanes(epoll, events.address, max, timeoutMs, this.head.address);
  }

  /**
   * After a wait that ended at `now` (ms) with `n` events for others: decides whether the next one
   * looks first. It does while events follow each other within two such moments; each time
   * that was in vain it sleeps straight away for twice as many waits.
   */
  learn(now: number, n: number): void {
    if (!this.spins) return;
    const { words } = this;
    if (n === 0 && words[MOVED] === 0) {
      words[SPIN] = 0;
      return;
    }
    const gap = now - this.lastEvents;
    this.lastEvents = now;
    if (words[SPIN] !== 0) {
      if (words[SPUN] === SPUN_IN_VAIN) {
        this.pause = this.nextPause;
        this.nextPause = Math.min(this.nextPause * 2, SPIN_PAUSE_MAX);
      } else this.nextPause = 1;
    }
    if (this.pause > 0) this.pause--;
    words[SPIN] = this.pause === 0 && gap * 1000 < 2 * SPIN_US ? SPIN_US : 0;
  }
}
