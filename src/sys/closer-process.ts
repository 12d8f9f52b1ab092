/**
 * A child that closes fds, with this process's fd table and memory (native/pvx.c): for what a
 * container has a hand in, whose close(2) can wait for as long as the container likes.
 */
import { Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** struct closer of native/pvx.c: two counts, a pid, 256 fds. */
const SHARED_BYTES = 4 * (3 + 256);
const GIVEN = 0;
const CLOSED = 1;
/** The child calls nothing but the kernel. */
const STACK_BYTES = 8 * 1024;
/** In place of an fd: end when all before it is closed. */
const END = -1;

export class CloserProcess {
  private readonly shared: Memory;
  private readonly counts: Uint32Array;
  /** In use by the child as long as it lives: whoever starts one keeps this object until `ended`. */
  readonly stack: Memory;
  private readonly pid: number;

  private constructor(shared: Memory, stack: Memory, pid: number) {
    this.shared = shared;
    this.counts = new Uint32Array(shared.buffer);
    this.stack = stack;
    this.pid = pid;
  }

  /** Undefined where no such child can be cloned (user-mode emulators, a limit on processes). */
  static start(): CloserProcess | undefined {
    const shared = new Memory(SHARED_BYTES);
    const stack = new Memory(STACK_BYTES);
    const pid = pvx.pvx_closer_start(shared.address, stack.address, STACK_BYTES);
    return pid < 0 ? undefined : new CloserProcess(shared, stack, pid);
  }

  /** False: 256 fds wait already. The child looks at it after `wake`. */
  give(fd: number): boolean {
    return pvx.pvx_closer_give(this.shared.address, fd) === 1;
  }
  wake(): void {
    pvx.pvx_closer_wake(this.shared.address);
  }
  /** How many of those given it has not closed yet. */
  get waiting(): number {
    return (this.counts[GIVEN]! - Atomics.load(this.counts, CLOSED)) >>> 0;
  }

  /** Told when it has nothing left. */
  dismiss(): void {
    this.give(END);
    this.wake();
  }
  /** True once, when the child has ended; it is collected by that. */
  ended(): boolean {
    return pvx.pvx_closer_ended(this.pid) === 1;
  }
}
