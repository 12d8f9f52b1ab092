/** Kernel constants (include/uapi). Those of fcntl.h that differ by architecture are chosen here and nowhere else. */
const arm = process.arch === "arm64";

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_DIRECTORY = arm ? 0o40000 : 0o200000;
export const O_NOFOLLOW = arm ? 0o100000 : 0o400000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;
/** statx(2): what the kernel remembers will do; no question to a file system's server. */
export const AT_STATX_DONT_SYNC = 0x4000;

/** openat2(2) */
export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_IN_ROOT = 0x10;
/** Answers from the dentry cache or EAGAIN; never sleeps. Linux 5.12; EINVAL before. */
export const RESOLVE_CACHED = 0x20;

/** renameat2(2) */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SO_TYPE = 3;
export const SO_ERROR = 4;
export const SO_PASSCRED = 16;
export const SO_OOBINLINE = 10;
export const SO_SNDBUFFORCE = 32;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;
export const MSG_CTRUNC = 0x8;
export const MSG_TRUNC = 0x20;

/** fcntl(2), linux/fcntl.h */
export const F_SETPIPE_SZ = 1031;

export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x80000000;

export const CLONE_NEWNS = 0x00020000;
export const CLONE_NEWUSER = 0x10000000;

export const LOCK_EX = 2;
export const LOCK_NB = 4;

/** linux/magic.h: file systems whose answers come from a process that may never give one. */
export const FUSE_SUPER_MAGIC = 0x65735546;
