/**
 * A device node to be mounted: made in a file system of the host's own, where it may be
 * opened, and taken out of it as a mount of that one node.
 *
 * The mount calls are Linux 5.2's (fsopen(2), open_tree(2), move_mount(2)). open_tree
 * clones only what is mounted in the caller's own namespace (before Linux 6.15 nothing
 * of a detached mount), so the child makes itself a namespace for the moment, private
 * first, mounts the file system there and clones the node; the namespace ends with it.
 */
import { openSync } from "node:fs";
import { ENOSYS, SysError } from "../sys/errno.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, CLONE_NEWNS, O_CLOEXEC, S_IFCHR } from "../sys/flags.ts";
import { fd, guarded, NR, result, type Step } from "../sys/guarded.ts";
import { deviceNumber, type NodeSpec } from "./node-spec.ts";

const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOUNT_ATTR_NOSUID = 2;
const MOUNT_ATTR_NOEXEC = 8;
const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x40000;
/** Any directory of the child's own namespace serves; this one is there on every system that we run on. */
const PLACE = "/proc";

/** An fd, the caller's, of a detached mount of a new node. Throws SysError. */
export function mountedNode(spec: NodeSpec): number {
  const { major, minor, mode, uid, gid } = spec;
  const set = (key: string, value: string): Step => ({
    call: `fsconfig(${key}=${value})`,
    nr: NR.fsconfig,
    args: [result(0), FSCONFIG_SET_STRING, key, value, 0],
  });
  try {
    const program = guarded([
      { call: 'fsopen("tmpfs")', nr: NR.fsopen, args: ["tmpfs", 1] },
      // Room for the root and the node; the smallest that tmpfs takes.
      set("size", "4k"),
      set("nr_inodes", "3"),
      set("mode", "0700"),
      { call: "fsconfig(CMD_CREATE)", nr: NR.fsconfig, args: [result(0), FSCONFIG_CMD_CREATE, 0, 0, 0] },
      { call: "fsmount()", nr: NR.fsmount, args: [result(0), 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC] },
      { call: "umask(0)", nr: NR.umask, args: [0] },
      {
        call: `mknodat(${major}:${minor})`,
        nr: NR.mknodat,
        args: [result(5), "node", S_IFCHR | mode, deviceNumber(major, minor)],
      },
      {
        call: `fchownat(${uid}:${gid})`,
        nr: NR.fchownat,
        args: [result(5), "node", uid, gid, AT_SYMLINK_NOFOLLOW],
      },
      { call: "unshare(CLONE_NEWNS)", nr: NR.unshare, args: [CLONE_NEWNS] },
      { call: "mount(MS_PRIVATE)", nr: NR.mount, args: ["none", "/", 0, MS_REC | MS_PRIVATE, 0] },
      {
        call: `move_mount(tmpfs, ${PLACE})`,
        nr: NR.moveMount,
        args: [result(5), "", AT_FDCWD, PLACE, MOVE_MOUNT_F_EMPTY_PATH],
      },
      {
        call: "open_tree(OPEN_TREE_CLONE)",
        nr: NR.openTree,
        args: [AT_FDCWD, `${PLACE}/node`, OPEN_TREE_CLONE | O_CLOEXEC],
        handsBack: true,
      },
    ]);
    return program.results[12]!;
  } catch (error) {
    if (error instanceof SysError && error.errno === ENOSYS)
      throw new Error(`${error.message}: this container needs the mount calls of Linux 5.2`);
    throw error;
  }
}

/** Fd of a process's mount namespace, the caller's. */
export const mountNamespaceOf = (pid: number): number => openSync(`/proc/${pid}/ns/mnt`, O_CLOEXEC);

/** Steps that enter the namespace and mount `tree` on the file that step `file` opened. The current directory is lost. */
export function moveMountStep(namespace: number, tree: number, file: number): Step[] {
  return [
    { call: "setns(CLONE_NEWNS)", nr: NR.setns, args: [fd(namespace), CLONE_NEWNS] },
    {
      call: "move_mount()",
      nr: NR.moveMount,
      args: [fd(tree), "", result(file), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH],
    },
  ];
}
