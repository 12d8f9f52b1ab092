/**
 * A private directory beside the target, for the moments in which an object of ours is not
 * in its place: before it is visible, and while it is taken away.
 *
 * Why: there is no unlink by fd. Between the last look at a name and its unlink, an attacker
 * who watches the directory can put a file of its own under that name and lose it.
 * Inside a directory that exists for some microseconds it has to find that one first,
 * open it, list it and win the same race there.
 */
import { ELOOP, ENOENT, ENOTDIR, ESTALE } from "../sys/errno.ts";
import {
  AT_REMOVEDIR,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from "../sys/flags.ts";
import { type Argument, fd, NR, type Step } from "../sys/guarded.ts";
import { randomHex } from "../sys/random.ts";
import { pvx } from "../sys/shim.ts";
import { type ObjectIdentity, type ObjectStat, requireObject, statName, statOf } from "./object-id.ts";
import { type ContainerRoot, isErrno } from "./root.ts";

/** `.pvx-` and 16 hex digits: a name that nobody has by chance. */
export const temporaryName = (): string => `.pvx-${randomHex(8)}`;

export interface NookName {
  /** In the target's directory. */
  readonly nook: string;
  /** Our one object's name in the nook; not to be guessed either. */
  readonly inner: string;
  /** Both, for the journal. */
  readonly recorded: string;
}
export function newNookName(): NookName {
  const [nook, inner] = [temporaryName(), randomHex(8)];
  return { nook, inner, recorded: `${nook}/${inner}` };
}
/** A name that we have recorded: of an object beside its target (`inner` empty), or in its nook. */
function parseRecorded(temporary: string): { readonly nook: string; readonly inner: string } | undefined {
  const found = /^(\.pvx-[0-9a-f]{16})(?:\/([0-9a-f]{16}))?$/.exec(temporary);
  return found === null ? undefined : { nook: found[1]!, inner: found[2] ?? "" };
}
const NOOK_MODE = 0o700;
const O_NOOK = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/** Two steps: the second one's result is the nook's fd inside the program. */
export function makeNook(root: ContainerRoot, directory: Argument, name: string): Step[] {
  return [
    { call: `mkdirat(${JSON.stringify(name)})`, nr: NR.mkdirat, args: [directory, name, NOOK_MODE] },
    openNook(root, directory, name),
  ];
}

export function openNook(root: ContainerRoot, directory: Argument, name: string): Step {
  const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return root.openBelowStep(directory, name, O_NOOK, resolve);
}

/** Takes the nook away if it is empty; what it is not stays. */
export const removeNook = (directory: Argument, name: string): Step => ({
  call: `unlinkat(${JSON.stringify(name)}, AT_REMOVEDIR)`,
  nr: NR.unlinkat,
  args: [directory, name, AT_REMOVEDIR],
  mayFail: true,
});

/** What became of an object that was to be unlinked. `unknown`: the container could not be asked. */
export type Unlinked = "removed" | "other" | "unknown";

/** Unlinks `name` if it is `object`. For names of ours; "other" when something else, or nothing, stands there. */
export function unlinkIfSame(root: ContainerRoot, directory: number, name: string, object: ObjectIdentity): Unlinked {
  try {
    root.run(() => {
      const steps = [...root.identitySteps(), statName(name, false, fd(directory))];
      steps.push(...requireObject(`${name} is not ours`, steps.length - 1, object, ESTALE));
      return [...steps, { call: `unlinkat(${JSON.stringify(name)})`, nr: NR.unlinkat, args: [fd(directory), name, 0] }];
    });
    return "removed";
  } catch (error) {
    return isErrno(error, ESTALE) || isErrno(error, ENOENT) ? "other" : "unknown";
  }
}

/**
 * Clears away a temporary name of an earlier step or an earlier life: an object's own, or
 * the nook that it is in. `object` undefined: it is not known whether, and as what, it came to
 * exist; then what `isOurs` says yes to is taken. Never throws.
 */
export function clearTemporary(
  root: ContainerRoot,
  directory: number,
  temporary: string,
  object: ObjectIdentity | undefined,
  isOurs: (stat: ObjectStat) => boolean,
): Unlinked {
  const names = parseRecorded(temporary);
  if (names === undefined) return "other";
  try {
    if (names.inner === "") return unlinkOurs(root, directory, names.nook, object, isOurs);
    return clearNook(root, directory, names, object, isOurs);
  } catch (error) {
    // No directory, or a link, by that name: not our nook any more.
    return isErrno(error, ENOENT) || isErrno(error, ENOTDIR) || isErrno(error, ELOOP) ? "other" : "unknown";
  }
}

function clearNook(
  root: ContainerRoot,
  directory: number,
  { nook, inner }: { readonly nook: string; readonly inner: string },
  object: ObjectIdentity | undefined,
  isOurs: (stat: ObjectStat) => boolean,
): Unlinked {
  const opened = root.run(() => [{ ...openNook(root, fd(directory), nook), handsBack: true }]).results[0]!;
  try {
    const outcome = unlinkOurs(root, opened, inner, object, isOurs);
    const emptied = root.run(() => [...root.identitySteps(), removeNook(fd(directory), nook)]).results.at(-1)!;
    return outcome === "other" && emptied >= 0 ? "removed" : outcome;
  } finally {
    pvx.pvx_close(opened);
  }
}

function unlinkOurs(
  root: ContainerRoot,
  directory: number,
  name: string,
  object: ObjectIdentity | undefined,
  isOurs: (stat: ObjectStat) => boolean,
): Unlinked {
  if (object !== undefined) return unlinkIfSame(root, directory, name, object);
  const stands = statHere(root, directory, name);
  if (stands === undefined || !isOurs(stands)) return "other";
  return unlinkIfSame(root, directory, name, stands);
}

/** What stands at `name`; undefined when nothing does. Throws SysError. */
export function statHere(root: ContainerRoot, directory: number, name: string): ObjectStat | undefined {
  try {
    return statOf(
      root.run(() => [statName(name, false, fd(directory))]),
      0,
    );
  } catch (error) {
    if (isErrno(error, ENOENT)) return undefined;
    throw error;
  }
}
