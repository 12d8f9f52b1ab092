/**
 * What this kernel can do, found by doing it: a version number says little on a device
 * whose vendor has patched it or whose container filters system calls.
 */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { mountedNode } from "../inject/devnode-mount.ts";
import { EINVAL, ENOSYS, errnoName, SysError } from "../sys/errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH, RESOLVE_CACHED, RESOLVE_IN_ROOT } from "../sys/flags.ts";
import { guarded, NR } from "../sys/guarded.ts";
import { cstring } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import type { Check, CheckStatus } from "./check.ts";

interface Feature {
  readonly name: string;
  /** Linux version that has it. */
  readonly since: string;
  /** What goes without it, and how bad that is. */
  readonly without: string;
  readonly missing: Exclude<CheckStatus, "ok">;
  /** 0 or more when it works, -errno when not. */
  readonly attempt: () => number;
}

const O_ROOT = O_PATH | O_DIRECTORY | O_CLOEXEC;

function openRoot(resolve: number): number {
  const fd = pvx.pvx_openat2(AT_FDCWD, cstring("/"), O_ROOT, 0, resolve);
  return closed(fd);
}
function closed(fd: number): number {
  if (fd >= 0) pvx.pvx_close(fd);
  return fd;
}
/** -errno of what `work` throws. */
function attempted(work: () => number): number {
  try {
    return work();
  } catch (error) {
    const cause = error instanceof SysError ? error : (error as Error).cause;
    return cause instanceof SysError ? -cause.errno : -EINVAL;
  }
}

const FEATURES: readonly Feature[] = [
  {
    name: "openat2 with RESOLVE_IN_ROOT",
    since: "5.6",
    without: "no path inside a container can be resolved safely: nothing is planted in containers",
    missing: "error",
    attempt: () => openRoot(RESOLVE_IN_ROOT),
  },
  {
    name: "RESOLVE_CACHED",
    since: "5.12",
    without: "each new connection walks to its provider in a process of its own, which is slower",
    missing: "note",
    attempt: () => openRoot(RESOLVE_IN_ROOT | RESOLVE_CACHED),
  },
  {
    name: "pidfd_open",
    since: "5.3",
    without: "no process can be held: a container's pid can't be believed",
    missing: "error",
    attempt: () => closed(pvx.pvx_pidfd_open(process.pid)),
  },
  {
    name: "processes that share memory (clone)",
    since: "2.6",
    without: "paths of containers can't be walked with a deadline: nothing is planted in them",
    missing: "error",
    attempt: () => attempted(() => guarded([{ call: "umask()", nr: NR.umask, args: [0] }]).results[0]!),
  },
  {
    name: "mount calls (fsopen, open_tree, move_mount)",
    since: "5.2",
    without: "no devices for user-namespaced containers, nor on file systems mounted nodev",
    missing: "warn",
    attempt: () => attempted(() => closed(mountedNode({ major: 1, minor: 3, mode: 0o600, uid: 0, gid: 0 }))),
  },
  {
    name: "inotify",
    since: "2.6.13",
    without: "devices that come or go are noticed at the next interval only",
    missing: "note",
    attempt: () => closed(pvx.pvx_inotify_init()),
  },
];

/** Kernel features, and what may filter system calls. */
export function kernelChecks(): Check[] {
  const version: Check = {
    area: "kernel",
    name: "version",
    status: "ok",
    detail: `Linux ${release()}, ${process.arch}`,
  };
  return [version, ...FEATURES.map(checkFeature), ...filterChecks(readFileSync("/proc/self/status", "latin1"))];
}

function checkFeature({ name, since, without, missing, attempt }: Feature): Check {
  const r = attempt();
  if (r >= 0) return { area: "kernel", name, status: "ok", detail: "works" };
  const why = r === -ENOSYS ? `this kernel lacks it (Linux ${since})` : errnoName(r);
  return { area: "kernel", name, status: missing, detail: `${why}: ${without}` };
}

/** `status`: text of /proc/self/status. */
export function filterChecks(status: string): Check[] {
  const mode = /^Seccomp:\s*(\d)/m.exec(status)?.[1] ?? "0";
  if (mode === "0") return [];
  const detail = "system calls of this process are filtered: what is refused above may be the filter's doing";
  return [{ area: "kernel", name: "seccomp", status: "note", detail }];
}
