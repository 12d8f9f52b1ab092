/** What a device node is to be. Ids are the host's. */
export interface NodeSpec {
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** makedev of the kernel's 32-bit form (include/linux/kdev_t.h, new_encode_dev). */
export const deviceNumber = (major: number, minor: number): number =>
  ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
