/**
 * Takes many sockets away at once, as a daemon that ends has to: what stands in one
 * directory goes in one program, through one nook, with the same looks before and after as
 * `removeAt` has them for one. A program of its own for each would take longer for its
 * process than for its work.
 *
 * Where anything is not as it was planted the program ends there: what it moved and is not
 * ours goes back, and each socket is taken by itself.
 */
import { EAGAIN, ESTALE } from "../sys/errno.ts";
import { RENAME_NOREPLACE } from "../sys/flags.ts";
import { result, type Step } from "../sys/guarded.ts";
import { pvx } from "../sys/shim.ts";
import type { Journal } from "./journal.ts";
import { makeNook, type NookName, newNookName, removeNook } from "./nook.ts";
import { requireObject, statName } from "./object-id.ts";
import type { ContainerRoot } from "./root.ts";
import { putBack, rename, splitPath, unlink } from "./settle.ts";
import { type PlantedSocket, removeSocket } from "./socket.ts";

/** Sockets in one program: its process is a small part of it by then, and its deadline is far away. */
const TOGETHER_MAX = 64;

export interface Removal {
  readonly root: ContainerRoot;
  readonly socket: PlantedSocket;
}

interface Named extends Removal {
  readonly name: string;
  readonly names: NookName;
}

/** As `removeSocket` for each. Never throws; the reasons of those that could not be removed now. */
export function removeSockets(removals: readonly Removal[], journal: Journal): readonly string[] {
  const places = new Map<string, Removal[]>();
  for (const removal of removals) {
    const { root, socket } = removal;
    const place = `${root.pid} ${root.startTime} ${socket.path.slice(0, socket.path.lastIndexOf("/"))}`;
    places.set(place, [...(places.get(place) ?? []), removal]);
  }
  const troubles: string[] = [];
  for (const all of places.values())
    for (let at = 0; at < all.length; at += TOGETHER_MAX)
      troubles.push(...removeOf(all.slice(at, at + TOGETHER_MAX), journal));
  return troubles;
}

/** Of one directory. */
function removeOf(removals: readonly Removal[], journal: Journal): string[] {
  const [first] = removals;
  if (removals.length > 1 && first!.root.alive && removedTogether(removals, journal)) return [];
  return removals
    .map(({ root, socket }) => removeSocket(root, socket, journal))
    .filter((trouble) => trouble !== undefined);
}

function removedTogether(removals: readonly Removal[], journal: Journal): boolean {
  const { nook } = newNookName();
  const all: Named[] = removals.map((removal) => {
    const { inner } = newNookName();
    const { name } = splitPath(removal.socket.path);
    return { ...removal, name, names: { nook, inner, recorded: `${nook}/${inner}` } };
  });
  const { root, socket } = all[0]!;
  const { directory } = splitPath(socket.path);
  try {
    journal.together(() => {
      for (const { socket, names } of all) journal.hidden(socket.journalId, names.recorded);
    });
    root.run((top) => {
      const steps = root.identitySteps();
      const opened = steps.length;
      steps.push(...root.openDirectorySteps(top, directory, opened), ...makeNook(root, result(opened), nook));
      const inside = steps.length - 1;
      for (const one of all) steps.push(...taken(steps.length, opened, inside, one));
      steps.push(removeNook(result(opened), nook));
      return steps;
    });
  } catch {
    restore(root, directory, all);
    return false;
  }
  try {
    journal.together(() => {
      for (const { socket } of all) journal.removed(socket.journalId);
    });
  } catch {
    // Lines that are missing cost one look each at the next start.
  }
  return true;
}

/** Into the nook, looked at there, and gone: steps of which the first is the program's step `at`. */
function taken(at: number, directory: number, nook: number, { name, names, socket }: Named): Step[] {
  const [place, inside] = [result(directory), result(nook)];
  const before = requireObject(`${name} is not ours`, at, socket, ESTALE);
  const moved = at + 2 + before.length;
  return [
    statName(name, false, place),
    ...before,
    rename(place, name, inside, names.inner, RENAME_NOREPLACE),
    statName(names.inner, false, inside),
    ...requireObject("what stood there was swapped", moved, socket, EAGAIN),
    unlink(inside, names.inner),
  ];
}

/** Whatever is left in the nook goes back to its place, ours to be looked at again there. */
function restore(root: ContainerRoot, directory: string, all: readonly Named[]): void {
  try {
    const opened = root.openDirectory(directory, false);
    try {
      for (const { name, names } of all) putBack(root, opened, name, names);
    } finally {
      pvx.pvx_close(opened);
    }
  } catch {
    // No nook, or nobody who answers: its name is in the journal.
  }
}
