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
import { canGuard, fd, NR, result } from "../sys/guarded.ts";
import { cstring } from "../sys/memory.ts";
import { QuickStat } from "../sys/quick-stat.ts";
import { pvx } from "../sys/shim.ts";
import { trustOf } from "./file-systems.ts";
import type { PeerRoot } from "./peer-root.ts";
import { walk } from "./walk.ts";

/** Deadline of one walk. The data plane stands still meanwhile, so short; what was read for it stays cached for the next try. */
const WALK_MS = 100;
/** Pause after a walk that found nothing: a provider that is not up yet costs at most 20 walks a second. */
const RETRY_MS = 50;
/** How long a walk's result serves, from its end on, where the cache alone can't answer (old kernels, network file systems). */
const FOUND_MS = 50;

const IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
const O_FIND = O_PATH | O_CLOEXEC;

export interface Found {
  /** O_PATH fd of the inode; stays the finder's, valid until `dropFresh` or its next call. */
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

  /** The caller is done with what `find` gave. */
  dropFresh(): void {
    if (this.fresh >= 0) pvx.pvx_close(this.fresh);
    this.fresh = -1;
  }

  private findIn(root: number, now: number): Found | NotFound {
    const found = pvx.pvx_openat2(root, cstring(this.path), O_FIND, 0, IN_ROOT | RESOLVE_CACHED);
    if (found >= 0) {
      this.fresh = found;
      if (this.peer.pid === 0) return { fd: found, local: true };
      const { known } = this;
      if (known !== undefined && stat.read(found) === 0 && stat.deviceNumber === known.device)
        return { fd: found, local: known.local };
      this.dropFresh();
    } else if (found !== -EAGAIN && found !== -EINVAL && found !== -ENOSYS) {
      return this.refusal("openat2", found);
    }
    return this.knownOrWalk(root, now);
  }

  private knownOrWalk(root: number, now: number): Found | NotFound {
    if (this.known !== undefined && now - this.known.at < FOUND_MS) return this.known;
    if (now < this.nextWalk) return this.lastFailure;
    const outcome = this.walk(root);
    if ("reason" in outcome) {
      this.forget();
      this.lastFailure = outcome;
      this.nextWalk = performance.now() + RETRY_MS;
    }
    return outcome;
  }

  private walk(root: number): Found | NotFound {
    const call = `openat2(${JSON.stringify(this.path)}, O_PATH, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)`;
    const how = new BigUint64Array([BigInt(O_FIND), 0n, BigInt(IN_ROOT)]);
    try {
      const program = walk(
        this.peer.scope,
        [
          { call, nr: NR.openat2, args: [fd(root), this.path, new Uint8Array(how.buffer), 24], handsBack: true },
          { call: `fstatfs(${JSON.stringify(this.path)})`, nr: NR.fstatfs, args: [result(0), new Uint8Array(120)] },
        ],
        WALK_MS,
      );
      const magic = new DataView(program.output(1, 1, 8).buffer).getUint32(0, true);
      return this.remember(program.results[0]!, magic);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      if (this.peer.pid === 0 && (!canGuard() || error.errno === ENOSYS)) return this.openPlainly();
      return this.refusal(error.call, -error.errno);
    }
  }

  private remember(inode: number, magic: number): Found | NotFound {
    this.forget();
    stat.read(inode);
    const device = stat.deviceNumber;
    const trust = this.peer.pid === 0 ? "local" : trustOf(magic, stat.device);
    if (trust === "fuse") {
      pvx.pvx_close(inode);
      return { retry: false, reason: `${this.where()} lies on a FUSE file system, whose server may never answer` };
    }
    this.known = { fd: inode, local: trust === "local", device, at: performance.now() };
    return this.known;
  }

  /** Where no child can be cloned (user-mode emulators) or openat2 is missing: the host's own paths are walked as they are. */
  private openPlainly(): Found | NotFound {
    const inode = pvx.pvx_openat(AT_FDCWD, cstring(this.path), O_FIND, 0);
    if (inode < 0) return this.refusal(`open(${JSON.stringify(this.path)}, O_PATH)`, inode);
    this.fresh = inode;
    return { fd: inode, local: true };
  }

  private refusal(call: string, r: number): NotFound {
    const retry = [ENOENT, EAGAIN, EMFILE, ENFILE, ENOMEM, ETIMEDOUT].includes(-r);
    return { retry, reason: `${this.where()}: ${call.startsWith("openat2") ? "" : `${call}: `}${errnoName(r)}` };
  }

  private where(): string {
    return this.peer.pid === 0 ? this.path : `${this.path} in process ${this.peer.pid}`;
  }
}
