/**
 * Puts an object that stands under a temporary name in its place, and takes it away
 * again, in a directory whose owner may be working against us.
 *
 * Nothing is replaced but what is known to be ours, also when somebody swaps names
 * between two of our calls: an empty place is taken with RENAME_NOREPLACE, a place of
 * ours with RENAME_EXCHANGE and a look at what came out. What came out and is not ours
 * goes back.
 */
import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ESTALE } from "../sys/errno.ts";
import { O_NOFOLLOW, O_PATH, RENAME_EXCHANGE, RENAME_NOREPLACE } from "../sys/flags.ts";
import { type Argument, fd, NR, result, type Step } from "../sys/guarded.ts";
import { pvx } from "../sys/shim.ts";
import { makeNook, type NookName, newNookName, openNook, removeNook, unlinkIfSame } from "./nook.ts";
import { type ObjectIdentity, requireObject, statName, statOpened } from "./object-id.ts";
import { type ContainerRoot, isErrno } from "./root.ts";

export { statHere as whatStands, temporaryName, unlinkIfSame } from "./nook.ts";

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

const FLAG_NAMES = { [RENAME_EXCHANGE]: "RENAME_EXCHANGE", [RENAME_NOREPLACE]: "RENAME_NOREPLACE" };
export const rename = (from: Argument, name: string, to: Argument, toName: string, flags: 1 | 2): Step => ({
  call: `renameat2(${JSON.stringify(name)}, ${JSON.stringify(toName)}, ${FLAG_NAMES[flags]})`,
  nr: NR.renameat2,
  args: [from, name, to, toName, flags],
});
export const unlink = (directory: Argument, name: string): Step => ({
  call: `unlinkat(${JSON.stringify(name)})`,
  nr: NR.unlinkat,
  args: [directory, name, 0],
});

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
  /** Fd of the directory that `name` is in. */
  readonly directory: number;
  /** The whole path, for a last look at where the name leads. */
  readonly path: string;
  readonly name: string;
  /** Fd of the directory that the temporary name is in; `directory` itself where absent. */
  readonly from?: number;
  readonly temporary: string;
  /** The name in `directory` of the nook that `from` is, to be removed when it is empty. */
  readonly nook?: string;
  /** What stands under the temporary name. */
  readonly object: ObjectIdentity;
}

/** Why an object did not come into its place. */
export class NotSettled extends Error {
  /** It is unlinked. False: it may stand somewhere still. */
  readonly gone: boolean;
  constructor(cause: unknown, gone: boolean) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = "NotSettled";
    this.gone = gone;
  }
}

/**
 * Makes `object` visible at `name`. `previous`: what stands there and is ours, to be
 * exchanged and removed; undefined when nothing may stand there. Throws NotSettled, which
 * says what is in the way.
 */
export function settle(move: Move, previous: ObjectIdentity | undefined): void {
  const { root, directory, name, temporary, object, from = directory } = move;
  try {
    if (previous === undefined) takeEmptyPlace(move);
    else exchange(move, previous);
  } catch (error) {
    const inPlace = removeQuietly(root, directory, name, object);
    const aside = unlinkIfSame(root, from, temporary, object);
    if (previous !== undefined) unlinkIfSame(root, from, temporary, previous);
    throw new NotSettled(error, inPlace || aside === "removed");
  }
}

function removeQuietly(root: ContainerRoot, directory: number, name: string, object: ObjectIdentity): boolean {
  try {
    return removeObject(root, directory, name, object);
  } catch {
    return false;
  }
}

const TAKEN_OVER = "its directory or the temporary name in it was replaced meanwhile";
const OCCUPIED = "something else was put there meanwhile";

/** Steps after the object is in its place. */
const tidySteps = ({ directory, nook }: Move): Step[] => (nook === undefined ? [] : [removeNook(fd(directory), nook)]);

function takeEmptyPlace(move: Move): void {
  const { root, directory, path, name, temporary, object, from = directory } = move;
  try {
    root.run((top) => {
      const to = fd(directory);
      const steps = [...root.identitySteps(), rename(fd(from), temporary, to, name, RENAME_NOREPLACE)];
      steps.push(statName(name, false, to));
      steps.push(...requireObject(TAKEN_OVER, steps.length - 1, object, ESTALE));
      steps.push(...standsSteps(root, top, path, object, steps.length));
      return [...steps, ...tidySteps(move)];
    });
  } catch (error) {
    if (isErrno(error, EEXIST)) throw new Error(OCCUPIED);
    if (isErrno(error, ESTALE) || isErrno(error, ENOENT)) throw new Error(TAKEN_OVER);
    throw error;
  }
}

function exchange(move: Move, previous: ObjectIdentity): void {
  const { root, directory, path, name, temporary, object, from = directory } = move;
  const [aside, place] = [fd(from), fd(directory)];
  try {
    root.run((top) => {
      const steps = [...root.identitySteps(), statName(name, false, place)];
      steps.push(...requireObject("what stands there is no longer ours", steps.length - 1, previous, EBUSY));
      steps.push(rename(aside, temporary, place, name, RENAME_EXCHANGE), statName(temporary, false, aside));
      steps.push(...requireObject(OCCUPIED, steps.length - 1, previous, EAGAIN));
      steps.push(...standsSteps(root, top, path, object, steps.length));
      // Not before the new one is known to be in place.
      return [...steps, { ...unlink(aside, temporary), mayFail: true }, ...tidySteps(move)];
    });
  } catch (error) {
    if (isErrno(error, ESTALE) || isErrno(error, ENOENT)) throw new Error(TAKEN_OVER);
    if (isErrno(error, EBUSY)) throw new Error("what stood there is no longer ours");
    if (isErrno(error, EINVAL)) {
      withoutExchange(move, previous);
      return;
    }
    if (!isErrno(error, EAGAIN)) throw error;
    // Swapped between the look and the exchange: what came out goes back to where it was.
    root.run(() => [
      ...root.identitySteps(),
      { ...rename(aside, temporary, place, name, RENAME_EXCHANGE), mayFail: true },
    ]);
    throw new Error(OCCUPIED);
  }
}

/** A file system without RENAME_EXCHANGE (jffs2): the place is empty for a moment. */
function withoutExchange(move: Move, previous: ObjectIdentity): void {
  removeObject(move.root, move.directory, move.name, previous);
  takeEmptyPlace(move);
}

/**
 * Takes `object` away from `name`: into a nook first, where it is looked at again. False
 * when something else, or nothing, stands there; that stays. `journaled` is told the temporary
 * name before it is used. Throws SysError.
 */
export function removeObject(
  root: ContainerRoot,
  directory: number,
  name: string,
  object: ObjectIdentity,
  journaled: (temporary: string) => void = () => {},
): boolean {
  const names = newNookName();
  journaled(names.recorded);
  return removedBy(
    () => root.run(() => removalSteps(root, root.identitySteps(), fd(directory), name, object, names)),
    () => putBack(root, directory, name, names),
  );
}

/** The same by the object's path, in one program: a daemon that ends takes thousands away in a second. */
export function removeAt(
  root: ContainerRoot,
  path: string,
  object: ObjectIdentity,
  journaled: (temporary: string) => void,
): boolean {
  const { directory, name } = splitPath(path);
  const names = newNookName();
  journaled(names.recorded);
  return removedBy(
    () =>
      root.run((top) => {
        const steps = root.identitySteps();
        const opened = steps.length;
        steps.push(...root.openDirectorySteps(top, directory, opened));
        return removalSteps(root, steps, result(opened), name, object, names);
      }),
    () => {
      const opened = root.openDirectory(directory, false);
      try {
        putBack(root, opened, name, names);
      } finally {
        pvx.pvx_close(opened);
      }
    },
  );
}

function removalSteps(
  root: ContainerRoot,
  before: readonly Step[],
  place: Argument,
  name: string,
  object: ObjectIdentity,
  { nook, inner }: NookName,
): Step[] {
  const steps = [...before, statName(name, false, place)];
  steps.push(...requireObject(`${name} is not ours`, steps.length - 1, object, ESTALE));
  steps.push(...makeNook(root, place, nook));
  const inside = result(steps.length - 1);
  steps.push(rename(place, name, inside, inner, RENAME_NOREPLACE), statName(inner, false, inside));
  steps.push(...requireObject("what stood there was swapped", steps.length - 1, object, EAGAIN));
  return [...steps, unlink(inside, inner), removeNook(place, nook)];
}

/** EAGAIN: what came into the nook was another object. ENOENT: it went away before that, and the nook may be empty. */
function removedBy(remove: () => void, undo: () => void): boolean {
  try {
    remove();
    return true;
  } catch (error) {
    if (isErrno(error, ESTALE)) return false;
    if (!isErrno(error, EAGAIN) && !isErrno(error, ENOENT)) throw error;
    try {
      undo();
    } catch (second) {
      if (!isErrno(second, ENOENT)) throw second;
    }
    return false;
  }
}

/** What was moved to the nook and is not ours goes back, if its place is still empty; else it stays in the nook. */
export function putBack(root: ContainerRoot, directory: number, name: string, { nook, inner }: NookName): void {
  const place = fd(directory);
  root.run(() => {
    const steps = [...root.identitySteps(), openNook(root, place, nook)];
    const inside = result(steps.length - 1);
    return [
      ...steps,
      { ...rename(inside, inner, place, name, RENAME_NOREPLACE), mayFail: true },
      removeNook(place, nook),
    ];
  });
}
