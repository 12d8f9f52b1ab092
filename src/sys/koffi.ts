/**
 * The cold, struct-shaped half of the shim, bound with koffi's C prototypes.
 *
 * Why not `import "koffi"`: its loader looks for files beside a package.json that
 * a compiled binary does not have. The addon is embedded as a plain file and
 * opened from a memfd, so no directory is written to. About 1 MB of RSS, control
 * thread only, loaded at the first use.
 */
import { readFileSync } from "node:fs";
import type * as Koffi from "koffi";
import koffiFile from "../../build/native/koffi.addon" with { type: "file" };
import shimFile from "../../build/native/libpvx.so" with { type: "file" };
import { memfdOf, pvx } from "./shim.ts";

/** struct statx (statx(2)), the fields that are read; the kernel's layout is the same on all architectures. */
export interface StatxFields {
  readonly stx_mask: number;
  readonly stx_mode: number;
  readonly stx_nlink: number;
  readonly stx_uid: number;
  readonly stx_gid: number;
  readonly stx_ino: number | bigint;
  readonly stx_rdev_major: number;
  readonly stx_rdev_minor: number;
  readonly stx_dev_major: number;
  readonly stx_dev_minor: number;
  readonly stx_mnt_id: number | bigint;
}

export interface ColdCalls {
  statx(dir: number, name: string, flags: number, mask: number, out: Partial<StatxFields>): number;
  /** f_type of the file system under `fd` (statfs(2)) in `out.f_type`. */
  fstatfs(fd: number, out: { f_type?: number | bigint }): number;
  execve(path: string, argv: (string | null)[], envp: (string | null)[]): number;
  fsopen(type: string): number;
  fsconfig(fd: number, command: number, key: string | null, value: string | null, aux: number): number;
  fsmount(fd: number, attributes: number): number;
  openTree(dir: number, path: string, flags: number): number;
  moveMount(from: number, fromPath: string, to: number, toPath: string, flags: number): number;
  umount2(path: string, flags: number): number;
  prctl(op: number, a: number, b: number): number;
}

function openAddon(): typeof Koffi {
  const fd = memfdOf("koffi.node", readFileSync(koffiFile));
  const module = { exports: {} as typeof Koffi };
  try {
    // Another spelling than the shim's path: the dynamic loader takes a name that it has
    // seen for the library it loaded then, and fd numbers are used again.
    process.dlopen(module, `/proc/self/./fd/${fd}`);
  } finally {
    pvx.pvx_close(fd);
  }
  return module.exports;
}

function open(): ColdCalls {
  const koffi = openAddon();
  const fd = memfdOf("libpvx.so", readFileSync(shimFile));
  const lib = koffi.load(`/proc/self/fd/${fd}`);
  pvx.pvx_close(fd);
  koffi.struct("pvx_statx_timestamp", { sec: "int64", nsec: "uint32", pad: "int32" });
  koffi.struct("pvx_statx_out", {
    stx_mask: "uint32",
    stx_blksize: "uint32",
    stx_attributes: "uint64",
    stx_nlink: "uint32",
    stx_uid: "uint32",
    stx_gid: "uint32",
    stx_mode: "uint16",
    pad0: "uint16",
    stx_ino: "uint64",
    stx_size: "uint64",
    stx_blocks: "uint64",
    stx_attributes_mask: "uint64",
    stx_atime: "pvx_statx_timestamp",
    stx_btime: "pvx_statx_timestamp",
    stx_ctime: "pvx_statx_timestamp",
    stx_mtime: "pvx_statx_timestamp",
    stx_rdev_major: "uint32",
    stx_rdev_minor: "uint32",
    stx_dev_major: "uint32",
    stx_dev_minor: "uint32",
    stx_mnt_id: "uint64",
    tail: koffi.array("uint64", 13),
  });
  // struct statfs of a 64-bit kernel: 120 bytes, of which the type leads.
  koffi.struct("pvx_statfs_out", { f_type: "int64", tail: koffi.array("int64", 14) });
  return {
    statx: lib.func("int pvx_statx(int dir, const char *name, int flags, uint32 mask, _Out_ pvx_statx_out *out)"),
    fstatfs: lib.func("int pvx_fstatfs(int fd, _Out_ pvx_statfs_out *out)"),
    execve: lib.func("int pvx_execve(const char *path, const char **argv, const char **envp)"),
    fsopen: lib.func("int pvx_fsopen(const char *type)"),
    fsconfig: lib.func("int pvx_fsconfig(int fd, uint32 command, const char *key, const char *value, int aux)"),
    fsmount: lib.func("int pvx_fsmount(int fd, uint32 attributes)"),
    openTree: lib.func("int pvx_open_tree(int dir, const char *path, uint32 flags)"),
    moveMount: lib.func(
      "int pvx_move_mount(int from, const char *from_path, int to, const char *to_path, uint32 flags)",
    ),
    umount2: lib.func("int pvx_umount2(const char *path, int flags)"),
    prctl: lib.func("int pvx_prctl(int op, uint64 a, uint64 b)"),
  };
}

let bound: ColdCalls | undefined;

/** The cold calls; loads koffi at the first use. */
export function cold(): ColdCalls {
  bound ??= open();
  return bound;
}
