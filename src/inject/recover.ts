/**
 * After a daemon that was killed: what its journal says still stands somewhere.
 *
 * `recover` runs at start, before anything is planted: it forgets what went with its
 * container and removes every temporary name. What is left is known to be ours, so that
 * planting the same target again replaces it in place. `sweep` removes the rest, once it
 * is known which links are still wanted.
 */
import { ENOENT } from "../sys/errno.ts";
import { S_IFCHR, S_IFREG, S_IFSOCK } from "../sys/flags.ts";
import { ProcessHandle } from "../sys/process.ts";
import { pvx } from "../sys/shim.ts";
import type { Journal, JournalEntry } from "./journal.ts";
import { clearTemporary } from "./nook.ts";
import { isKind } from "./object-id.ts";
import { ContainerRoot, isErrno } from "./root.ts";
import { splitPath } from "./settle.ts";
import { removePlanted } from "./socket.ts";

export interface Recovered {
  /** Objects that went with their container. */
  readonly forgotten: number;
  /** Temporary names removed. */
  readonly temporaries: number;
  /** Objects of ours that stand where an earlier run put them. */
  readonly standing: readonly JournalEntry[];
  /** What could not be looked at, for the log; its records are kept. */
  readonly troubles: readonly string[];
}

export function recover(journal: Journal): Recovered {
  let forgotten = 0;
  let temporaries = 0;
  const standing: JournalEntry[] = [];
  const troubles: string[] = [];
  withRoots((rootOf) => {
    for (const entry of journal.entries()) {
      if (!entry.earlier) continue;
      const root = rootOf(entry);
      if (root === undefined) {
        journal.removed(entry.id);
        forgotten++;
        continue;
      }
      try {
        if (removeTemporary(root, entry)) temporaries++;
        if (entry.object === undefined && entry.kind === "socket") journal.removed(entry.id);
        else standing.push(entry);
      } catch (error) {
        troubles.push(
          `Cannot look for ${entry.temporary} beside ${entry.path} in ${root.who}: ${(error as Error).message}`,
        );
        if (!root.alive) journal.removed(entry.id);
      }
    }
  });
  return { forgotten, temporaries, standing, troubles };
}

/** Takes one recorded object away; the reason when it could not. Owns the journal's `removed`. */
export type Remover = (root: ContainerRoot, entry: JournalEntry, journal: Journal) => string | undefined;

const removeFile: Remover = (root, entry, journal) => {
  const trouble =
    entry.object === undefined ? undefined : removePlanted(root, entry.path, entry.object, journal, entry.id);
  // Not found where it was: nobody wants it back.
  if (trouble === undefined) journal.removed(entry.id);
  return trouble;
};

/**
 * Removes what earlier runs planted and nobody wants any more. `removers`: for kinds that
 * take more than an unlink. Returns what could not be removed, for the log.
 */
export function sweep(
  journal: Journal,
  wanted: (entry: JournalEntry) => boolean,
  removers: Partial<Record<JournalEntry["kind"], Remover>> = {},
): readonly string[] {
  const troubles: string[] = [];
  withRoots((rootOf) => {
    // The newest first: what was put on top of something goes before it.
    for (const entry of journal.entries().toReversed()) {
      if (!entry.earlier || wanted(entry)) continue;
      const root = rootOf(entry);
      if (root === undefined) {
        journal.removed(entry.id);
        continue;
      }
      const trouble = (removers[entry.kind] ?? removeFile)(root, entry, journal);
      if (trouble !== undefined) troubles.push(trouble);
    }
  });
  return troubles;
}

/** Gives each entry the root of its container; undefined where that very process is gone. */
function withRoots(work: (rootOf: (entry: JournalEntry) => ContainerRoot | undefined) => void): void {
  const roots = new Map<string, { root: ContainerRoot; handle: ProcessHandle | undefined } | undefined>();
  try {
    work((entry) => {
      const key = `${entry.pid} ${entry.startTime}`;
      if (!roots.has(key)) roots.set(key, enter(entry));
      return roots.get(key)?.root;
    });
  } finally {
    for (const entered of roots.values()) {
      entered?.root.close();
      entered?.handle?.close();
    }
  }
}

function enter({ pid, startTime, who }: JournalEntry) {
  if (pid === 0) return { root: ContainerRoot.host(), handle: undefined };
  let handle: ProcessHandle;
  try {
    handle = new ProcessHandle(pid);
  } catch {
    return undefined;
  }
  if (handle.startTime === startTime) return { root: ContainerRoot.of(handle, whoAlone(who)), handle };
  handle.close();
  return undefined;
}

/** `consumer "app"` of `consumer "app" (pid 812)`. */
const whoAlone = (who: string): string => who.replace(/ \(pid \d+\)$/, "");

/** True when something of ours stood under the entry's temporary name and is gone now. Throws when it can't be told. */
function removeTemporary(root: ContainerRoot, entry: JournalEntry): boolean {
  const { temporary, path, object, kind } = entry;
  let directory: number;
  try {
    directory = root.openDirectory(splitPath(path).directory, false);
  } catch (error) {
    if (isErrno(error, ENOENT)) return false;
    throw error;
  }
  try {
    // Killed between making it and its record: under a name of ours, and of the kind that we made, it is ours.
    const outcome = clearTemporary(root, directory, temporary, object, (stat) =>
      KINDS[kind].some((type) => isKind(stat, type)),
    );
    if (outcome === "unknown") throw new Error("no answer");
    return outcome === "removed";
  } finally {
    pvx.pvx_close(directory);
  }
}

/** A mount's file is seen as what is mounted on it, once that is. */
const KINDS = { socket: [S_IFSOCK], node: [S_IFCHR], mount: [S_IFREG, S_IFCHR] } as const;
