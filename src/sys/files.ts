/**
 * File-system calls by directory fd. Nothing here takes a path that is resolved in
 * the daemon's own root unless the caller says AT_FDCWD.
 *
 * Ownership: an fd returned is the caller's. Errors: SysError with the whole call.
 */
import { checked, SysError } from "./errno.ts";
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from "./flags.ts";
import { cold, type StatxFields } from "./koffi.ts";
import { cstring, cstring2, Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** What tells one file-system object from another while both exist. Decimal strings: inode numbers use all 64 bits. */
export interface ObjectId {
  readonly dev: string;
  readonly ino: string;
}

export interface Stat extends ObjectId {
  /** st_mode with the type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}

export const sameObject = (a: ObjectId, b: ObjectId): boolean => a.dev === b.dev && a.ino === b.ino;

const KINDS: Readonly<Record<number, string>> = {
  [S_IFSOCK]: "a socket",
  [S_IFLNK]: "a symbolic link",
  [S_IFREG]: "a regular file",
  [S_IFBLK]: "a block device",
  [S_IFDIR]: "a directory",
  [S_IFCHR]: "a character device",
  [S_IFIFO]: "a fifo",
};
/** "a socket", "a directory"... for messages. */
export const kindName = (mode: number): string => KINDS[mode & S_IFMT] ?? "an unknown kind of file";

const STATX_BASIC = 0x7ff;

function statx(dir: number, name: string, flags: number): Stat | number {
  const out: Partial<StatxFields> = {};
  const result = cold().statx(dir, name, flags, STATX_BASIC, out);
  if (result < 0) return result;
  return {
    dev: `${out.stx_dev_major}:${out.stx_dev_minor}`,
    ino: String(out.stx_ino),
    mode: out.stx_mode!,
    uid: out.stx_uid!,
    gid: out.stx_gid!,
    nlink: out.stx_nlink!,
    rdevMajor: out.stx_rdev_major!,
    rdevMinor: out.stx_rdev_minor!,
  };
}

/** The object behind an fd (O_PATH fds too). */
export function statFd(fd: number): Stat {
  const stat = statx(fd, "", AT_EMPTY_PATH);
  if (typeof stat === "number") throw new SysError(`statx(${fd})`, stat);
  return stat;
}

/** The object at `name` in `dir`, never following a link there; undefined when there is none. */
export function statAt(dir: number, name: string): Stat | undefined {
  const stat = statx(dir, name, AT_SYMLINK_NOFOLLOW);
  if (typeof stat !== "number") return stat;
  if (stat === -2) return undefined;
  throw new SysError(`statx(${JSON.stringify(name)}, AT_SYMLINK_NOFOLLOW)`, stat);
}

/** statfs(2) f_type of the file system that `fd` lies on. */
export function fileSystemType(fd: number): number {
  const out: { f_type?: number | bigint } = {};
  checked(cold().fstatfs(fd, out), () => `fstatfs(${fd})`);
  return Number(out.f_type) >>> 0;
}

/** open(2) relative to `dir`, in the daemon's own view. */
export function openAt(dir: number, path: string, flags: number, mode = 0): number {
  return checked(pvx.pvx_openat(dir, cstring(path), flags | O_CLOEXEC, mode), () => `openat(${JSON.stringify(path)})`);
}

/** openat2(2) with `root` as "/": absolute links and `..` stay inside; magic links are refused. Needs Linux 5.6. */
export function openInRoot(root: number, path: string, flags: number, mode = 0): number {
  return checked(
    tryOpenInRoot(root, path, flags, mode),
    () => `openat2(${JSON.stringify(path)}, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)`,
  );
}

/** As `openInRoot`, with -errno as the answer instead of an exception: for paths where ENOENT is ordinary. */
export function tryOpenInRoot(root: number, path: string, flags: number, mode = 0): number {
  return pvx.pvx_openat2(root, cstring(path), flags | O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

export function makeDirectory(dir: number, name: string, mode: number): number {
  return pvx.pvx_mkdirat(dir, cstring(name), mode);
}
export function makeNode(dir: number, name: string, mode: number, major: number, minor: number): void {
  // makedev of the kernel's 32-bit form (include/linux/kdev_t.h, new_encode_dev)
  const dev = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
  checked(pvx.pvx_mknodat(dir, cstring(name), mode, dev), () => `mknodat(${JSON.stringify(name)}, ${major}:${minor})`);
}
export function unlinkAt(dir: number, name: string): void {
  checked(pvx.pvx_unlinkat(dir, cstring(name), 0), () => `unlinkat(${JSON.stringify(name)})`);
}
/** -errno or 0; `flags` of renameat2(2). */
export function tryRename(dir: number, from: string, to: string, flags: number): number {
  return pvx.pvx_renameat2(dir, cstring(from), dir, cstring2(to), flags);
}
export function changeMode(dir: number, name: string, mode: number): void {
  checked(pvx.pvx_fchmodat(dir, cstring(name), mode), () => `fchmodat(${JSON.stringify(name)}, 0${mode.toString(8)})`);
}
export function changeOwner(dir: number, name: string, uid: number, gid: number): void {
  checked(
    pvx.pvx_fchownat(dir, cstring(name), uid, gid, AT_SYMLINK_NOFOLLOW),
    () => `fchownat(${JSON.stringify(name)}, ${uid}:${gid})`,
  );
}

const linkText = new Memory(4096);
/** The text of a symbolic link. */
export function readLink(dir: number, name: string): string {
  const n = checked(
    pvx.pvx_readlinkat(dir, cstring(name), linkText.address, linkText.length),
    () => `readlinkat(${JSON.stringify(name)})`,
  );
  return Buffer.from(linkText.bytes.subarray(0, n)).toString("utf8");
}

export function closeFd(fd: number): void {
  pvx.pvx_close(fd);
}

/**
 * Runs `work` with the calling thread's file-system identity changed (setfsuid(2)):
 * in a user-namespaced container, what host root creates on the container's own
 * tmpfs is EOVERFLOW, since uid 0 is not mapped there. Synchronous work only.
 */
export function asFileSystemUser<T>(uid: number, gid: number, work: () => T): T {
  if (uid === 0 && gid === 0) return work();
  checked(pvx.pvx_setfsids(uid, gid), () => `setfsuid(${uid}), setfsgid(${gid})`);
  try {
    return work();
  } finally {
    checked(pvx.pvx_setfsids(0, 0), () => "setfsuid(0), setfsgid(0)");
  }
}
