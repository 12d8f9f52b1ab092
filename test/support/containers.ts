/**
 * Real containers for tests and the demo: mount, pid and uts namespaces (and a user
 * namespace on request) around a busybox root, made by native/container.c in a few ms.
 *
 *   const app = await startContainer({ name: "app" });
 *   await app.sh("mkdir -p /run/nm");
 *   const peer = await app.start(["peer", "serve", "/run/nm/api.sock", "--mode", "echo"]);
 *   await peer.event("listening");
 *   await app.stop();
 *
 * `peer` (native/peer.c) is in every container's PATH. Everything in a container dies with
 * it, it dies with its launcher, and that with the test process: nothing outlives a run.
 */

import { nativeProgram } from "./native.ts";
import { type Finished, Program } from "./program.ts";

/** First id of a user-namespaced container: its root is this uid and gid on the host; 65,536 of them. */
export const USERNS_BASE = 100_000;
/** Longest time to come up or go; it takes about 10 ms on an idle machine. */
const START_MS = 15_000;

export interface ContainerOptions {
  readonly name: string;
  /** Ids shifted to USERNS_BASE; /run and /dev then belong to that user namespace. */
  readonly userns?: boolean;
  readonly readonlyRoot?: boolean;
  /** The host's /usr and /etc, read-only, in place of busybox: for dbus-daemon, weston, python3 inside. */
  readonly hostPrograms?: boolean;
  /** Files or directories of the host to show inside, read-only. */
  readonly binds?: readonly { readonly from: string; readonly to: string }[];
  /** Host files to copy in, executable, owned by the container's root. */
  readonly copies?: readonly { readonly from: string; readonly to: string }[];
}

export interface Inside {
  readonly uid?: number;
  readonly gid?: number;
  readonly groups?: readonly number[];
  readonly env?: Readonly<Record<string, string>>;
  /** Deadline of `exec` and `sh` in ms. */
  readonly ms?: number;
}

export interface Container {
  readonly name: string;
  /** Its init, in this process's pid namespace: what a graph's consumer_pid or provider_pid says. */
  readonly pid: number;
  /** Host uid and gid of the container's root: 0, or USERNS_BASE. */
  readonly rootId: number;
  /** Where the host sees a path of the container. Follows the container's symlinks as the host would: for tests that know what is there. */
  hostPath(path: string): string;
  /** Runs a program inside to its end. */
  exec(argv: readonly string[], options?: Inside): Promise<Finished>;
  /** Runs a shell script inside; gives its output, throws with its errors when it exits other than 0. */
  sh(script: string, options?: Inside): Promise<string>;
  /** Starts a program inside. Its guard process ends it at `stop()` and when the test dies. */
  start(argv: readonly string[], options?: Inside): Program;
  /** Kills everything in it and waits until its init is gone. Idempotent. */
  stop(): Promise<void>;
}

/** The calls that only need an init's pid: the same for our containers, LXC, and a bare process. */
export function insideOf(pid: number): Pick<Container, "hostPath" | "exec" | "sh" | "start"> {
  const start = (argv: readonly string[], options: Inside = {}): Program =>
    new Program(execArguments(pid, argv, options));
  const exec = (argv: readonly string[], options: Inside = {}): Promise<Finished> =>
    new Program(execArguments(pid, argv, options), { stdin: "ignore" }).finished(options.ms);
  return {
    hostPath: (path) => `/proc/${pid}/root${path}`,
    exec,
    start,
    sh: async (script, options) => {
      const done = await exec(["sh", "-c", script], options);
      if (done.code !== 0) throw new Error(`Cannot run in pid ${pid}: ${script}: exit ${done.code}: ${done.stderr}`);
      return done.stdout;
    },
  };
}

function execArguments(pid: number, argv: readonly string[], options: Inside): string[] {
  const flags = ["--uid", `${options.uid ?? 0}`, "--gid", `${options.gid ?? options.uid ?? 0}`];
  if (options.groups?.length) flags.push("--groups", options.groups.join(","));
  for (const [key, value] of Object.entries(options.env ?? {})) flags.push("--env", `${key}=${value}`);
  return [nativeProgram("container"), "exec", `${pid}`, ...flags, "--", ...argv];
}

function runArguments(options: ContainerOptions): string[] {
  const argv = [nativeProgram("container"), "run", "--name", options.name];
  if (options.userns) argv.push("--userns", `${USERNS_BASE}`);
  if (options.readonlyRoot) argv.push("--readonly-root");
  const binds = [...(options.binds ?? [])];
  if (options.hostPrograms) {
    // First, so that a test can put files of its own over them.
    binds.unshift({ from: "/usr", to: "/usr" }, { from: "/etc", to: "/etc" });
    // Debian's merged /usr: the linker's path in every program's header goes through these.
    for (const name of ["bin", "sbin", "lib", "lib64"]) argv.push("--symlink", `usr/${name}:/${name}`);
  } else {
    const busybox = Bun.which("busybox");
    if (busybox === null) throw new Error("Cannot make a container: busybox is missing (Debian: busybox-static)");
    argv.push("--busybox", busybox);
    argv.push("--copy", `${nativeProgram("peer")}:/bin/peer`);
  }
  if (options.hostPrograms) argv.push("--copy", `${nativeProgram("peer")}:/opt/peer`);
  for (const { from, to } of binds) argv.push("--bind", `${from}:${to}`);
  for (const { from, to } of options.copies ?? []) argv.push("--copy", `${from}:${to}`);
  return argv;
}

/** Starts a container and waits until it is up. Needs root. */
export async function startContainer(options: ContainerOptions): Promise<Container> {
  const launcher = new Program(runArguments(options));
  const line = await launcher.line(/^pid \d+$/, { ms: START_MS });
  const pid = Number(line.slice(4));
  return {
    name: options.name,
    pid,
    rootId: options.userns ? USERNS_BASE : 0,
    ...insideOf(pid),
    // The launcher kills its init and waits for it: no SIGTERM, that would leave this to the death signal.
    stop: async () => {
      launcher.closeInput();
      await launcher.finished(START_MS);
    },
  };
}
