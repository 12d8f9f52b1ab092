/**
 * One end of a unix stream with fds, for the fake compositor and the raw client: reads and
 * sends by the same system calls as the relay, driven by a timer of the test's own loop.
 */
import { EAGAIN, errnoName } from "../../src/sys/errno.ts";
import { MSG_CTRUNC } from "../../src/sys/flags.ts";
import { Memory } from "../../src/sys/memory.ts";
import { pvx } from "../../src/sys/shim.ts";

const READ_BYTES = 128 * 1024;
const FDS_MAX = 253;
const TICK_MS = 1;

interface Queued {
  readonly bytes: Uint8Array;
  at: number;
  readonly fds: number[];
}

export class WaylandSocket {
  readonly fd: number;
  /** Everything received and not yet taken. */
  received = Buffer.alloc(0);
  /** fds received; the test's to close (`close` closes what is left). */
  readonly fds: number[] = [];
  /** Length of all bytes received when each of `fds` had come. */
  readonly fdsAt: number[] = [];
  receivedBytes = 0;
  /** The peer has closed, or why reading ended. */
  ended: string | undefined;
  /** True: nothing is read, as a client that hangs. */
  deaf = false;
  onData: (() => void) | undefined;
  private readonly queue: Queued[] = [];
  // Fields, not locals: what the kernel is given an address of must stay referenced during the call.
  private readonly input = new Memory(READ_BYTES);
  private readonly output = new Memory(READ_BYTES);
  private readonly iov = new Memory(16);
  private readonly fdArray = new Memory(FDS_MAX * 4);
  private readonly info = new Memory(32);
  private readonly timer: ReturnType<typeof setInterval>;
  private closed = false;

  constructor(fd: number) {
    this.fd = fd;
    this.timer = setInterval(() => this.turn(), TICK_MS);
  }

  /** Queues bytes; duplicates of `fds` leave with the first of them. */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.queue.push({ bytes: bytes.slice(), at: 0, fds: fds.map((fd) => pvx.pvx_dup(fd)) });
    this.flush();
  }
  get unsent(): number {
    return this.queue.reduce((sum, q) => sum + q.bytes.length - q.at, 0);
  }
  /** Takes `n` bytes off what was received. */
  take(n: number): Buffer {
    const taken = this.received.subarray(0, n);
    this.received = this.received.subarray(n);
    return taken;
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.timer);
    for (const fd of this.fds.splice(0)) pvx.pvx_close(fd);
    this.dropQueue();
    pvx.pvx_close(this.fd);
  }
  get isClosed(): boolean {
    return this.closed;
  }

  private turn(): void {
    if (!this.closed) this.flush();
    for (let i = 0; i < 8 && !this.closed && !this.deaf && this.ended === undefined; i++) if (!this.read()) return;
  }

  private dropQueue(): void {
    for (const { fds } of this.queue.splice(0)) for (const fd of fds) pvx.pvx_close(fd);
  }

  private read(): boolean {
    const n = pvx.pvx_recv(this.fd, this.input.address, READ_BYTES, this.fdArray.address, this.info.address);
    if (n === -EAGAIN) return false;
    const [count = 0, flags = 0] = new Int32Array(this.info.buffer);
    if (n > 0 && (flags & MSG_CTRUNC) !== 0) this.ended = "fds were lost (MSG_CTRUNC)";
    if (n <= 0) {
      this.ended = n === 0 ? "closed" : errnoName(n);
    } else {
      for (const fd of new Int32Array(this.fdArray.buffer, 0, count)) {
        this.fds.push(fd);
        this.fdsAt.push(this.receivedBytes);
      }
      this.receivedBytes += n;
      this.received = Buffer.concat([this.received, this.input.bytes.subarray(0, n)]);
    }
    this.onData?.();
    return n > 0;
  }

  private flush(): void {
    while (this.queue.length > 0) {
      const first = this.queue[0]!;
      const { output, iov } = this;
      const length = Math.min(output.length, first.bytes.length - first.at);
      output.bytes.set(first.bytes.subarray(first.at, first.at + length));
      new BigUint64Array(iov.buffer).set([BigInt(output.address), BigInt(length)]);
      new Int32Array(this.fdArray.buffer).set(first.fds);
      const n = pvx.pvx_sendv(this.fd, iov.address, 1, this.fdArray.address, first.fds.length, null);
      if (n < 0) {
        // EPIPE: reading will tell the end.
        if (n !== -EAGAIN) this.dropQueue();
        return;
      }
      for (const fd of first.fds.splice(0)) pvx.pvx_close(fd);
      first.at += n;
      if (first.at === first.bytes.length) this.queue.shift();
    }
  }
}

/** Waits until `what` gives something other than undefined or false. Throws at the deadline. */
export async function until<T>(
  what: string,
  look: () => T | Promise<T | undefined> | undefined | false,
  ms = 5000,
): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`Did not happen in ${ms} ms: ${what}`);
    await Bun.sleep(1);
  }
}
