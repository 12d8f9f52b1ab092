/** errno names (asm-generic/errno-base.h, errno.h; the same on x86_64 and aarch64) and the error that carries one call. */
import { constants } from "node:os";

const NAMES = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) {
  // EWOULDBLOCK and EOPNOTSUPP share numbers with better known names, which come first.
  if (typeof value === "number" && !NAMES.has(value)) NAMES.set(value, name);
}
for (const [value, name] of [
  [40, "ELOOP"],
  [18, "EXDEV"],
  [117, "EUCLEAN"],
  [109, "ETOOMANYREFS"],
  [108, "ESHUTDOWN"],
] as const)
  NAMES.set(value, name);

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EINTR = 4;
export const ENXIO = 6;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const EXDEV = 18;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const EROFS = 30;
export const EPIPE = 32;
export const EDEADLK = 35;
export const ENAMETOOLONG = 36;
export const ENOSYS = 38;
export const ELOOP = 40;
export const EPROTO = 71;
export const EPROTOTYPE = 91;
export const ENOTSUP = 95;
export const EADDRINUSE = 98;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
export const ESTALE = 116;

/** "ENOENT" for 2 or -2; "errno 999" for what has no name. */
export function errnoName(errno: number): string {
  const value = Math.abs(errno);
  return NAMES.get(value) ?? `errno ${value}`;
}

/** One failed system call: the whole call and its errno, strace-like. */
export class SysError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly call: string;
  constructor(call: string, result: number) {
    const code = errnoName(result);
    super(`${call}: ${code}`);
    this.name = "SysError";
    this.errno = Math.abs(result);
    this.code = code;
    this.call = call;
  }
}

/** The result of a shim call, or a SysError that names the call. `call` is only asked for on failure. */
export function checked(result: number, call: () => string): number {
  if (result < 0) throw new SysError(call(), result);
  return result;
}
