/**
 * What an fd refers to, without koffi (the data plane asks for each session) and
 * without a question to the file system's server: AT_STATX_DONT_SYNC makes statx(2)
 * answer from the inode that the fd already holds, so a FUSE server that never
 * answers can't hold the caller.
 */
import { AT_EMPTY_PATH, AT_STATX_DONT_SYNC } from "./flags.ts";
import { cstring, Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** One struct statx (linux/stat.h; the same layout on every architecture), overwritten by each `read`. */
export class QuickStat {
  static readonly BYTES = 256;
  /** STATX_TYPE | STATX_MODE | STATX_INO */
  static readonly MASK = 0x0103;
  private readonly memory = new Memory(QuickStat.BYTES);
  private readonly view = new DataView(this.memory.buffer);

  /** 0, or -errno. */
  read(fd: number): number {
    return pvx.pvx_statx(fd, cstring(""), AT_EMPTY_PATH | AT_STATX_DONT_SYNC, QuickStat.MASK, this.memory.address);
  }
  /** st_mode with the type bits. */
  get mode(): number {
    return this.view.getUint16(28, true);
  }
  get ino(): bigint {
    return QuickStat.inoIn(this.view);
  }
  /** "major:minor" of the file system's device, as in /proc/self/mountinfo. */
  get device(): string {
    return `${this.view.getUint32(136, true)}:${this.view.getUint32(140, true)}`;
  }
  /** The same as one number, for comparing. */
  get deviceNumber(): number {
    return QuickStat.deviceNumberIn(this.view);
  }

  /** The same of a struct statx that somebody else has filled. */
  static inoIn(view: DataView): bigint {
    return view.getBigUint64(32, true);
  }
  static deviceNumberIn(view: DataView): number {
    return view.getUint32(136, true) * 0x1_0000_0000 + view.getUint32(140, true);
  }
}
