/**
 * Plants a listening socket in a container: bound under a temporary name, listening before
 * anybody can see it, then renamed into place. A link's reason when that can't be:
 * `Cannot plant socket /run/nm/api.sock in consumer "app" (pid 812): a directory stands there`.
 */
import { fchmodSync } from "node:fs";
import { ENOENT, ENOTSUP, SysError } from "../sys/errno.ts";
import { kindName } from "../sys/files.ts";
import { S_IFSOCK, SOCK_SEQPACKET, SOCK_STREAM } from "../sys/flags.ts";
import { fd, NR, result } from "../sys/guarded.ts";
import { pvx } from "../sys/shim.ts";
import { ADDRESS_BYTES, listen, unixAddress, unixSocket } from "../sys/unix-socket.ts";
import type { Journal } from "./journal.ts";
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
import { isErrno } from "./root.ts";
import { enterDirectory, removeObject, settle, splitPath, standsAt, temporaryName, unlinkIfSame } from "./settle.ts";

/** Connections that wait to be accepted: one reactor turn's worth under load; the kernel caps it at net.core.somaxconn. */
const BACKLOG = 1024;
/** Any uid in the container may connect: who may use a link is the graph's decision, not the file mode's. */
const SOCKET_MODE = 0o666;
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
  const temporary = temporaryName();
  const { pid, startTime, who } = root;
  const id = journal.intend({ kind: "socket", pid, startTime, who, path: target, temporary });
  const socket = unixSocket(request.seqpacket ? SOCK_SEQPACKET : SOCK_STREAM);
  let object: ObjectIdentity | undefined;
  try {
    // The mode of the inode to come is the socket's own less the umask (unix_bind_bsd): no chmod by path follows.
    fchmodSync(socket, SOCKET_MODE);
    const bound = bind(root, directory, name, temporary, socket);
    object = bound.object;
    const ours = whatIsOurs(request, bound.standing);
    listen(socket, BACKLOG);
    journal.planted(id, object);
    settle({ root, directory, path: target, name, temporary, object }, ours);
    forgetReplaced(request, id);
  } catch (error) {
    if (object !== undefined) unlinkIfSame(root, directory, temporary, object);
    pvx.pvx_close(socket);
    journal.removed(id);
    throw error;
  }
  const { dev, ino, born } = object;
  return { listenFd: socket, dev, ino, born, path: target, journalId: id };
}

/** Binds under the temporary name. Tells the new inode, and what stands at the target. */
function bind(root: ContainerRoot, directory: number, name: string, temporary: string, socket: number) {
  let at = 0;
  const program = root.run(() => {
    const steps = [...root.identitySteps(), enterDirectory(directory)];
    at = steps.length;
    return [
      ...steps,
      statName(name, true),
      {
        call: `bind(${JSON.stringify(temporary)})`,
        nr: NR.bind,
        args: [fd(socket), unixAddress(temporary), ADDRESS_BYTES],
      },
      // By the socket, not by the name: that may be another object's already.
      { call: "ioctl(SIOCUNIXFILE)", nr: NR.ioctl, args: [fd(socket), SIOCUNIXFILE, 0], mayFail: true },
      statOpened("statx(socket's inode)", result(at + 2), true),
      statName(temporary),
    ];
  });
  const object = statOf(program, at + 3) ?? statOf(program, at + 4)!;
  const refused = program.results[at]!;
  if (refused < 0 && refused !== -ENOENT) throw new SysError(`statx(${JSON.stringify(name)})`, refused);
  return { object, standing: statOf(program, at) };
}

/** What stands at the target and may be replaced; undefined when the place is empty. Throws when it is somebody else's. */
function whatIsOurs({ root, target, journal, previous }: PlantRequest, standing: ObjectStat | undefined) {
  if (standing === undefined) return undefined;
  if (!isKind(standing, S_IFSOCK)) throw new Error(`${kindName(standing.mode)} stands there`);
  const recorded = journal.find(root.pid, root.startTime, target).map((entry) => entry.object);
  const ours = [previous, ...recorded].find((object) => object !== undefined && sameIdentity(object, standing));
  if (ours === undefined) throw new Error("a socket that is not ours stands there");
  return ours;
}

/** Records of what stood here before: replaced now, or gone for long. */
function forgetReplaced({ root, target, journal }: PlantRequest, id: number): void {
  for (const entry of journal.find(root.pid, root.startTime, target)) if (entry.id !== id) journal.removed(entry.id);
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

/** As `removeSocket`, for any object at `path` that unlink(2) takes away. */
export function removePlanted(
  root: ContainerRoot,
  path: string,
  object: ObjectIdentity,
  journal: Journal,
  journalId: number,
): string | undefined {
  try {
    // Its mount namespace, and all that stood there, went with the container.
    if (root.alive) removeIn(root, path, object, (temporary) => journal.hidden(journalId, temporary));
    journal.removed(journalId);
    return undefined;
  } catch (error) {
    if (root.alive) return `Cannot remove ${path} in ${root.who}: ${wordsOf(error)}`;
    journal.removed(journalId);
    return undefined;
  }
}

function removeIn(
  root: ContainerRoot,
  path: string,
  object: ObjectIdentity,
  journaled: (temporary: string) => void,
): void {
  const { directory, name } = splitPath(path);
  let opened: number;
  try {
    opened = root.openDirectory(directory, false);
  } catch (error) {
    if (isErrno(error, ENOENT)) return;
    throw error;
  }
  try {
    removeObject(root, opened, name, object, journaled);
  } finally {
    pvx.pvx_close(opened);
  }
}

function wordsOf(error: unknown): string {
  if (isErrno(error, ENOTSUP)) return `${(error as SysError).call}, whose server may never answer`;
  return error instanceof Error ? error.message : String(error);
}
