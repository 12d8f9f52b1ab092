/**
 * connect(2) in a child with a deadline, for a socket on a file system that might ask
 * a server for permission. The provider then sees the right uid and gid, and the pid
 * of the child, which has gone by then: a connection made by the daemon itself would be
 * one that a provider can hang.
 */
import { EINVAL, SysError } from "../sys/errno.ts";
import { late, NR, fd as own, type Step } from "../sys/guarded.ts";
import { ADDRESS_BYTES, unixAddress } from "../sys/unix-socket.ts";
import { walk } from "./walk.ts";

/** As for the walk to the socket: the data plane stands still meanwhile. */
const CONNECT_MS = 100;
const UNCHANGED = 0xffff_ffff;
const PR_SET_SECUREBITS = 28;
/** Keeps the capabilities over setresuid, as pvx_connect_as does: sockets of mode 0600 are reached. */
const NO_SETUID_FIXUP = 4;

/** 0 or -errno; -ETIMEDOUT when nobody answered. `scope`: whose socket it is, as in `walk`. */
export function connectGuarded(
  fd: number,
  pathFd: number,
  as: { readonly uid: number; readonly gid: number } | undefined,
  scope: string | undefined,
): number {
  const address = late(pathFd, (inside) => unixAddress(`/proc/self/fd/${inside}`));
  const steps: Step[] = [];
  if (as !== undefined) {
    const { uid, gid } = as;
    // setresuid(2) takes -1 for "leave it as it is", which is root.
    if (uid === UNCHANGED || gid === UNCHANGED) return -EINVAL;
    steps.push(
      { call: "prctl(PR_SET_SECUREBITS)", nr: NR.prctl, args: [PR_SET_SECUREBITS, NO_SETUID_FIXUP] },
      { call: "setgroups(0)", nr: NR.setgroups, args: [0, 0] },
      { call: `setresgid(${gid})`, nr: NR.setresgid, args: [gid, gid, gid] },
      { call: `setresuid(${uid})`, nr: NR.setresuid, args: [uid, uid, uid] },
    );
  }
  steps.push({ call: "connect()", nr: NR.connect, args: [own(fd), address, ADDRESS_BYTES] });
  try {
    walk(scope, steps, CONNECT_MS);
    return 0;
  } catch (error) {
    if (error instanceof SysError) return -error.errno;
    throw error;
  }
}
