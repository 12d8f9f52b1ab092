/**
 * Plants a character device in a container, so that it can really be opened there.
 *
 * A plain container gets a node of its own (mknod). Where the file system of the target
 * would refuse to open one (mounted nodev, or by a user namespace: SB_I_NODEV, fs/super.c)
 * the node is made in a small file system of ours and mounted on a file at the target.
 * A mount goes where its file goes, and goes away when the file is unlinked from outside
 * of the container's mount namespace (fs/namei.c, vfs_unlink: detach_mounts; Linux 3.18):
 * so both kinds are put in place, looked for and removed by the same calls, under the
 * identity of the node that a container finds at the path.
 *
 * Reasons: `Cannot plant device /dev/dri/card0 in consumer "app" (pid 812): a directory stands there`.
 */
import { readlinkSync } from "node:fs";
import { ENOENT, ESTALE } from "../sys/errno.ts";
import { kindName } from "../sys/file-kind.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, O_PATH, S_IFCHR } from "../sys/flags.ts";
import { fd, type GuardedResult, NR, output, require, result, type Step } from "../sys/guarded.ts";
import { pvx } from "../sys/shim.ts";
import { mountedNode, mountNamespaceOf, moveMountStep } from "./devnode-mount.ts";
import type { Journal } from "./journal.ts";
import { deviceNumber, type NodeSpec } from "./node-spec.ts";
import {
  isKind,
  type ObjectIdentity,
  type ObjectStat,
  sameIdentity,
  statName,
  statOf,
  statOpened,
} from "./object-id.ts";
import { type ContainerRoot, isErrno, isOurShortage } from "./root.ts";
import { enterDirectory, settle, splitPath, standsAt, temporaryName, unlinkIfSame, whatStands } from "./settle.ts";
import { removePlanted } from "./socket.ts";

export interface PlantedNode extends ObjectIdentity, NodeSpec {
  /** As the consumer sees it. */
  readonly path: string;
  readonly how: "node" | "mount";
  /** Its record in the journal. */
  readonly journalId: number;
  /** Another link of this consumer has planted the same node, and it removes it. */
  readonly shared: boolean;
}

export interface NodeRequest {
  readonly root: ContainerRoot;
  /** Absolute path in the container. */
  readonly target: string;
  readonly spec: NodeSpec;
  readonly journal: Journal;
  /** `mount` where a node was tried and could not be opened; else decided by the target's file system. */
  readonly how?: "node" | "mount";
  /** What this link planted there before: replaced without the target ever being absent. */
  readonly previous?: PlantedNode;
  /** True for a record in the journal whose node another link keeps: shared where it is as wanted, else in the way. */
  readonly sharedBy?: (journalId: number) => boolean;
}

/** statfs(2), f_flags: of a 64-bit kernel at byte 80 */
const F_FLAGS = 80;
const ST_NODEV = 4;
/** struct statx, linux/stat.h */
const RDEV_MAJOR = 128;
const RDEV_MINOR = 132;

/**
 * Throws an Error whose message is the link's reason; nothing is left behind then but
 * directories. What an earlier run planted there, and is as wanted, is taken over as it is.
 */
export function plantNode(request: NodeRequest): PlantedNode {
  const { root, target } = request;
  try {
    const { directory, name } = splitPath(target);
    const opened = root.openDirectory(directory, true);
    try {
      const ours = whatIsOurs(request, look(root, opened, name));
      if (ours !== undefined && isAsWanted(ours, request)) return takeOver(request, ours);
      if (ours !== undefined && isShared(ours, request))
        throw new Error(`another link has planted ${ours.major}:${ours.minor} there`);
      const how = request.how ?? (refusesDevices(root, opened) ? "mount" : "node");
      return plantIn(request, opened, name, how, ours?.stat);
    } finally {
      pvx.pvx_close(opened);
    }
  } catch (error) {
    throw new Error(`Cannot plant device ${target} in ${root.who}: ${(error as Error).message}`, { cause: error });
  }
}

interface Standing {
  readonly stat: ObjectStat;
  readonly major: number;
  readonly minor: number;
}
/** What stands at the target and is ours, with its record. */
interface Ours extends Standing {
  readonly journalId: number;
  readonly how: "node" | "mount";
}

function look(root: ContainerRoot, directory: number, name: string): Standing | undefined {
  try {
    const program = root.run(() => [enterDirectory(directory), statName(name)]);
    return { stat: statOf(program, 1)!, ...numbersOf(program, 1) };
  } catch (error) {
    if (isErrno(error, ENOENT)) return undefined;
    throw error;
  }
}

function numbersOf(program: GuardedResult, step: number): { readonly major: number; readonly minor: number } {
  const view = new DataView(program.output(step, 4, 256).buffer);
  return { major: view.getUint32(RDEV_MAJOR, true), minor: view.getUint32(RDEV_MINOR, true) };
}

/** Undefined when the place is empty. Throws when it is somebody else's. */
function whatIsOurs(
  { root, target, journal, previous }: NodeRequest,
  standing: Standing | undefined,
): Ours | undefined {
  if (standing === undefined) return undefined;
  const { stat, major, minor } = standing;
  const same = previous !== undefined && sameIdentity(previous, stat);
  if (same) return { ...standing, journalId: previous.journalId, how: previous.how };
  const entry = journal
    .find(root.pid, root.startTime, target)
    .find((e) => e.kind !== "socket" && e.object !== undefined && sameIdentity(e.object, stat));
  if (entry !== undefined) return { ...standing, journalId: entry.id, how: entry.kind === "mount" ? "mount" : "node" };
  if (!isKind(stat, S_IFCHR)) throw new Error(`${kindName(stat.mode)} stands there`);
  throw new Error(`a character device (${major}:${minor}) that is not ours stands there`);
}

function isAsWanted(ours: Ours, { spec, how, previous }: NodeRequest): boolean {
  const { stat } = ours;
  if (ours.journalId === previous?.journalId || (how !== undefined && how !== ours.how)) return false;
  const { major, minor, mode, uid, gid } = spec;
  if (!isKind(stat, S_IFCHR) || ours.major !== major || ours.minor !== minor) return false;
  return (stat.mode & 0o7777) === mode && stat.uid === uid && stat.gid === gid;
}

const isShared = ({ journalId }: Ours, { previous, sharedBy }: NodeRequest): boolean =>
  journalId !== previous?.journalId && sharedBy?.(journalId) === true;

function takeOver(request: NodeRequest, ours: Ours): PlantedNode {
  const { root, target, spec, journal } = request;
  const { stat, journalId, how } = ours;
  const { dev, ino, born } = stat;
  if (isShared(ours, request)) return { ...spec, dev, ino, born, path: target, how, journalId, shared: true };
  // A record of this run: the sweep after the start leaves it alone.
  const id = journal.intend({ ...placeOf(root, target, how), temporary: temporaryName() });
  journal.planted(id, { dev, ino, born });
  journal.removed(journalId);
  return { ...spec, dev, ino, born, path: target, how, journalId: id, shared: false };
}

const placeOf = (root: ContainerRoot, path: string, kind: "node" | "mount") => {
  const { pid, startTime, who } = root;
  return { kind, pid, startTime, who, path };
};

function plantIn(
  request: NodeRequest,
  directory: number,
  name: string,
  how: "node" | "mount",
  ours: ObjectStat | undefined,
): PlantedNode {
  const { root, target, spec, journal } = request;
  const temporary = temporaryName();
  const id = journal.intend({ ...placeOf(root, target, how), temporary });
  let object: ObjectIdentity | undefined;
  try {
    const make = how === "node" ? makeNode : makeMount;
    object = make(root, directory, temporary, spec);
    journal.planted(id, object);
    settle({ root, directory, path: target, name, temporary, object }, ours);
  } catch (error) {
    dropTemporary(root, directory, temporary, object);
    journal.removed(id);
    throw error;
  }
  for (const entry of journal.find(root.pid, root.startTime, target))
    if (entry.id !== id && entry.kind !== "socket") journal.removed(entry.id);
  const { dev, ino, born } = object;
  return { ...spec, dev, ino, born, path: target, how, journalId: id, shared: false };
}

/** After a failure. What was made and could not be told apart any more stands under a name that only we know. */
function dropTemporary(
  root: ContainerRoot,
  directory: number,
  temporary: string,
  object: ObjectIdentity | undefined,
): void {
  try {
    const stands = object ?? whatStands(root, directory, temporary);
    if (stands !== undefined) unlinkIfSame(root, directory, temporary, stands);
  } catch {
    // The container does not answer, or is gone: the failure that brought us here says so.
  }
}

/** mknod(2) under the temporary name. Owner and mode are set by fd, and only on a node of these numbers. */
function makeNode(root: ContainerRoot, directory: number, temporary: string, spec: NodeSpec): ObjectIdentity {
  const { major, minor, mode, uid, gid } = spec;
  const numbers = `${major}:${minor}`;
  const program = root.run(() => [
    { call: "umask(0)", nr: NR.umask, args: [0] },
    enterDirectory(directory),
    {
      call: `mknodat(${JSON.stringify(temporary)}, ${numbers})`,
      nr: NR.mknodat,
      args: [AT_FDCWD, temporary, S_IFCHR | mode, deviceNumber(major, minor)],
    },
    { call: "open(O_PATH)", nr: NR.openat, args: [AT_FDCWD, temporary, O_PATH | O_NOFOLLOW | O_CLOEXEC] },
    ...requireNode(3, numbers, major, minor),
    { call: `fchown(${uid}:${gid})`, nr: NR.fchownat, args: [result(3), "", uid, gid, AT_EMPTY_PATH] },
  ]);
  return statOf(program, 4)!;
}

/** statx of step `opened`, and nothing but a device of these numbers passes. Four steps. */
function requireNode(opened: number, numbers: string, major: number, minor: number): Step[] {
  const call = `the temporary name is not the node ${numbers} any more`;
  const place = (offset: number) => output(opened + 1, 4, offset);
  return [
    statOpened(call, result(opened)),
    require(call, place(RDEV_MAJOR), 4, major, ESTALE),
    require(call, place(RDEV_MINOR), 4, minor, ESTALE),
  ];
}

/** A file under the temporary name, as the container's root, with the node mounted on it. */
function makeMount(root: ContainerRoot, directory: number, temporary: string, spec: NodeSpec): ObjectIdentity {
  const tree = mountedNode(spec);
  const namespace = mountNamespaceOf(root.pid);
  let stat = 0;
  try {
    const program = root.run(() => {
      const steps = [...root.identitySteps(), enterDirectory(directory)];
      const file = steps.push({
        call: `openat(${JSON.stringify(temporary)}, O_CREAT|O_EXCL)`,
        nr: NR.openat,
        args: [AT_FDCWD, temporary, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600],
      });
      steps.push(...moveMountStep(namespace, tree, file - 1), enterDirectory(directory));
      stat = steps.push(statName(temporary)) - 1;
      const call = `the temporary name is not the node ${spec.major}:${spec.minor} any more`;
      const place = (offset: number) => output(stat, 4, offset);
      steps.push(require(call, place(RDEV_MAJOR), 4, spec.major, ESTALE));
      steps.push(require(call, place(RDEV_MINOR), 4, spec.minor, ESTALE));
      return steps;
    });
    return statOf(program, stat)!;
  } finally {
    pvx.pvx_close(tree);
    pvx.pvx_close(namespace);
  }
}

/** Would the target's file system refuse to open a node made there? */
function refusesDevices(root: ContainerRoot, directory: number): boolean {
  if (readlinkSync(`/proc/${root.pid}/ns/user`) !== readlinkSync("/proc/self/ns/user")) return true;
  const program = root.run(() => [{ call: "fstatfs()", nr: NR.fstatfs, args: [fd(directory), new Uint8Array(120)] }]);
  const view = new DataView(program.output(0, 1, 120).buffer);
  return (Number(view.getBigUint64(F_FLAGS, true)) & ST_NODEV) !== 0;
}

export type NodeVerdict = { readonly state: "ok" } | { readonly state: "drifted"; readonly reason: string };

/** Is what we planted still what the consumer finds at its path? A few microseconds where nothing changed. */
export function verifyNode(root: ContainerRoot, planted: PlantedNode): NodeVerdict {
  const { path } = planted;
  if (root.standsCached(path, planted)) return { state: "ok" };
  try {
    if (standsAt(root, path, planted)) return { state: "ok" };
    return { state: "drifted", reason: `${path} in ${root.who} is no longer the device that was planted` };
  } catch (error) {
    if (isOurShortage(error)) return { state: "ok" };
    return { state: "drifted", reason: `Cannot look at ${path} in ${root.who}: ${(error as Error).message}` };
  }
}

/** Takes the node away if it is still ours. Never throws: what can't be removed now keeps its record, and the reason is returned. */
export function removeNode(root: ContainerRoot, planted: PlantedNode, journal: Journal): string | undefined {
  return planted.shared ? undefined : removePlanted(root, planted.path, planted, journal, planted.journalId);
}
