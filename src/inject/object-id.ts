/**
 * Which file-system object is ours. Device and inode number tell two objects apart while
 * both exist; ext4 gives an inode number out again at once, so where the file system
 * keeps a birth time (statx(2), STATX_BTIME) that belongs to the identity as well.
 */
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFMT } from "../sys/flags.ts";
import { type Argument, type GuardedResult, NR, output, require, type Step } from "../sys/guarded.ts";

/** Plain data: it goes to the journal. */
export interface ObjectIdentity {
  /** "major:minor" */
  readonly dev: string;
  /** Decimal; inode numbers use all 64 bits. */
  readonly ino: string;
  /** "seconds.nanoseconds" of the birth; "" where the file system has none. */
  readonly born: string;
}

export interface ObjectStat extends ObjectIdentity {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export const sameIdentity = (a: ObjectIdentity, b: ObjectIdentity): boolean =>
  a.dev === b.dev && a.ino === b.ino && a.born === b.born;

/** struct statx, linux/stat.h */
const STATX_BYTES = 256;
const AT = { mask: 0, uid: 20, gid: 24, mode: 28, ino: 32, bornSeconds: 80, bornNanos: 88, device: 136 } as const;
const BASIC_AND_BIRTH = 0xfff;
const BIRTH = 0x800;
/** Which argument of statx(2) is the result. */
const OUT = 4;

/** statx of `name` in a directory (the program's current one where none is given), never following a link there. */
export const statName = (name: string, mayFail = false, directory: Argument = AT_FDCWD): Step => ({
  call: `statx(${JSON.stringify(name)}, AT_SYMLINK_NOFOLLOW)`,
  nr: NR.statx,
  args: [directory, name, AT_SYMLINK_NOFOLLOW, BASIC_AND_BIRTH, new Uint8Array(STATX_BYTES)],
  mayFail,
});

/** statx of what an fd refers to. */
export const statOpened = (call: string, file: Argument, mayFail = false): Step => ({
  call,
  nr: NR.statx,
  args: [file, "", AT_EMPTY_PATH, BASIC_AND_BIRTH, new Uint8Array(STATX_BYTES)],
  mayFail,
});

/** What statx step `step` found; undefined when it failed. */
export function statOf(program: GuardedResult, step: number): ObjectStat | undefined {
  if (program.results[step]! < 0) return undefined;
  const view = new DataView(program.output(step, OUT, STATX_BYTES).buffer);
  const birth = (view.getUint32(AT.mask, true) & BIRTH) !== 0;
  return {
    dev: `${view.getUint32(AT.device, true)}:${view.getUint32(AT.device + 4, true)}`,
    ino: String(view.getBigUint64(AT.ino, true)),
    born: birth ? `${view.getBigInt64(AT.bornSeconds, true)}.${view.getUint32(AT.bornNanos, true)}` : "",
    mode: view.getUint16(AT.mode, true),
    uid: view.getUint32(AT.uid, true),
    gid: view.getUint32(AT.gid, true),
  };
}

/** Steps that fail with `errno` unless statx step `step` found `object`. */
export function requireObject(call: string, step: number, object: ObjectIdentity, errno: number): Step[] {
  const [major = 0, minor = 0] = object.dev.split(":").map(Number);
  const place = (offset: number) => output(step, OUT, offset);
  const steps = [
    require(call, place(AT.ino), 8, BigInt(object.ino), errno),
    require(call, place(AT.device), 4, major, errno),
    require(call, place(AT.device + 4), 4, minor, errno),
  ];
  const [seconds, nanos] = object.born.split(".");
  if (nanos === undefined) return steps;
  return [
    ...steps,
    require(call, place(AT.bornSeconds), 8, BigInt(seconds!), errno),
    require(call, place(AT.bornNanos), 4, Number(nanos), errno),
  ];
}

export const isKind = (stat: ObjectStat, kind: number): boolean => (stat.mode & S_IFMT) === kind;
