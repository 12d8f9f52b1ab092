/**
 * A `Session` without sockets, for the unit and property tests of filters: what the
 * filter sends is kept as bytes and fds a side, with the same rules that the relay
 * enforces (forward only inside a call, only inside the chunk; one owner for each fd).
 */
import type { AuditRecord, Filter, LinkIdentity, PeerCredentials, Session, Sink } from "../../src/relay/filter.ts";

export const IDENTITY: LinkIdentity = {
  type: "unix",
  name: "service",
  consumer: "app",
  provider: "backend",
  role: "any",
  interface: "unix",
  target: "/run/pv/services/service.sock",
};

export interface Sent {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
}

export class MemorySink implements Sink {
  readonly sent: Sent[] = [];
  ended = false;
  /** Set by a test to pretend that the peer does not read. */
  queued = 0;
  private readonly owner: MemorySession;
  constructor(owner: MemorySession) {
    this.owner = owner;
  }
  forward(start: number, end: number, fds: readonly number[] = []): void {
    const chunk = this.owner.chunk;
    if (chunk === undefined) throw new Error("forward() outside of a chunk");
    if (!(0 <= start && start <= end && end <= chunk.length))
      throw new Error(`forward(${start}, ${end}) outside of the chunk of ${chunk.length}`);
    this.push(chunk.slice(start, end), fds);
  }
  write(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.push(bytes.slice(), fds);
  }
  end(): void {
    this.ended = true;
  }
  private push(bytes: Uint8Array, fds: readonly number[]): void {
    if (this.ended) throw new Error("bytes after end()");
    if (fds.length > 0 && bytes.length === 0) throw new Error("fds without a byte to carry them");
    for (const fd of fds) this.owner.disown(fd, "sent");
    if (bytes.length > 0) this.sent.push({ bytes, fds: [...fds] });
  }
  /** All bytes so far, joined. */
  get bytes(): Uint8Array {
    return Uint8Array.from(Buffer.concat(this.sent.map((s) => s.bytes)));
  }
  get text(): string {
    return Buffer.from(this.bytes).toString("latin1");
  }
  get fds(): number[] {
    return this.sent.flatMap((s) => [...s.fds]);
  }
}

/** Numbers stand for fds; every one given in must be sent or closed exactly once (`leakedFds`). */
export class MemorySession implements Session {
  readonly link: LinkIdentity;
  readonly peer: PeerCredentials;
  readonly upstream = new MemorySink(this);
  readonly downstream = new MemorySink(this);
  readonly denied: AuditRecord[] = [];
  readonly logged: string[] = [];
  readonly reported: { kind: string; record: Readonly<Record<string, unknown>> }[] = [];
  clock = 1000;
  deadline = 0;
  connects = 0;
  passing = false;
  /** `pauseConsumer`: the real relay would not read the consumer now. */
  paused = false;
  credentialsAttached = false;
  /** "open", or why it ended. */
  state = "open";
  chunk: Uint8Array | undefined;
  filter: Filter | undefined;
  private readonly owned = new Set<number>();

  constructor(link: Partial<LinkIdentity> = {}, peer: PeerCredentials = { pid: 100, uid: 0, gid: 0 }) {
    this.link = { ...IDENTITY, ...link };
    this.peer = peer;
  }
  now(): number {
    return this.clock;
  }
  setDeadline(at: number): void {
    this.deadline = at;
  }
  pauseConsumer(paused: boolean): void {
    this.paused = paused;
  }
  get closed(): boolean {
    return this.state !== "open";
  }
  connectUpstream(): void {
    this.connects++;
  }
  finish(reason: string): void {
    this.close(`finished: ${reason}`);
  }
  abort(reason: string): void {
    this.close(`aborted: ${reason}`);
  }
  passThrough(): void {
    this.passing = true;
  }
  attachCredentials(): void {
    this.credentialsAttached = true;
  }
  deny(record: AuditRecord): void {
    this.denied.push(record);
  }
  closeFds(fds: readonly number[]): void {
    for (const fd of fds) this.disown(fd, "closed");
  }
  log(level: string, message: string): void {
    this.logged.push(`${level} ${message}`);
  }
  report(kind: string, record: Readonly<Record<string, unknown>>): void {
    this.reported.push({ kind, record });
  }

  /** The consumer's bytes arrive. `split` > 0 cuts them into chunks of that size; fds come with the first. */
  consumerSends(bytes: Uint8Array | string, fds: readonly number[] = [], split = 0): void {
    this.deliver(bytes, fds, split, true);
  }
  providerSends(bytes: Uint8Array | string, fds: readonly number[] = [], split = 0): void {
    this.deliver(bytes, fds, split, false);
  }
  /** fds that the filter was given and neither sent nor closed. */
  get leakedFds(): number[] {
    return [...this.owned];
  }
  /** Time passes; the deadline fires when it is due. */
  advance(ms: number): void {
    this.clock += ms;
    if (this.state === "open" && this.deadline !== 0 && this.clock >= this.deadline) {
      this.deadline = 0;
      this.filter?.onDeadline?.();
    }
  }
  /** The relay's last call. */
  end(): void {
    this.close("ended by the test");
  }
  disown(fd: number, how: string): void {
    if (!this.owned.delete(fd)) throw new Error(`fd ${fd} ${how} but not owned`);
  }

  private deliver(data: Uint8Array | string, fds: readonly number[], split: number, fromConsumer: boolean): void {
    const bytes = typeof data === "string" ? Uint8Array.from(Buffer.from(data, "latin1")) : data;
    const step = split > 0 ? split : Math.max(bytes.length, 1);
    for (let at = 0; at < bytes.length; at += step) {
      if (this.state !== "open") return;
      // A copy in a larger buffer that is scribbled over afterwards: a filter that keeps the view is found out.
      const piece = bytes.subarray(at, at + step);
      const buffer = new Uint8Array(piece.length + 16).fill(0xaa);
      buffer.set(piece);
      const carried = at === 0 ? fds : [];
      for (const fd of carried) this.owned.add(fd);
      this.chunk = buffer.subarray(0, piece.length);
      if (this.passing || this.filter === undefined)
        (fromConsumer ? this.upstream : this.downstream).forward(0, piece.length, carried);
      else if (fromConsumer) this.filter.fromConsumer(buffer, piece.length, carried);
      else this.filter.fromProvider(buffer, piece.length, carried);
      this.chunk = undefined;
      buffer.fill(0x55);
    }
  }
  private close(state: string): void {
    if (this.state !== "open") return;
    this.state = state;
    this.chunk = undefined;
    this.filter?.onClosed?.();
  }
}
