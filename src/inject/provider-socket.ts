/**
 * Finds a provider's socket inode: the path as the provider sees it, resolved inside
 * the provider's root, and never waited for without a deadline.
 *
 * The common case is one openat2 with RESOLVE_CACHED: it answers from the dentry cache
 * or not at all, so nothing that the provider does to its directories (a FUSE mount
 * that never answers, a directory lock held through a stalled page fault) can hold the
 * data plane. What the cache does not know is walked by a child with a deadline.
 */
import {
  EAGAIN,
  EINVAL,
  EMFILE,
  ENFILE,
  ENOENT,
  ENOMEM,
  ENOSYS,
  ETIMEDOUT,
  errnoName,
  SysError,
} from "../sys/errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH, RESOLVE_CACHED, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } from "../sys/flags.ts";
import { guarded, NR, result } from "../sys/guarded.ts";
import { cstring } from "../sys/memory.ts";
import { QuickStat } from "../sys/quick-stat.ts";
import { pvx } from "../sys/shim.ts";
import { trustOf } from "./file-systems.ts";
import type { PeerRoot } from "./peer-root.ts";
import { Quarantine } from "./quarantine.ts";

/** Deadline of one walk. The data plane stands still meanwhile, so short; what was read for it stays cached for the next try. */
const WALK_MS = 100;
/** Pause after a walk that found nothing: a provider that is not up yet costs at most 20 walks a second. */
const RETRY_MS = 50;
/** How long a walk's result serves where the cache alone can't answer (old kernels, network file systems). */
const FOUND_MS = 50;

const IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
const O_FIND = O_PATH | O_CLOEXEC;

export interface Found {
  /** O_PATH fd of the inode; stays the finder's, valid until its next call. */
  readonly fd: number;
  /** False: touch it under guard only. */
  readonly local: boolean;
}
export interface NotFound {
  readonly retry: boolean;
  readonly reason: string;
}

/** Last inode that a walk examined. Held open: while it is, its device number is no other file system's. */
interface Known extends Found {
  readonly device: number;
  readonly at: number;
}

const stat = new QuickStat();
const quarantine = new Quarantine();

export class SocketFinder {
  private readonly peer: PeerRoot;
  private readonly path: string;
  private known: Known | undefined;
  private fresh = -1;
  private nextWalk = 0;
  private lastFailure: NotFound = { retry: true, reason: "not looked for yet" };

  constructor(peer: PeerRoot, path: string) {
    this.peer = peer;
    this.path = path;
  }

  /** `now`: milliseconds of a monotonic clock. */
  find(now: number): Found | NotFound {
    this.dropFresh();
    const root = this.peer.open();
    if (typeof root === "string") {
      this.forget();
      return { retry: true, reason: root };
    }
    try {
      return this.findIn(root, now);
    } finally {
      this.peer.release(root);
    }
  }

  /** What was found turned out wrong: nothing of it is used again. */
  forget(): void {
    this.dropFresh();
    if (this.known !== undefined) pvx.pvx_close(this.known.fd);
    this.known = undefined;
  }

  private dropFresh(): void {
    if (this.fresh >= 0) pvx.pvx_close(this.fresh);
    this.fresh = -1;
  }

  private findIn(root: number, now: number): Found | NotFound {
    const fd = pvx.pvx_openat2(root, cstring(this.path), O_FIND, 0, IN_ROOT | RESOLVE_CACHED);
    if (fd >= 0) {
      this.fresh = fd;
      if (this.peer.pid === 0) return { fd, local: true };
      const { known } = this;
      if (known !== undefined && stat.read(fd) === 0 && stat.deviceNumber === known.device)
        return { fd, local: known.local };
      this.dropFresh();
    } else if (fd !== -EAGAIN && fd !== -EINVAL && fd !== -ENOSYS) {
      return this.refusal("openat2", fd);
    }
    return this.knownOrWalk(root, now);
  }

  private knownOrWalk(root: number, now: number): Found | NotFound {
    if (this.known !== undefined && now - this.known.at < FOUND_MS) return this.known;
    if (now < this.nextWalk) return this.lastFailure;
    const pause = this.peer.pid === 0 ? 0 : quarantine.remaining(String(this.peer.pid), now);
    if (pause > 0)
      return {
        retry: true,
        reason: `a path in process ${this.peer.pid} did not answer in time; next try in ${Math.ceil(pause)} ms`,
      };
    const outcome = this.walk(root, now);
    if ("reason" in outcome) {
      this.forget();
      this.lastFailure = outcome;
      this.nextWalk = now + RETRY_MS;
    }
    return outcome;
  }

  private walk(root: number, now: number): Found | NotFound {
    const call = `openat2(${JSON.stringify(this.path)}, O_PATH, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)`;
    const how = new BigUint64Array([BigInt(O_FIND), 0n, BigInt(IN_ROOT)]);
    try {
      const program = guarded(
        [
          { call, nr: NR.openat2, args: [root, this.path, new Uint8Array(how.buffer), 24] },
          { call: `fstatfs(${JSON.stringify(this.path)})`, nr: NR.fstatfs, args: [result(0), new Uint8Array(120)] },
        ],
        WALK_MS,
      );
      const magic = new DataView(program.output(1, 1, 8).buffer).getUint32(0, true);
      return this.remember(program.results[0]!, magic, now);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      if (this.peer.pid === 0 && (error.call.startsWith("clone") || error.errno === ENOSYS)) return this.openPlainly();
      if (error.errno === ETIMEDOUT) quarantine.strike(String(this.peer.pid), now);
      return this.refusal(error.call, -error.errno);
    }
  }

  private remember(fd: number, magic: number, now: number): Found | NotFound {
    this.forget();
    stat.read(fd);
    const device = stat.deviceNumber;
    const trust = this.peer.pid === 0 ? "local" : trustOf(magic, stat.device);
    if (trust === "fuse") {
      pvx.pvx_close(fd);
      return { retry: false, reason: `${this.where()} lies on a FUSE file system, whose server may never answer` };
    }
    this.known = { fd, local: trust === "local", device, at: now };
    return this.known;
  }

  /** Where no child can be cloned (user-mode emulators) or openat2 is missing: the host's own paths are walked as they are. */
  private openPlainly(): Found | NotFound {
    const fd = pvx.pvx_openat(AT_FDCWD, cstring(this.path), O_FIND, 0);
    if (fd < 0) return this.refusal(`open(${JSON.stringify(this.path)}, O_PATH)`, fd);
    this.fresh = fd;
    return { fd, local: true };
  }

  private refusal(call: string, r: number): NotFound {
    const retry = [ENOENT, EAGAIN, EMFILE, ENFILE, ENOMEM, ETIMEDOUT].includes(-r);
    return { retry, reason: `${this.where()}: ${call.startsWith("openat2") ? "" : `${call}: `}${errnoName(r)}` };
  }

  private where(): string {
    return this.peer.pid === 0 ? this.path : `${this.path} in process ${this.peer.pid}`;
  }
}
