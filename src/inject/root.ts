/**
 * The place that things are planted in: a container's root directory, or the host's.
 *
 * Every path is resolved with that root as "/" (openat2(2), RESOLVE_IN_ROOT), as the
 * container's own root user, in a child with a deadline. So what a container puts on the
 * way (links to host paths, `..`, magic links, a FUSE mount that never answers) leads
 * nowhere outside, gains no right that its root lacks, and holds nobody up for long.
 */
import { EEXIST, ENOENT, ENOSYS, ENOTSUP, EPERM, SysError } from "../sys/errno.ts";
import {
  FUSE_SUPER_MAGIC,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_CACHED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../sys/flags.ts";
import {
  type Argument,
  canGuard,
  fd,
  type GuardedResult,
  inline,
  NR,
  output,
  require,
  result,
  resultPlace,
  type Step,
} from "../sys/guarded.ts";
import { cstring } from "../sys/memory.ts";
import { type ProcessHandle, rootIdsOf } from "../sys/process.ts";
import { QuickStat } from "../sys/quick-stat.ts";
import { pvx } from "../sys/shim.ts";
import { hostRoot, PeerRoot } from "./peer-root.ts";
import { walk } from "./walk.ts";

const O_FIND_DIRECTORY = O_PATH | O_DIRECTORY | O_CLOEXEC;
const IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
/** Mode of directories that are made on the way to a target. */
const DIRECTORY_MODE = 0o755;
/** Somebody else may make, or take away, a directory while we do: look again this often. */
const CREATE_TRIES = 4;
const stat = new QuickStat();
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

export class ContainerRoot {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat; "" for the host. */
  readonly startTime: string;
  /** For messages: `consumer "app" (pid 812)`, `the host`. */
  readonly who: string;
  private readonly peer: PeerRoot;
  private readonly handle: ProcessHandle | undefined;
  private ids: { readonly uid: number; readonly gid: number } | undefined;

  private constructor(handle: ProcessHandle | undefined, who: string) {
    this.handle = handle;
    this.pid = handle?.pid ?? 0;
    this.startTime = handle?.startTime ?? "";
    this.who = who;
    this.peer = new PeerRoot(this.pid, handle?.startTime);
  }

  static host(): ContainerRoot {
    return new ContainerRoot(undefined, "the host");
  }

  /** `handle` stays the caller's. `who` names the container in messages: `consumer "app"`. */
  static of(handle: ProcessHandle, who: string): ContainerRoot {
    return new ContainerRoot(handle, `${who} (pid ${handle.pid})`);
  }

  /** False once the process is gone: what stood in its mount namespace went with it. */
  get alive(): boolean {
    return this.handle?.alive ?? true;
  }

  /** The host's ids of the container's root user. */
  rootIds(): { readonly uid: number; readonly gid: number } {
    if (this.pid === 0) return { uid: 0, gid: 0 };
    this.ids ??= rootIdsOf(this.pid);
    return this.ids;
  }

  /**
   * Runs steps that get this root as an fd. Throws SysError with the failed step's call, or
   * Error when the root can't be entered. Results that are handed back are the caller's.
   */
  run(steps: (root: Argument) => readonly Step[]): GuardedResult {
    const root = this.peer.open();
    if (typeof root === "string") throw new Error(root);
    try {
      const program = steps(fd(root));
      if (this.pid !== 0) return walk(this.peer.scope, program);
      return canGuard() ? this.runOnHost(program) : inline(program);
    } finally {
      this.peer.release(root);
    }
  }

  private runOnHost(program: readonly Step[]): GuardedResult {
    try {
      return walk(undefined, program);
    } catch (error) {
      if (canGuard()) throw error;
      // The first attempt told that no child can be cloned here (user-mode emulators).
      return inline(program);
    }
  }

  /** First steps of a program that creates something: as the container's root, with modes taken as given. */
  identitySteps(): Step[] {
    const { uid, gid } = this.rootIds();
    const steps: Step[] = [{ call: "umask(0)", nr: NR.umask, args: [0] }];
    if (uid === 0 && gid === 0) return steps;
    // A changed fsuid drops the capabilities over files, on purpose: its root could not pass either.
    return [
      ...steps,
      { call: "setgroups(0)", nr: NR.setgroups, args: [0, 0] },
      { call: `setfsgid(${gid})`, nr: NR.setfsgid, args: [gid] },
      { call: `setfsuid(${uid})`, nr: NR.setfsuid, args: [uid] },
      // setfs*id(2) have no error: an impossible id tells what is in force.
      { call: "setfsgid(-1)", nr: NR.setfsgid, args: [-1] },
      require(`setfsgid(${gid})`, resultPlace(4), 4, gid, EPERM),
      { call: "setfsuid(-1)", nr: NR.setfsuid, args: [-1] },
      require(`setfsuid(${uid})`, resultPlace(6), 4, uid, EPERM),
      { call: "prctl(PR_SET_PDEATHSIG)", nr: NR.prctl, args: [PR_SET_PDEATHSIG, SIGKILL] },
    ];
  }

  /**
   * O_PATH fd, the caller's, of a directory of the container that lies on no FUSE file
   * system. With `create` what is missing on the way is made, 0755, owned by the container's
   * root, one component at a time. Throws SysError.
   */
  openDirectory(path: string, create: boolean): number {
    for (let attempt = 1; ; attempt++) {
      try {
        return this.openExisting(path);
      } catch (error) {
        if (!create || !isErrno(error, ENOENT)) throw error;
      }
      try {
        return this.createFrom(this.deepestExisting(path), path);
      } catch (error) {
        if (!isErrno(error, EEXIST) && !isErrno(error, ENOENT)) throw error;
        if (attempt < CREATE_TRIES) continue;
        // It is there and yet leads nowhere: not a race that many times over.
        throw new Error(
          `${(error as SysError).message}, and yet ${path} leads nowhere (a dangling symbolic link on the way)`,
        );
      }
    }
  }

  /** Opens a directory and fails when it lies on FUSE; the first step is the program's step `at`, and its result the fd. */
  openDirectorySteps(root: Argument, path: string, at: number): Step[] {
    return [this.openStep(root, path, O_FIND_DIRECTORY), ...refuseFuse(at, path)];
  }

  /** openat2(2) of `path` in this root, as a step. */
  openStep(root: Argument, path: string, flags: number): Step {
    const call = `openat2(${JSON.stringify(path)}, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)`;
    // An emulator without openat2: on the host's own paths the plain call will do.
    if (this.pid === 0 && !hasOpenat2()) return { call, nr: NR.openat, args: [root, path, flags | O_CLOEXEC, 0] };
    return { call, nr: NR.openat2, args: [root, path, openHow(flags, IN_ROOT), 24] };
  }

  /** openat2(2) of one name in a directory, as a step; `resolve` must keep it there. */
  openBelowStep(directory: Argument, name: string, flags: number, resolve: number): Step {
    const call = `openat2(${JSON.stringify(name)}, RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)`;
    if (this.pid === 0 && !hasOpenat2())
      return { call, nr: NR.openat, args: [directory, name, flags | O_NOFOLLOW | O_CLOEXEC, 0] };
    return { call, nr: NR.openat2, args: [directory, name, openHow(flags, resolve), 24] };
  }

  /**
   * True when the dentry cache alone tells that `path` is `object`; false: not, or unknown.
   * Never waits, so it needs no guard: a few microseconds.
   */
  standsCached(path: string, object: { readonly dev: string; readonly ino: string }): boolean {
    const root = this.peer.open();
    if (typeof root === "string") return false;
    const found = pvx.pvx_openat2(root, cstring(path), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, IN_ROOT | RESOLVE_CACHED);
    this.peer.release(root);
    if (found < 0) return false;
    const same = stat.read(found) === 0 && stat.device === object.dev && String(stat.ino) === object.ino;
    pvx.pvx_close(found);
    return same;
  }

  close(): void {
    this.peer.close();
  }

  private openExisting(path: string): number {
    const program = this.run((root) => {
      const [open, ...checks] = this.openDirectorySteps(root, path, 0);
      return [{ ...open!, handsBack: true }, ...checks];
    });
    return program.results[0]!;
  }

  /** The components of `path` that exist, as a path; what is below does not. */
  private deepestExisting(path: string): string {
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const ancestor = path.slice(0, at);
      try {
        this.run((root) => [this.openStep(root, ancestor, O_FIND_DIRECTORY)]);
        return ancestor;
      } catch (error) {
        if (!isErrno(error, ENOENT)) throw error;
      }
    }
    return "/";
  }

  private createFrom(ancestor: string, path: string): number {
    const missing = path
      .slice(ancestor.length)
      .split("/")
      .filter((part) => part !== "");
    const program = this.run((root) => {
      const steps = this.identitySteps();
      let parent = steps.push(this.openStep(root, ancestor, O_FIND_DIRECTORY)) - 1;
      // Before anything is made there.
      steps.push(...refuseFuse(parent, ancestor));
      for (const part of missing) {
        const name = JSON.stringify(part);
        steps.push({ call: `mkdirat(${name})`, nr: NR.mkdirat, args: [result(parent), part, DIRECTORY_MODE] });
        const opened = steps.push(this.openMade(parent, part)) - 1;
        steps.push({ call: "close()", nr: NR.close, args: [result(parent)] });
        parent = opened;
      }
      steps[parent] = { ...steps[parent]!, handsBack: true };
      return steps;
    });
    return program.results.at(-2)!;
  }

  /** What was just made, and not a link that somebody put in its place. */
  private openMade(parent: number, name: string): Step {
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    return this.openBelowStep(result(parent), name, O_FIND_DIRECTORY | O_NOFOLLOW, resolve);
  }
}

/** Fails with ENOTSUP when what step `step` opened lies on FUSE: its server may never answer. */
function refuseFuse(step: number, path: string): Step[] {
  const call = `fstatfs(${JSON.stringify(path)})`;
  return [
    { call, nr: NR.fstatfs, args: [result(step), new Uint8Array(120)] },
    require(`${call} says FUSE`, output(step + 1, 1, 0), 4, FUSE_SUPER_MAGIC, ENOTSUP, true),
  ];
}

/** struct open_how (openat2(2)). */
function openHow(flags: number, resolve: number): Uint8Array {
  return new Uint8Array(new BigUint64Array([BigInt(flags | O_CLOEXEC), 0n, BigInt(resolve)]).buffer);
}

let openat2Exists: boolean | undefined;
function hasOpenat2(): boolean {
  if (openat2Exists === undefined) {
    const r = pvx.pvx_openat2(hostRoot().fd, cstring("/"), O_FIND_DIRECTORY, 0, IN_ROOT);
    if (r >= 0) pvx.pvx_close(r);
    openat2Exists = r !== -ENOSYS;
  }
  return openat2Exists;
}

export const isErrno = (error: unknown, errno: number): boolean => error instanceof SysError && error.errno === errno;

/**
 * True when we could not look for want of something of our own (fds, memory, processes): that
 * tells nothing of the container. Whoever takes all fds must not take others' links with them.
 */
export const isOurShortage = (error: unknown): boolean =>
  error instanceof Error && /: (EMFILE|ENFILE|ENOMEM|EAGAIN)$/.test(error.message);
