/**
 * Unix sockets: the cold calls (socket, bind, listen, connect, options). The hot
 * ones (recv, send, accept) are called on `pvx` directly by the relay.
 *
 * All sockets are non-blocking and close-on-exec from birth.
 */
import { checked } from "./errno.ts";
import { cstring, Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** sizeof(struct sockaddr_un) */
export const ADDRESS_BYTES = 110;
const AF_UNIX = 1;

/** A struct sockaddr_un (unix(7)) of a path of up to 107 bytes; RangeError beyond. */
export function unixAddress(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length > ADDRESS_BYTES - 3) throw new RangeError(`Cannot make a socket address of ${bytes.length} bytes`);
  const address = new Uint8Array(ADDRESS_BYTES);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, 2);
  return address;
}

/** SOCK_STREAM or SOCK_SEQPACKET */
export function unixSocket(type: number): number {
  return checked(pvx.pvx_socket(type), () => `socket(AF_UNIX, ${type})`);
}

/**
 * Binds to `name` in the directory behind `dir`, through /proc/self/fd, so neither
 * the container's links nor sun_path's 107 bytes matter. The inode has exactly
 * `mode` and the thread's fsuid/fsgid as owner from the start.
 */
export function bindAt(fd: number, dir: number, name: string, mode: number): void {
  checked(pvx.pvx_bind(fd, cstring(`/proc/self/fd/${dir}/${name}`), mode), () => `bind(${JSON.stringify(name)})`);
}

export function listen(fd: number, backlog: number): void {
  checked(pvx.pvx_listen(fd, backlog), () => `listen(${fd}, ${backlog})`);
}

/** Connects to the socket behind an O_PATH fd. 0 or -errno: refusals are ordinary. */
export function connectTo(fd: number, pathFd: number): number {
  return pvx.pvx_connect(fd, cstring(`/proc/self/fd/${pathFd}`));
}

/**
 * As `connectTo`, as another uid and gid with no supplementary groups: what the
 * provider sees in SO_PEERCRED and SO_PEERGROUPS. The thread is root again afterwards.
 */
export function connectToAs(fd: number, pathFd: number, uid: number, gid: number): number {
  return pvx.pvx_connect_as(fd, cstring(`/proc/self/fd/${pathFd}`), uid, gid);
}

/** For tests and clients of the daemon's own; path up to 107 bytes. */
export function connectPath(fd: number, path: string): number {
  return pvx.pvx_connect(fd, cstring(path));
}

const credentials = new Memory(12);
const credentialsView = new Uint32Array(credentials.buffer);

/** SO_PEERCRED of a connected socket. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  checked(pvx.pvx_peercred(fd, credentials.address), () => `getsockopt(${fd}, SO_PEERCRED)`);
  return { pid: credentialsView[0]!, uid: credentialsView[1]!, gid: credentialsView[2]! };
}
