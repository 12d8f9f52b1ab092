/**
 * Plants a listening socket in a container: bound under a temporary name, listening before
 * anybody can see it, then renamed into place. A link's reason when that can't be:
 * `Cannot plant socket /run/nm/api.sock in consumer "app" (pid 812): a directory stands there`.
 */
import { fchmodSync } from "node:fs";
import { ENOENT, ENOTSUP, SysError } from "../sys/errno.ts";
import { kindName } from "../sys/file-kind.ts";
import { S_IFSOCK, SOCK_SEQPACKET, SOCK_STREAM } from "../sys/flags.ts";
import { fd, NR, result } from "../sys/guarded.ts";
import { pvx } from "../sys/shim.ts";
import { ADDRESS_BYTES, listen, unixAddress, unixSocket } from "../sys/unix-socket.ts";
import type { Journal } from "./journal.ts";
import { clearTemporary, makeNook, type NookName, newNookName } from "./nook.ts";
import {
  isKind,
  type ObjectIdentity,
  type ObjectStat,
  sameIdentity,
  statName,
  statOf,
  statOpened,
} from "./object-id.ts";
import type { ContainerRoot } from "./root.ts";
import { isErrno, isOurShortage } from "./root.ts";
import { NotSettled, removeAt, settle, splitPath, standsAt } from "./settle.ts";

/** Connections that wait to be accepted: one reactor turn's worth under load; the kernel caps it at net.core.somaxconn. */
const BACKLOG = 1024;
/** Any uid in the container may connect: who may use a link is the graph's decision, not the file mode's. */
const SOCKET_MODE = 0o666;
/** Objects of ours that are remembered for one target; an attacker who moves them away makes us lose track of older ones. */
const STALE_MAX = 8;
/** Linux 4.20, net/unix/af_unix.c: an O_PATH fd of the inode that a socket is bound to. */
const SIOCUNIXFILE = 0x89e0;

export interface PlantedSocket extends ObjectIdentity {
  /** Non-blocking, listening. The caller's to close. */
  readonly listenFd: number;
  /** As the consumer sees it. */
  readonly path: string;
  /** Its record in the journal. */
  readonly journalId: number;
}

export interface PlantRequest {
  readonly root: ContainerRoot;
  /** Absolute path in the container, up to 4,095 bytes. */
  readonly target: string;
  readonly seqpacket: boolean;
  readonly journal: Journal;
  /** What this link planted there before: replaced without the target ever being absent. Its listenFd stays open. */
  readonly previous?: PlantedSocket;
}

/** Throws an Error whose message is the link's reason; nothing is left behind then but directories. */
export function plantSocket(request: PlantRequest): PlantedSocket {
  const { root, target } = request;
  try {
    const { directory, name } = splitPath(target);
    const opened = root.openDirectory(directory, true);
    try {
      return plantIn(request, opened, name);
    } finally {
      pvx.pvx_close(opened);
    }
  } catch (error) {
    throw new Error(`Cannot plant socket ${target} in ${root.who}: ${wordsOf(error)}`, { cause: error });
  }
}

function plantIn(request: PlantRequest, directory: number, name: string): PlantedSocket {
  const { root, target, journal } = request;
  const names = newNookName();
  const { pid, startTime, who } = root;
  tidyEarlier(request, directory);
  const socket = unixSocket(request.seqpacket ? SOCK_SEQPACKET : SOCK_STREAM);
  let id = 0;
  let bound: Bound | undefined;
  try {
    id = journal.intend({ kind: "socket", pid, startTime, who, path: target, temporary: names.recorded });
    // The mode of the inode to come is the socket's own less the umask (unix_bind_bsd): no chmod by path follows.
    fchmodSync(socket, SOCKET_MODE);
    bound = bindInNook(root, directory, name, names, socket);
    const { object, from, standing } = bound;
    const ours = whatIsOurs(request, standing);
    listen(socket, BACKLOG);
    journal.planted(id, object);
    // From the exchange until it is unlinked the old one stands in the new one's nook.
    if (ours?.journalId !== undefined) journal.hidden(ours.journalId, names.recorded);
    const { nook, inner } = names;
    settle({ root, directory, path: target, name, from, temporary: inner, nook, object }, ours?.object);
    if (ours?.journalId !== undefined) journal.removed(ours.journalId);
    const { dev, ino, born } = object;
    return { listenFd: socket, dev, ino, born, path: target, journalId: id };
  } catch (error) {
    pvx.pvx_close(socket);
    // Not even the intent could be written: nothing was made.
    if (id === 0) throw error;
    const cleared = clearTemporary(root, directory, names.recorded, bound?.object, (stat) => isKind(stat, S_IFSOCK));
    // What may still stand somewhere keeps its record: it is known as ours when it turns up.
    const gone = error instanceof NotSettled ? error.gone : bound === undefined && cleared === "other";
    if (gone || cleared === "removed") journal.removed(id);
    throw error;
  } finally {
    if (bound !== undefined) pvx.pvx_close(bound.from);
  }
}

interface Bound {
  readonly object: ObjectIdentity;
  /** O_PATH fd of the nook. */
  readonly from: number;
  readonly standing: ObjectStat | undefined;
}

/** Makes the nook and binds in it. Tells the new inode, and what stands at the target. */
function bindInNook(root: ContainerRoot, directory: number, name: string, names: NookName, socket: number): Bound {
  const { nook, inner } = names;
  let at = 0;
  const program = root.run(() => {
    const [make, open] = makeNook(root, fd(directory), nook);
    const steps = [...root.identitySteps(), statName(name, true, fd(directory)), make!, { ...open!, handsBack: true }];
    at = steps.length - 3;
    return [
      ...steps,
      { call: `fchdir(${JSON.stringify(nook)})`, nr: NR.fchdir, args: [result(at + 2)] },
      { call: "bind()", nr: NR.bind, args: [fd(socket), unixAddress(inner), ADDRESS_BYTES] },
      // By the socket, not by the name: that may be another object's already.
      { call: "ioctl(SIOCUNIXFILE)", nr: NR.ioctl, args: [fd(socket), SIOCUNIXFILE, 0], mayFail: true },
      statOpened("statx(socket's inode)", result(at + 5), true),
      { call: "close()", nr: NR.close, args: [result(at + 5)], mayFail: true },
      statName(inner),
    ];
  });
  const from = program.results[at + 2]!;
  const refused = program.results[at]!;
  if (refused < 0 && refused !== -ENOENT) {
    pvx.pvx_close(from);
    throw new SysError(`statx(${JSON.stringify(name)})`, refused);
  }
  return { object: statOf(program, at + 6) ?? statOf(program, at + 8)!, from, standing: statOf(program, at) };
}

/** What stands at the target and may be replaced; undefined when the place is empty. Throws when it is somebody else's. */
function whatIsOurs({ root, target, journal, previous }: PlantRequest, standing: ObjectStat | undefined) {
  if (standing === undefined) return undefined;
  if (!isKind(standing, S_IFSOCK)) throw new Error(`${kindName(standing.mode)} stands there`);
  const recorded = journal.find(root.pid, root.startTime, target).find((e) => isObject(e.object, standing));
  if (recorded !== undefined) return { object: recorded.object!, journalId: recorded.id };
  if (isObject(previous, standing)) return { object: previous!, journalId: undefined };
  throw new Error("a socket that is not ours stands there");
}

const isObject = (object: ObjectIdentity | undefined, stat: ObjectStat): boolean =>
  object !== undefined && sameIdentity(object, stat);

/**
 * Records of what was planted for this target and is no longer there: moved away by the
 * consumer, or not cleared away after a failure. They are kept, so that what turns up
 * again is known as ours, and what they left beside the target is cleared.
 */
function tidyEarlier({ root, target, journal, previous }: PlantRequest, directory: number): void {
  const stale = journal
    .find(root.pid, root.startTime, target)
    .filter((entry) => entry.kind === "socket" && entry.id !== previous?.journalId);
  for (const { id } of stale.slice(0, -STALE_MAX)) journal.removed(id);
  for (const { id, temporary, object } of stale.slice(-STALE_MAX)) {
    const cleared = clearTemporary(root, directory, temporary, object, (stat) => isKind(stat, S_IFSOCK));
    if (object === undefined && cleared !== "unknown") journal.removed(id);
  }
}

export type SocketVerdict = { readonly state: "ok" } | { readonly state: "drifted"; readonly reason: string };

/** Is what we planted still what the consumer finds at its path? A few microseconds where nothing changed. */
export function verifySocket(root: ContainerRoot, planted: PlantedSocket): SocketVerdict {
  const { path } = planted;
  if (root.standsCached(path, planted)) return { state: "ok" };
  try {
    if (standsAt(root, path, planted)) return { state: "ok" };
    return { state: "drifted", reason: `${path} in ${root.who} is no longer the socket that was planted` };
  } catch (error) {
    if (isOurShortage(error)) return { state: "ok" };
    return { state: "drifted", reason: `Cannot look at ${path} in ${root.who}: ${wordsOf(error)}` };
  }
}

/**
 * Takes the socket away if it is still ours; its listenFd is the caller's to close. Never
 * throws: what can't be removed now keeps its record, and the reason is returned.
 */
export function removeSocket(root: ContainerRoot, planted: PlantedSocket, journal: Journal): string | undefined {
  return removePlanted(root, planted.path, planted, journal, planted.journalId);
}

/**
 * As `removeSocket`, for any object at `path` that unlink(2) takes away. What is not found
 * there keeps its record: a consumer that moved it away may move it back.
 */
export function removePlanted(
  root: ContainerRoot,
  path: string,
  object: ObjectIdentity,
  journal: Journal,
  journalId: number,
): string | undefined {
  try {
    const hide = (temporary: string) => {
      try {
        journal.hidden(journalId, temporary);
      } catch {
        // A full disk: an object that stays for sure is worse than one that stays if we are killed in this moment.
      }
    };
    const removed = root.alive && removeAt(root, path, object, hide);
    if (removed) journal.removed(journalId);
    return undefined;
  } catch (error) {
    return root.alive ? `Cannot remove ${path} in ${root.who}: ${wordsOf(error)}` : undefined;
  } finally {
    if (!root.alive) journal.ended(root.pid, root.startTime);
  }
}

function wordsOf(error: unknown): string {
  if (isErrno(error, ENOTSUP)) return `${(error as SysError).call}, whose server may never answer`;
  return error instanceof Error ? error.message : String(error);
}
