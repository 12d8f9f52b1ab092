/**
 * A real data plane in a process of its own, between peers that the test plays itself.
 *
 * A test reads as what one peer does after the other.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Counter } from "../../src/relay/counters.ts";
import type { LinkIdentity } from "../../src/relay/filter.ts";
import type { SlotEvent } from "../../src/relay/plane-client.ts";
import { checked, EAGAIN, errnoName } from "../../src/sys/errno.ts";
import { SHUT_WR, SOCK_SEQPACKET, SOCK_STREAM } from "../../src/sys/flags.ts";
import { cstring, Memory } from "../../src/sys/memory.ts";
import { pvx } from "../../src/sys/shim.ts";
import { connectPath, listen, unixSocket } from "../../src/sys/unix-socket.ts";
import { Program } from "./program.ts";
import type { RigOrder } from "./relay-serve.ts";
import type { RigConfig } from "./relay-worker.ts";

const IDENTITY: LinkIdentity = {
  type: "unix",
  name: "service",
  consumer: "app",
  provider: "backend",
  role: "any",
  interface: "unix",
  target: "/run/service.sock",
};
const WAIT_MS = 5000;

const room = new Memory(1 << 20);
const fdRoom = new Memory(253 * 4);
const fdRoomView = new Int32Array(fdRoom.buffer);
const info = new Memory(64);
const infoView = new Int32Array(info.buffer);
const iov = new Memory(16);
const page = new Memory(4096);

export interface Got {
  /** As recvmsg(2): 0 at the end, -errno; undefined: nothing came in time. */
  readonly n: number | undefined;
  readonly bytes: Uint8Array;
  readonly fds: number[];
  readonly flags: number;
}

/** One end of a connection, non-blocking underneath. */
export class Peer {
  readonly fd: number;
  closed = false;
  constructor(fd: number) {
    this.fd = fd;
  }

  /** One sendmsg; its result or -errno. fds stay the caller's. */
  send(data: string | Uint8Array, fds: readonly number[] = []): number {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    room.bytes.set(bytes);
    new BigUint64Array(iov.buffer).set([BigInt(Number(room.address)), BigInt(bytes.length)]);
    fdRoomView.set(fds);
    return pvx.pvx_sendv(this.fd, iov.address, 1, fdRoom.address, fds.length, null);
  }

  /** Sends all of it, as far as the other side takes it within `WAIT_MS`. */
  async sendAll(data: Uint8Array): Promise<void> {
    const end = performance.now() + WAIT_MS;
    for (let at = 0; at < data.length; ) {
      const n = this.send(data.subarray(at, at + room.length));
      if (n > 0) at += n;
      else if (n !== -EAGAIN) throw new Error(`Cannot send: ${errnoName(n)}`);
      else if (performance.now() > end) throw new Error(`Only ${at} of ${data.length} bytes were taken`);
      else await Bun.sleep(1);
    }
  }

  /** Sends until nothing is taken for `quietMs`; how much that was. */
  async fill(quietMs = 200, most = 64 << 20): Promise<number> {
    const piece = new Uint8Array(65536).fill(0x66);
    let total = 0;
    let since = performance.now();
    while (performance.now() - since < quietMs && total < most) {
      const n = this.send(piece);
      if (n > 0) {
        total += n;
        since = performance.now();
      } else if (n === -EAGAIN) await Bun.sleep(2);
      else break;
    }
    return total;
  }

  /** One recvmsg, after waiting for something to come. */
  async recv(most = room.length, ms = WAIT_MS): Promise<Got> {
    const none = { bytes: new Uint8Array(0), fds: [], flags: 0 };
    const end = performance.now() + ms;
    while (pvx.pvx_wait_readable(this.fd, 0) !== 1) {
      if (performance.now() > end) return { n: undefined, ...none };
      await Bun.sleep(1);
    }
    const n = pvx.pvx_recv(this.fd, room.address, most, fdRoom.address, info.address);
    if (n < 0) return { n, ...none };
    return {
      n,
      bytes: room.bytes.slice(0, n),
      fds: [...fdRoomView.subarray(0, infoView[0])],
      flags: infoView[1]!,
    };
  }

  /** As `recv` on a stream, but never past the byte at which fds begin. */
  async recvPlaced(most: number, ms = WAIT_MS): Promise<Got> {
    const none = { bytes: new Uint8Array(0), fds: [], flags: 0 };
    const end = performance.now() + ms;
    for (;;) {
      const n = pvx.pvx_recv_placed(this.fd, room.address, most, fdRoom.address, info.address, page.address, 4096);
      if (n >= 0) return { n, bytes: room.bytes.slice(0, n), fds: [...fdRoomView.subarray(0, infoView[0])], flags: 0 };
      if (n !== -EAGAIN) return { n, ...none };
      if (performance.now() > end) return { n: undefined, ...none };
      await Bun.sleep(1);
    }
  }

  /** Bytes until there are `length` of them or the end; fds that came are closed and counted. */
  async read(length: number, ms = WAIT_MS): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    let total = 0;
    while (total < length) {
      const got = await this.recv(Math.min(room.length, length - total), ms);
      closeAll(got.fds);
      if (got.n === undefined || got.n <= 0) break;
      parts.push(got.bytes);
      total += got.n;
    }
    return Buffer.concat(parts);
  }

  async text(length: number, ms = WAIT_MS): Promise<string> {
    return (await this.read(length, ms)).toString("latin1");
  }

  /** "end", an errno's name, "bytes", or "nothing" within the time. */
  async next(ms = WAIT_MS): Promise<string> {
    const got = await this.recv(room.length, ms);
    closeAll(got.fds);
    if (got.n === undefined) return "nothing";
    return got.n === 0 ? "end" : got.n > 0 ? "bytes" : errnoName(got.n);
  }

  shutdown(how: number = SHUT_WR): void {
    checked(pvx.pvx_shutdown(this.fd, how), () => `shutdown(${how})`);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    pvx.pvx_close(this.fd);
  }
}

export function closeAll(fds: readonly number[]): void {
  for (const fd of fds) pvx.pvx_close(fd);
}

/** An fd that can be told from others: a memfd holding `number`. */
export function numbered(number: number): number {
  const fd = checked(pvx.pvx_memfd(cstring("numbered")), () => "memfd_create()");
  const word = new Memory(8);
  new Int32Array(word.buffer)[0] = number;
  pvx.pvx_write(fd, word.address, 4);
  return fd;
}
export function numberOf(fd: number): number {
  return readFileSync(`/proc/self/fd/${fd}`).readInt32LE(0);
}

function bound(path: string, type: number): number {
  const fd = unixSocket(type);
  checked(pvx.pvx_bind(fd, cstring(path), 0o666), () => `bind(${path})`);
  return fd;
}

/** A listening socket of the test's own. */
export class Provider {
  readonly path: string;
  readonly fd: number;
  constructor(path: string, type: number = SOCK_STREAM, backlog = 4096) {
    this.path = path;
    rmSync(path, { force: true });
    this.fd = bound(path, type);
    listen(this.fd, backlog);
  }
  accept(ms = WAIT_MS): Peer {
    if (pvx.pvx_wait_readable(this.fd, ms) !== 1) throw new Error(`Nobody connected within ${ms} ms`);
    return new Peer(checked(pvx.pvx_accept(this.fd), () => "accept4()"));
  }
  get waiting(): boolean {
    return pvx.pvx_wait_readable(this.fd, 0) === 1;
  }
  close(): void {
    rmSync(this.path, { force: true });
    pvx.pvx_close(this.fd);
  }
}

/** A link of the rig, by its slot and the path consumers connect to. */
export interface RigLink {
  readonly slot: number;
  readonly path: string;
}

export interface RigOptions {
  readonly fdLimit?: number;
  /** RLIMIT_NOFILE of the process, lowered with ulimit. */
  readonly rlimit?: number;
  readonly splice?: boolean;
}

export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), "pvx-rig-"));
  private readonly program: Program;
  private nextId = 0;
  private nextPath = 0;

  private constructor(options: RigOptions) {
    const { fdLimit = options.rlimit ?? 65536, rlimit, splice } = options;
    const argv = [
      process.execPath,
      join(import.meta.dir, "relay-serve.ts"),
      JSON.stringify({ fdLimit, ...(splice === undefined ? {} : { splice }) }),
    ];
    this.program = new Program(
      rlimit === undefined ? argv : ["/bin/sh", "-c", `ulimit -n ${rlimit} && exec "$@"`, "sh", ...argv],
    );
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(options);
    await rig.program.event("ready");
    return rig;
  }

  get pid(): number {
    return this.program.pid;
  }
  get running(): boolean {
    return this.program.running;
  }

  path(): string {
    return join(this.folder, `s${++this.nextPath}`);
  }

  private async order(order: RigOrder): Promise<unknown> {
    const id = ++this.nextId;
    this.program.write(`${JSON.stringify({ ...order, id })}\n`);
    return (await this.program.event<{ value: unknown }>("reply", { id })).value;
  }

  async open(config: RigConfig, link: Partial<LinkIdentity> = {}): Promise<RigLink> {
    const path = this.path();
    const { type = SOCK_STREAM } = config;
    const slot = (await this.order({ op: "open", path, type, link: { ...IDENTITY, ...link }, config })) as number;
    return { slot, path };
  }
  async replace(link: RigLink, type: number = SOCK_STREAM): Promise<RigLink> {
    const path = this.path();
    await this.order({ op: "replace", slot: link.slot, path, type });
    return { slot: link.slot, path };
  }
  configure(link: RigLink, config: RigConfig): Promise<unknown> {
    return this.order({ op: "configure", slot: link.slot, config });
  }
  close(link: RigLink): Promise<unknown> {
    return this.order({ op: "close", slot: link.slot });
  }
  async counters(link: RigLink): Promise<Record<Counter, number>> {
    return (await this.order({ op: "counters", slot: link.slot })) as Record<Counter, number>;
  }

  /** What the link has said so far, of one kind. */
  said<E extends SlotEvent["event"]>(link: RigLink, event: E): Extract<SlotEvent, { event: E }>[] {
    return this.program
      .events<{ slot: number; said: SlotEvent }>("link")
      .filter(({ slot, said }) => slot === link.slot && said.event === event)
      .map(({ said }) => said as Extract<SlotEvent, { event: E }>);
  }

  /** Waits for a log line of the link that includes `words`: lines come a little later than counters. */
  logged(link: RigLink, words: string): Promise<void> {
    return this.until(`a log line with "${words}"`, () =>
      this.said(link, "log").some(({ message }) => message.includes(words)),
    );
  }

  connect(link: RigLink, type: number = SOCK_STREAM): Peer {
    const fd = unixSocket(type);
    checked(connectPath(fd, link.path), () => `connect(${link.path})`);
    return new Peer(fd);
  }

  /** As `connect`, waiting while the backlog is full. */
  async connectSoon(link: RigLink, type: number = SOCK_STREAM): Promise<Peer> {
    const fd = unixSocket(type);
    let r = connectPath(fd, link.path);
    await this.until("the backlog has room", async () => {
      if (r === -EAGAIN) {
        await Bun.sleep(1);
        r = connectPath(fd, link.path);
      }
      return r !== -EAGAIN;
    });
    checked(r, () => `connect(${link.path})`);
    return new Peer(fd);
  }

  /** A provider, a link to it, and one session through it, both ends the test's. */
  async session(config: Partial<RigConfig> = {}) {
    const provider = new Provider(this.path(), config.type);
    const link = await this.open({ path: provider.path, ...config });
    const consumer = this.connect(link, config.type);
    return { provider, link, consumer, accept: () => provider.accept() };
  }

  // ---- what the process holds and does ----

  /** Its open fds, sockets and memory files that a test may have left there among them. */
  get fds(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }
  /** Clock ticks (10 ms) of CPU time of all its threads. */
  get cpuTicks(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
  }
  get anonymousKb(): number {
    const rollup = readFileSync(`/proc/${this.pid}/smaps_rollup`, "latin1");
    return Number(/^Anonymous:\s+(\d+)/m.exec(rollup)?.[1]);
  }

  /** Polls until the answer is true; throws with `what` otherwise. */
  async until(what: string, ask: () => boolean | Promise<boolean>, ms = WAIT_MS): Promise<void> {
    const end = performance.now() + ms;
    while (!(await ask())) {
      if (performance.now() > end) throw new Error(`Not within ${ms} ms: ${what}`);
      await Bun.sleep(5);
    }
  }
  async noSessions(link: RigLink, ms = WAIT_MS): Promise<void> {
    await this.until("no session is left", async () => (await this.counters(link)).sessions === 0, ms);
  }

  async stop(): Promise<void> {
    await this.program.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export { SOCK_SEQPACKET, SOCK_STREAM };
