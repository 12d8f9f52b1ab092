/**
 * Connects to a provider's socket, once for each session: about ten system calls, none
 * of which can wait for the provider. Runs in the data plane.
 *
 * Ownership: the connected fd is the caller's. The dialer keeps at most two fds of
 * its own (a pidfd, and the inode found last), given back by `close`.
 */
import type { Dial } from "../relay/filter.ts";
import { closeApart } from "../sys/close-apart.ts";
import {
  EAGAIN,
  ECONNREFUSED,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOENT,
  ENOMEM,
  EPROTOTYPE,
  ETIMEDOUT,
  errnoName,
} from "../sys/errno.ts";
import { S_IFMT, S_IFSOCK, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM } from "../sys/flags.ts";
import { QuickStat } from "../sys/quick-stat.ts";
import { pvx } from "../sys/shim.ts";
import { connectTo, connectToAs } from "../sys/unix-socket.ts";
import { connectGuarded } from "./guarded-connect.ts";
import { PeerRoot } from "./peer-root.ts";
import { type Found, SocketFinder } from "./provider-socket.ts";

/** Where a link's provider listens. Plain data: it crosses to the data plane. */
export interface ProviderEndpoint {
  /** 0: the host. */
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, where known: another process with the same pid is refused. */
  readonly startTime?: string;
  /** Absolute, as the provider sees it. */
  readonly path: string;
  readonly seqpacket: boolean;
  /** Who the provider sees in SO_PEERCRED, in the host's ids; the daemon itself where absent. */
  readonly uid?: number;
  /** Absent with a uid: the group of the same number, never the daemon's own. */
  readonly gid?: number;
}

/** Refusals that end by themselves: not listening yet, backlog full, out of fds or memory. */
const PASSING: ReadonlySet<number> = new Set([
  ENOENT,
  ECONNREFUSED,
  EAGAIN,
  EMFILE,
  ENFILE,
  ENOMEM,
  ENOBUFS,
  ETIMEDOUT,
]);

interface ConnectRefusal {
  readonly retry: boolean;
  readonly reason: string;
  readonly errno?: number;
}

const stat = new QuickStat();

export class ProviderDialer {
  private endpoint: ProviderEndpoint;
  private peer: PeerRoot;
  private finder: SocketFinder;

  constructor(endpoint: ProviderEndpoint) {
    this.endpoint = endpoint;
    this.peer = new PeerRoot(endpoint.pid, endpoint.startTime);
    this.finder = new SocketFinder(this.peer, endpoint.path);
  }

  /** A new connection to the provider, non-blocking. */
  dial(): Dial {
    const r = this.connect(this.endpoint.seqpacket ? SOCK_SEQPACKET : SOCK_STREAM);
    return typeof r === "number" ? { ok: true, fd: r } : { ok: false, retry: r.retry, reason: r.reason };
  }

  /** The provider restarted, moved its socket, or is reached as somebody else. */
  update(endpoint: ProviderEndpoint): void {
    const { pid, startTime, path } = this.endpoint;
    this.endpoint = endpoint;
    if (pid === endpoint.pid && startTime === endpoint.startTime && path === endpoint.path) return;
    this.close();
    this.peer = new PeerRoot(endpoint.pid, endpoint.startTime);
    this.finder = new SocketFinder(this.peer, endpoint.path);
  }

  close(): void {
    this.finder.forget();
    this.peer.close();
  }

  /** The connected fd, or why not, with the errno of connect(2) where it came to that. */
  connect(type: number): number | ConnectRefusal {
    const found = this.finder.find(performance.now());
    if ("reason" in found) return { retry: found.retry, reason: `Cannot reach the provider: ${found.reason}` };
    const result = this.connectAs(type, found);
    this.finder.dropFresh();
    if (typeof result === "object" && result.errno !== EAGAIN) this.finder.forget();
    return result;
  }

  private connectAs(type: number, found: Found): number | ConnectRefusal {
    const fd = pvx.pvx_socket(type);
    if (fd < 0) return { retry: PASSING.has(-fd), reason: `Cannot reach the provider: socket(): ${errnoName(fd)}` };
    const r = this.connectFound(fd, found);
    if (r === 0) return fd;
    pvx.pvx_close(fd);
    return this.explain(r, found);
  }

  private connectFound(fd: number, found: Found): number {
    const { uid } = this.endpoint;
    const gid = this.endpoint.gid ?? uid ?? 0;
    if (!found.local)
      return connectGuarded(fd, found.fd, uid === undefined ? undefined : { uid, gid }, this.peer.scope);
    return uid === undefined ? connectTo(fd, found.fd) : connectToAs(fd, found.fd, uid, gid);
  }

  private explain(r: number, found: Found): ConnectRefusal {
    const { pid, path, seqpacket, uid } = this.endpoint;
    const where = pid === 0 ? path : `${path} in process ${pid}`;
    const errno = -r;
    // connect(2) answers ECONNREFUSED for an inode that is no socket at all.
    if (r === -ECONNREFUSED && stat.read(found.fd) === 0 && (stat.mode & S_IFMT) !== S_IFSOCK)
      return { retry: false, errno, reason: `Cannot reach the provider: ${where} is not a socket` };
    if (r === -EPROTOTYPE) {
      const expected = seqpacket ? "seqpacket" : "stream";
      return { retry: false, errno, reason: `Cannot reach the provider: ${where} is not a ${expected} socket` };
    }
    const as = uid === undefined ? "" : ` as uid ${uid}`;
    return {
      retry: PASSING.has(errno),
      errno,
      reason: `Cannot reach the provider: connect(${JSON.stringify(where)})${as}: ${errnoName(r)}`,
    };
  }
}

export type SocketTypeProbe = "stream" | "seqpacket" | "absent" | { readonly refused: string };

/**
 * What kind of socket the provider listens on. Asks with SOCK_SEQPACKET, so a stream
 * provider sees nothing; a seqpacket provider sees one connection that ends at once.
 */
export function probeSocketType(endpoint: ProviderEndpoint): SocketTypeProbe {
  const dialer = new ProviderDialer({ ...endpoint, seqpacket: true });
  try {
    const first = dialer.connect(SOCK_SEQPACKET);
    if (typeof first === "number") {
      // It may have been sent something already.
      closeApart(first, true);
      return "seqpacket";
    }
    if (first.errno === EAGAIN) return "seqpacket";
    if (first.errno !== EPROTOTYPE) return first.retry ? "absent" : { refused: first.reason };
    // A stream socket refuses a datagram peer; a datagram socket takes it, and is told nothing.
    const second = dialer.connect(SOCK_DGRAM);
    if (typeof second !== "number") return second.errno === EPROTOTYPE ? "stream" : { refused: second.reason };
    pvx.pvx_close(second);
    return { refused: `Cannot mediate ${endpoint.path}: it is a datagram socket; stream and seqpacket are supported` };
  } finally {
    dialer.close();
  }
}
