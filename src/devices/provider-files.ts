/**
 * A provider's files as the device links need them: what stands at a path, what a
 * directory holds, a small file's text. Each is resolved inside the provider's root and
 * walked by a child with a deadline, since a container may have mounted a file system
 * that never answers anywhere it likes.
 *
 * Nothing here opens a device: an O_PATH fd only names it.
 */
import type { ContainerRoot } from "../inject/root.ts";
import { ENOENT, ENOTDIR, SysError } from "../sys/errno.ts";
import { kindName } from "../sys/file-kind.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_STATX_DONT_SYNC,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  S_IFCHR,
  S_IFMT,
  S_IFREG,
} from "../sys/flags.ts";
import { type Argument, type GuardedResult, late, NR, result, type Step } from "../sys/guarded.ts";
import { pvx } from "../sys/shim.ts";

/** A directory is read in this many pieces; what is beyond is an error, not cut. About 8,000 names of a /dev. */
const PIECES = 8;
const PIECE_BYTES = 32 * 1024;
/** STATX_BASIC_STATS */
const MASK = 0x7ff;

export interface FileStat {
  /** st_mode with the type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of the device that the node names. */
  readonly major: number;
  readonly minor: number;
  /** Of the file system that the node lies on, with the inode: tells one node from its successor. */
  readonly id: string;
}

export class ProviderFiles {
  readonly root: ContainerRoot;

  constructor(root: ContainerRoot) {
    this.root = root;
  }

  /** What stands at `path`; undefined for nothing. A link at its end is followed only with `follow`, inside the root. */
  stat(path: string, follow = false): FileStat | undefined {
    const flags = O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
    return this.look(
      (root) => [this.root.openStep(root, path, flags), statStep(result(0)), closeStep(result(0))],
      (program) => statOf(program.output(1, 4, 256)),
    );
  }

  /** The character device at `path`; undefined for nothing there. Throws for anything else, a link too. */
  device(path: string, follow = false): FileStat | undefined {
    const stat = this.stat(path, follow);
    if (stat === undefined || (stat.mode & S_IFMT) === S_IFCHR) return stat;
    throw new Error(`${path} ${this.where()} is ${kindName(stat.mode)}, not a character device`);
  }

  /** Names in a directory, sorted; undefined where there is none. */
  list(path: string): string[] | undefined {
    const call = `getdents64(${JSON.stringify(path)})`;
    const piece = (): Step => ({
      call,
      nr: NR.getdents64,
      args: [result(0), new Uint8Array(PIECE_BYTES), PIECE_BYTES],
    });
    const pieces = Array.from({ length: PIECES }, piece);
    const flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC;
    const steps = (root: Argument) => [this.root.openStep(root, path, flags), ...pieces, closeStep(result(0))];
    return this.look(steps, (program) => {
      const names: string[] = [];
      for (let i = 1; i <= PIECES; i++) names.push(...namesOf(program.output(i, 1, program.results[i]!)));
      if (program.results[PIECES]! > 0)
        throw new Error(`Cannot list ${path} ${this.where()}: it holds more than ${names.length} names`);
      return names.sort();
    });
  }

  /** Text of a regular file of at most `max` bytes; undefined where there is none. Throws for anything else. */
  read(path: string, max: number): string | undefined {
    const named = (root: Argument) => ({ ...this.root.openStep(root, path, O_PATH | O_CLOEXEC), handsBack: true });
    const opened = this.look(
      (root) => [named(root), statStep(result(0))],
      (program) => ({
        fd: program.results[0]!,
        mode: statOf(program.output(1, 4, 256)).mode,
      }),
    );
    if (opened === undefined) return undefined;
    try {
      if ((opened.mode & S_IFMT) !== S_IFREG)
        throw new Error(`Cannot read ${path} ${this.where()}: it is ${kindName(opened.mode)}`);
      return this.readOpened(path, opened.fd, max);
    } finally {
      pvx.pvx_close(opened.fd);
    }
  }

  /** The host's own files, which no container has made. */
  get trusted(): boolean {
    return this.root.pid === 0;
  }

  /** "of the host", `of provider "bsp" (pid 812)` */
  where(): string {
    return `of ${this.root.who}`;
  }

  private readOpened(path: string, own: number, max: number): string | undefined {
    // Through the fd: the very inode that was looked at. The child has our /proc.
    const inode = late(own, (inside) => new TextEncoder().encode(`/proc/self/fd/${inside}\0`));
    const steps: Step[] = [
      {
        call: `open(${JSON.stringify(path)})`,
        nr: NR.openat,
        args: [AT_FDCWD, inode, O_RDONLY | O_NONBLOCK | O_CLOEXEC],
      },
      { call: `read(${JSON.stringify(path)})`, nr: NR.read, args: [result(0), new Uint8Array(max + 1), max + 1] },
      closeStep(result(0)),
    ];
    return this.look(
      () => steps,
      (program) => {
        const length = program.results[1]!;
        if (length > max) throw new Error(`Cannot read ${path} ${this.where()}: it has more than ${max} bytes`);
        return new TextDecoder().decode(program.output(1, 1, length));
      },
    );
  }

  /** Runs the steps that `make` gives for the provider's root. undefined: nothing at that path. */
  private look<T>(make: (root: Argument) => readonly Step[], use: (program: GuardedResult) => T): T | undefined {
    let program: GuardedResult;
    try {
      program = this.root.run(make);
    } catch (error) {
      if (error instanceof SysError && (error.errno === ENOENT || error.errno === ENOTDIR)) return undefined;
      throw new Error(`Cannot look into ${this.root.who}: ${(error as Error).message}`);
    }
    return use(program);
  }
}

const statStep = (fd: Argument): Step => ({
  call: "statx()",
  nr: NR.statx,
  args: [fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, MASK, new Uint8Array(256)],
});
const closeStep = (fd: Argument): Step => ({ call: "close()", nr: NR.close, args: [fd] });

/** struct statx (linux/stat.h) */
function statOf(bytes: Uint8Array): FileStat {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const u32 = (at: number) => view.getUint32(at, true);
  return {
    mode: view.getUint16(28, true),
    uid: u32(20),
    gid: u32(24),
    major: u32(128),
    minor: u32(132),
    id: `${u32(136)}:${u32(140)}/${view.getBigUint64(32, true)}`,
  };
}

/** struct linux_dirent64 (getdents(2)) */
function namesOf(bytes: Uint8Array): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const decoder = new TextDecoder();
  const names: string[] = [];
  for (let at = 0; at + 19 < bytes.length; ) {
    const length = view.getUint16(at + 16, true);
    const end = bytes.indexOf(0, at + 19);
    const name = decoder.decode(bytes.subarray(at + 19, end));
    if (name !== "." && name !== "..") names.push(name);
    if (length < 20) break;
    at += length;
  }
  return names;
}
