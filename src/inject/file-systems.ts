/**
 * On which file systems the data plane may touch an inode without a guard.
 *
 * connect(2) asks the socket's inode for permission. tmpfs and the local disk file
 * systems answer that from memory; FUSE, and an overlay that lies on it, may ask a
 * server that never answers, and a container can mount both for itself.
 */
import { readFileSync } from "node:fs";
import { FUSE_SUPER_MAGIC } from "../sys/flags.ts";

/** statfs(2) f_type of file systems that check permissions without help (linux/magic.h and each one's source). */
const LOCAL = new Set([
  0x01021994, // tmpfs, devtmpfs
  0x858458f6, // ramfs
  0xef53, // ext2, ext3, ext4
  0x9123683e, // btrfs
  0x58465342, // xfs
  0xf2f52010, // f2fs
  0x24051905, // ubifs
  0x73717368, // squashfs
  0xe0f5e1e2, // erofs
]);

export type Trust = "local" | "foreign" | "fuse";

/** `device` as "major:minor". A file system that the host itself has mounted counts as local: no container made it. */
export function trustOf(magic: number, device: string): Trust {
  if (magic === FUSE_SUPER_MAGIC) return "fuse";
  return LOCAL.has(magic) || mountedByHost(device) ? "local" : "foreign";
}

/** proc_pid_mountinfo(5): the third field is major:minor. */
function mountedByHost(device: string): boolean {
  return readFileSync("/proc/self/mountinfo", "latin1")
    .split("\n")
    .some((line) => line.split(" ", 3)[2] === device);
}
