/**
 * One direction of a Wayland session: cuts the stream into messages, asks a judge about
 * the few that concern it, and sends the rest on in as few pieces as possible.
 *
 * fds have no place of their own among the bytes: libwayland wants each at or before
 * its message, in order. So the ones that come with a chunk leave with the first byte
 * that is sent after it has come. A chunk that ends inside a message leaves that part
 * here, and the fds that came with nothing else wait with it: they precede its bytes.
 */
import { Framer } from "../../protocol/wayland/framer.ts";
import { HEADER_BYTES, opcodeAt, readU32, sizeAt } from "../../protocol/wayland/wire.ts";
import type { Sink } from "../../relay/filter.ts";

/** MAX_FDS_OUT of libwayland's connection.c: its receivers have room for so many a message. */
export const FDS_PER_MESSAGE = 28;
/**
 * fds of one direction that wait for a first byte to leave with. Two full receives of the
 * kernel's 253; a message has at most 20 arguments, so nobody honest gets near.
 */
export const HELD_FDS_MAX = 512;
/** The same of all sessions of a link, so that many connections can't use up the daemon's fds (as LINK_FDS_MAX of the relay). */
export const LINK_HELD_FDS_MAX = 1024;

/** fds that the sessions of one link hold at the moment. */
export interface HeldFds {
  count: number;
}

export type Verdict =
  | "pass"
  /** Not sent on. */
  | "drop"
  /** This instead. */
  | { readonly replace: Uint8Array }
  | Refusal;

/** The session ends with this wl_display.error. */
export interface Refusal {
  readonly objectId: number;
  readonly code: number;
  /** For the consumer. */
  readonly text: string;
  /** For the log. */
  readonly reason: string;
}

export interface Judge {
  /** Whether messages of this object are looked at: all others pass unseen. */
  concerns(id: number): boolean;
  /** One whole message. */
  judge(bytes: Uint8Array, start: number, size: number, id: number, opcode: number): Verdict;
  /** A size that no message can have. */
  malformed(id: number, opcode: number, size: number): Refusal;
  /** More fds than may wait. */
  tooManyFds(): Refusal;
  /** Ends the session. All that precedes the refused message has been sent on by then. */
  refuse(refusal: Refusal): void;
}

export class Flow {
  private readonly sink: Sink;
  private readonly judge: Judge;
  private readonly linkHeld: HeldFds;
  private readonly framer = new Framer();
  private held: number[] = [];

  constructor(sink: Sink, judge: Judge, linkHeld: HeldFds) {
    this.sink = sink;
    this.judge = judge;
    this.linkHeld = linkHeld;
  }

  /** What has arrived. False: the session has ended, by way of `refuse`. */
  pump(buffer: Uint8Array, length: number, fds: readonly number[]): boolean {
    if (fds.length > 0 && !this.hold(fds)) {
      this.judge.refuse(this.judge.tooManyFds());
      return false;
    }
    let at = 0;
    if (this.framer.carried > 0) {
      const taken = this.finishCarried(buffer, length);
      if (taken < 0) return false;
      at = taken;
    }
    let run = at;
    while (length - at >= HEADER_BYTES) {
      const size = sizeAt(buffer, at);
      if (size === 0) {
        this.forward(run, at);
        this.refuseMalformed(buffer, at);
        return false;
      }
      if (size > length - at) break;
      const id = readU32(buffer, at);
      if (this.judge.concerns(id)) {
        const verdict = this.judge.judge(buffer, at, size, id, opcodeAt(buffer, at));
        if (verdict !== "pass") {
          this.forward(run, at);
          if (!this.act(verdict)) return false;
          run = at + size;
        }
      }
      at += size;
    }
    this.forward(run, at);
    this.framer.keep(buffer, at, length);
    return true;
  }

  /** fds that will not be sent any more; the caller closes them. */
  surrender(): number[] {
    const { held } = this;
    this.held = [];
    this.linkHeld.count -= held.length;
    return held;
  }

  /** The carried message and the start of a chunk that may complete it. Bytes taken of the chunk, or -1: ended. */
  private finishCarried(buffer: Uint8Array, length: number): number {
    const { framer } = this;
    const { taken, state } = framer.fill(buffer, length);
    if (state === "part") return taken;
    const { bytes } = framer;
    if (state === "malformed") {
      this.refuseMalformed(bytes, 0);
      return -1;
    }
    const id = readU32(bytes, 0);
    const verdict = this.judge.concerns(id) ? this.judge.judge(bytes, 0, bytes.length, id, opcodeAt(bytes, 0)) : "pass";
    if (verdict === "pass") this.write(bytes);
    else if (!this.act(verdict)) return -1;
    framer.clear();
    return taken;
  }

  /** False: the session has ended. */
  private act(verdict: Exclude<Verdict, "pass">): boolean {
    if (verdict === "drop") return true;
    if ("replace" in verdict) {
      this.write(verdict.replace);
      return true;
    }
    this.judge.refuse(verdict);
    return false;
  }

  private refuseMalformed(bytes: Uint8Array, at: number): void {
    const claimed = bytes[at + 6]! | (bytes[at + 7]! << 8);
    this.judge.refuse(this.judge.malformed(readU32(bytes, at), opcodeAt(bytes, at), claimed));
  }

  private hold(fds: readonly number[]): boolean {
    for (const fd of fds) this.held.push(fd);
    this.linkHeld.count += fds.length;
    return this.held.length <= HELD_FDS_MAX && this.linkHeld.count <= LINK_HELD_FDS_MAX;
  }

  /** The fds to leave with `bytes` bytes: each message needs one byte of its own to carry at most 28. */
  private fdsFor(bytes: number): readonly number[] | undefined {
    if (this.held.length === 0) return undefined;
    const fds = this.held.splice(0, bytes * FDS_PER_MESSAGE);
    this.linkHeld.count -= fds.length;
    return fds;
  }

  private forward(start: number, end: number): void {
    if (start < end) this.sink.forward(start, end, this.fdsFor(end - start));
  }
  private write(bytes: Uint8Array): void {
    this.sink.write(bytes, this.fdsFor(bytes.length));
  }
}
