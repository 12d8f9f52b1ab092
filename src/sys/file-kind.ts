/** What kind of object a file's mode tells of, in words. */
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "./flags.ts";

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
