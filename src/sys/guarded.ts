/**
 * A list of system calls run in a short-lived process of their own that shares our
 * memory and fds: with a deadline, since a path inside a container may lie on a FUSE
 * mount that never answers (such a wait ends by SIGKILL only), and free to enter
 * namespaces, since it shares neither threads nor root with us.
 *
 * Fds that the steps open are ours. About 60 µs a program.
 */
import { EDEADLK, EINVAL, SysError } from "./errno.ts";
import { Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

const arm = process.arch === "arm64";
/** System call numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
export const NR = {
  close: arm ? 57 : 3,
  openat: arm ? 56 : 257,
  openat2: 437,
  mkdirat: arm ? 34 : 258,
  mknodat: arm ? 33 : 259,
  unlinkat: arm ? 35 : 263,
  renameat2: arm ? 276 : 316,
  fchmodat: arm ? 53 : 268,
  fchownat: arm ? 54 : 260,
  read: arm ? 63 : 0,
  write: arm ? 64 : 1,
  setns: arm ? 268 : 308,
  unshare: arm ? 97 : 272,
  bind: arm ? 200 : 49,
  connect: arm ? 203 : 42,
  listen: arm ? 201 : 50,
  ioctl: arm ? 29 : 16,
  umask: arm ? 166 : 95,
  chroot: arm ? 51 : 161,
  fchdir: arm ? 50 : 81,
  mount: arm ? 40 : 165,
  umount2: arm ? 39 : 166,
  openTree: 428,
  moveMount: 429,
  setresuid: arm ? 147 : 117,
  setresgid: arm ? 149 : 119,
  setgroups: arm ? 159 : 116,
  setfsuid: arm ? 151 : 122,
  setfsgid: arm ? 152 : 123,
  prctl: arm ? 167 : 157,
  statx: arm ? 291 : 332,
  fstatfs: arm ? 44 : 138,
  readlinkat: arm ? 78 : 267,
  getdents64: arm ? 61 : 217,
  faccessat: arm ? 48 : 269,
} as const;

/** A number, an address, text (passed as a NUL-terminated string), bytes, or `result(i)`: what step i returned. */
export type Argument = number | bigint | string | Uint8Array | StepResult;
export interface StepResult {
  readonly step: number;
}
export const result = (step: number): StepResult => ({ step });

export interface Step {
  /** As it appears in an error: `openat2("/run/nm", RESOLVE_IN_ROOT)`. */
  readonly call: string;
  readonly nr: number;
  readonly args: readonly Argument[];
  /** A failure of this step is not the program's. */
  readonly mayFail?: boolean;
}

const STEP_BYTES = 72;
const STACK_BYTES = 32 * 1024;
/** Longest that one program may take: a device's slowest honest file system answers well within it. */
export const GUARD_MS = 2000;
/** Children that could not even be killed, each costing its buffers: give up beyond. */
const LOST_MAX = 16;
let lost = 0;
let stack = new Memory(STACK_BYTES);
const failedStep = new Memory(4);
const failedView = new Int32Array(failedStep.buffer);

/** Lays the arguments' strings and bytes out behind the steps and returns the block. */
function assemble(steps: readonly Step[]): Memory {
  const encoder = new TextEncoder();
  const data = steps.map((s) =>
    s.args.map((a) => (typeof a === "string" ? encoder.encode(`${a}\0`) : a instanceof Uint8Array ? a : undefined)),
  );
  const align = (n: number) => (n + 7) & ~7;
  const size = data.flat().reduce((sum, d) => sum + (d === undefined ? 0 : align(d.length)), steps.length * STEP_BYTES);
  const block = new Memory(size);
  const view = new DataView(block.buffer);
  let free = steps.length * STEP_BYTES;
  for (const [i, step] of steps.entries()) {
    const at = i * STEP_BYTES;
    let refs = 0;
    view.setBigInt64(at, BigInt(step.nr), true);
    for (const [k, argument] of step.args.entries()) {
      const bytes = data[i]![k];
      let value: bigint;
      if (bytes !== undefined) {
        block.bytes.set(bytes, free);
        value = BigInt(block.address) + BigInt(free);
        free += align(bytes.length);
      } else if (typeof argument === "object") {
        refs |= 1 << k;
        value = BigInt((argument as StepResult).step);
      } else value = BigInt(argument as number | bigint);
      view.setBigInt64(at + 8 + 8 * k, value, true);
    }
    view.setUint32(at + 56, refs, true);
    view.setUint32(at + 60, step.mayFail === true ? 1 : 0, true);
  }
  return block;
}

export interface GuardedResult {
  /** What each step returned; -ETIMEDOUT for those that did not run. */
  readonly results: readonly number[];
  /** Copies bytes that the steps wrote into argument `k` of step `i`. */
  output(step: number, argument: number, length: number): Uint8Array;
}

/**
 * Runs the steps up to the first that fails. Throws SysError with that step's call, or
 * with clone's own where the process can't be made (user-mode emulators: EINVAL).
 */
export function guarded(steps: readonly Step[], timeoutMs = GUARD_MS): GuardedResult {
  if (lost >= LOST_MAX) throw new Error(`Cannot start another guarded call: ${lost} earlier ones hang beyond SIGKILL`);
  const block = assemble(steps);
  const r = Number(
    pvx.pvx_guarded(block.address, steps.length, stack.address, STACK_BYTES, timeoutMs, failedStep.address),
  );
  if (r === -EDEADLK) {
    // The child may still write to both: they are never used, nor collected, again.
    lost++;
    leaked.push(block, stack);
    stack = new Memory(STACK_BYTES);
    throw new SysError(`${steps.map((s) => s.call).join("; ")} (hangs beyond SIGKILL)`, r);
  }
  const view = new DataView(block.buffer);
  const results = steps.map((_, i) => Number(view.getBigInt64(i * STEP_BYTES + 64, true)));
  if (r < 0) {
    const index = failedView[0]!;
    const step = steps[index];
    const why =
      step?.call ??
      `${steps.find((_, i) => results[i] === -110)?.call ?? "clone()"} (no answer within ${timeoutMs} ms)`;
    for (const [i, value] of results.entries()) if (value >= 0 && opens(steps[i]!.nr)) pvx.pvx_close(value);
    throw new SysError(r === -EINVAL && index < 0 ? "clone(CLONE_VM|CLONE_FILES|CLONE_PIDFD)" : why, r);
  }
  return {
    results,
    output(step, argument, length) {
      const address = Number(view.getBigInt64(step * STEP_BYTES + 8 + 8 * argument, true));
      const from = address - Number(block.address);
      return block.bytes.slice(from, from + length);
    },
  };
}
const leaked: Memory[] = [];

/** Steps whose result is an fd: a failed program closes what it opened. */
const opens = (nr: number): boolean => nr === NR.openat || nr === NR.openat2 || nr === NR.openTree;
