/**
 * Puts an object that stands under a temporary name in its place, and takes it away
 * again, in a directory whose owner may be working against us.
 *
 * Nothing is replaced but what is known to be ours, also when somebody swaps names
 * between two of our calls: an empty place is taken with RENAME_NOREPLACE, a place of
 * ours with RENAME_EXCHANGE and a look at what came out. What came out and is not ours
 * goes back. The one window that Linux leaves is between the last look at a temporary
 * name and its unlink, a microsecond or two: there is no unlink by fd.
 */
import { randomBytes } from "node:crypto";
import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ESTALE } from "../sys/errno.ts";
import { AT_FDCWD, O_NOFOLLOW, O_PATH, RENAME_EXCHANGE, RENAME_NOREPLACE } from "../sys/flags.ts";
import { type Argument, fd, NR, result, type Step } from "../sys/guarded.ts";
import {
  type ObjectIdentity,
  type ObjectStat,
  requireObject,
  sameIdentity,
  statName,
  statOf,
  statOpened,
} from "./object-id.ts";
import { type ContainerRoot, isErrno } from "./root.ts";

/** `.pvx-` and 16 hex digits: a name that nobody has by chance. */
export const temporaryName = (): string => `.pvx-${randomBytes(8).toString("hex")}`;
export const isTemporaryName = (name: string): boolean => /^\.pvx-[0-9a-f]{16}$/.test(name);

/** "/run/nm/api.sock" as its directory and its name. Throws RangeError for a path that names no entry of a directory. */
export function splitPath(path: string): { readonly directory: string; readonly name: string } {
  const slash = path.lastIndexOf("/");
  const name = path.slice(slash + 1);
  if (!path.startsWith("/") || name === "" || name === "." || name === "..")
    throw new RangeError(`${JSON.stringify(path)} does not name a place for a file`);
  return { directory: slash === 0 ? "/" : path.slice(0, slash), name };
}

export const enterDirectory = (directory: number): Step => ({
  call: "fchdir()",
  nr: NR.fchdir,
  args: [fd(directory)],
});

const rename = (from: string, to: string, flags: number): Step => ({
  call: `renameat2(${JSON.stringify(from)}, ${JSON.stringify(to)}, ${flags === RENAME_EXCHANGE ? "RENAME_EXCHANGE" : "RENAME_NOREPLACE"})`,
  nr: NR.renameat2,
  args: [AT_FDCWD, from, AT_FDCWD, to, flags],
});

const unlink = (name: string): Step => ({
  call: `unlinkat(${JSON.stringify(name)})`,
  nr: NR.unlinkat,
  args: [AT_FDCWD, name, 0],
});

/** What stands at `name`; undefined when nothing does. Throws SysError. */
export function whatStands(root: ContainerRoot, directory: number, name: string): ObjectStat | undefined {
  try {
    return statOf(
      root.run(() => [enterDirectory(directory), statName(name)]),
      1,
    );
  } catch (error) {
    if (isErrno(error, ENOENT)) return undefined;
    throw error;
  }
}

/** True when `path`, resolved in the root as the container does it, is `object`. Throws SysError when it can't be told. */
export function standsAt(root: ContainerRoot, path: string, object: ObjectIdentity): boolean {
  try {
    root.run((top) => standsSteps(root, top, path, object, 0));
    return true;
  } catch (error) {
    if (isErrno(error, ENOENT) || isErrno(error, ESTALE)) return false;
    throw error;
  }
}

/** Steps that fail with ENOENT or ESTALE unless `path` is `object`; the first of them is the program's step `at`. */
function standsSteps(root: ContainerRoot, top: Argument, path: string, object: ObjectIdentity, at: number): Step[] {
  const call = `statx(${JSON.stringify(path)})`;
  return [
    root.openStep(top, path, O_PATH | O_NOFOLLOW),
    statOpened(call, result(at)),
    ...requireObject(call, at + 1, object, ESTALE),
  ];
}

export interface Move {
  readonly root: ContainerRoot;
  /** Fd of the directory that both names are in. */
  readonly directory: number;
  /** The whole path, for a last look at where the name leads. */
  readonly path: string;
  readonly name: string;
  readonly temporary: string;
  /** What stands under the temporary name. */
  readonly object: ObjectIdentity;
}

/**
 * Makes `object` visible at `name`. `previous`: what stands there and is ours, to be
 * exchanged and removed; undefined when nothing may stand there. Throws an Error that says
 * what is in the way; the object is then under neither name, or not ours any more.
 */
export function settle(move: Move, previous: ObjectIdentity | undefined): void {
  const { root, directory, name, temporary, object } = move;
  try {
    if (previous === undefined) takeEmptyPlace(move);
    else exchange(move, previous);
  } catch (error) {
    unlinkIfSame(root, directory, name, object);
    unlinkIfSame(root, directory, temporary, object);
    throw error;
  }
  // Not before the new one is known to be in place.
  if (previous !== undefined) unlinkIfSame(root, directory, temporary, previous);
}

function takeEmptyPlace({ root, directory, path, name, temporary, object }: Move): void {
  try {
    root.run((top) => {
      const steps = [...root.identitySteps(), enterDirectory(directory), rename(temporary, name, RENAME_NOREPLACE)];
      const renamed = steps.push(statName(name)) - 1;
      steps.push(...requireObject(TAKEN_OVER, renamed, object, ESTALE));
      return [...steps, ...standsSteps(root, top, path, object, steps.length)];
    });
  } catch (error) {
    if (isErrno(error, EEXIST)) throw new Error("something else was put there meanwhile");
    if (isErrno(error, ESTALE) || isErrno(error, ENOENT)) throw new Error(TAKEN_OVER);
    throw error;
  }
}
const TAKEN_OVER = "its directory or the temporary name in it was replaced meanwhile";

function exchange(move: Move, previous: ObjectIdentity): void {
  const { root, directory, path, name, temporary, object } = move;
  try {
    root.run(() => {
      const steps = [...root.identitySteps(), enterDirectory(directory), statName(name)];
      steps.push(...requireObject("what stands there is no longer ours", steps.length - 1, previous, EBUSY));
      steps.push(rename(temporary, name, RENAME_EXCHANGE));
      return steps;
    });
  } catch (error) {
    if (!isErrno(error, EINVAL)) throw error;
    // A file system without RENAME_EXCHANGE (jffs2): the place is empty for a moment.
    removeObject(root, directory, name, previous);
    takeEmptyPlace(move);
    return;
  }
  const out = whatStands(root, directory, temporary);
  if (out !== undefined && sameIdentity(out, previous)) {
    if (standsAt(root, path, object)) return;
    throw new Error(TAKEN_OVER);
  }
  // Swapped between the look and the exchange: what came out goes back to where it was.
  root.run(() => [
    ...root.identitySteps(),
    enterDirectory(directory),
    { ...rename(temporary, name, RENAME_EXCHANGE), mayFail: true },
  ]);
  throw new Error("something else was put there meanwhile");
}

/**
 * Takes `object` away from `name`: to a private name first, where it is looked at again.
 * False when something else, or nothing, stands there; that stays. `journaled` is told the
 * private name before it is used. Throws SysError.
 */
export function removeObject(
  root: ContainerRoot,
  directory: number,
  name: string,
  object: ObjectIdentity,
  journaled: (temporary: string) => void = () => {},
): boolean {
  const found = whatStands(root, directory, name);
  if (found === undefined || !sameIdentity(found, object)) return false;
  const temporary = temporaryName();
  journaled(temporary);
  try {
    root.run(() => {
      const steps = [...root.identitySteps(), enterDirectory(directory), rename(name, temporary, RENAME_NOREPLACE)];
      const at = steps.push(statName(temporary)) - 1;
      steps.push(...requireObject("what stood there was swapped", at, object, EAGAIN), unlink(temporary));
      return steps;
    });
    return true;
  } catch (error) {
    if (isErrno(error, ENOENT)) return false;
    if (!isErrno(error, EAGAIN)) throw error;
    root.run(() => [
      ...root.identitySteps(),
      enterDirectory(directory),
      { ...rename(temporary, name, RENAME_NOREPLACE), mayFail: true },
    ]);
    return false;
  }
}

/** Unlinks `name` if it is `object`: for temporary names of ours. Silent when it is not, or can't be told. */
export function unlinkIfSame(root: ContainerRoot, directory: number, name: string, object: ObjectIdentity): boolean {
  try {
    root.run(() => {
      const steps = [...root.identitySteps(), enterDirectory(directory)];
      const at = steps.push(statName(name)) - 1;
      steps.push(...requireObject(`${name} is not ours`, at, object, ESTALE), unlink(name));
      return steps;
    });
    return true;
  } catch {
    return false;
  }
}
