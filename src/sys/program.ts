/**
 * A program of system calls as the kernel gets it: the steps of native/pvx.c's `struct
 * step`, and behind them their strings and bytes. Made here, run by guarded.ts.
 */
import { Memory } from "./memory.ts";

const arm = process.arch === "arm64";
/** System call numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
export const NR = {
  /** Not a system call: `require` below. */
  require: -1,
  close: arm ? 57 : 3,
  openat: arm ? 56 : 257,
  openat2: 437,
  mkdirat: arm ? 34 : 258,
  mknodat: arm ? 33 : 259,
  unlinkat: arm ? 35 : 263,
  renameat2: arm ? 276 : 316,
  fchmod: arm ? 52 : 91,
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
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fstatfs: arm ? 44 : 138,
  readlinkat: arm ? 78 : 267,
  getdents64: arm ? 61 : 217,
  faccessat: arm ? 48 : 269,
} as const;

/** A number, an address, text (passed as a NUL-terminated string), bytes, or one of the values below. */
export type Argument = number | bigint | string | Uint8Array | StepResult | StepOutput | OwnFd | Late;
/** What an earlier step returned. */
export interface StepResult {
  readonly step: number;
}
export const result = (step: number): StepResult => ({ step });
/** The address of the bytes that an earlier step was given as its argument `argument`, plus `offset`. */
export interface StepOutput {
  readonly outputOf: number;
  readonly argument: number;
  readonly offset: number;
}
export const output = (step: number, argument: number, offset: number): StepOutput => ({
  outputOf: step,
  argument,
  offset,
});
/** The address of an earlier step's result (8 bytes). */
export const resultPlace = (step: number): StepOutput => ({ outputOf: step, argument: -1, offset: 0 });
/** An fd of ours. A bare number is no fd inside a program, but for AT_FDCWD. */
export interface OwnFd {
  readonly fd: number;
}
export const fd = (own: number): OwnFd => ({ fd: own });
/** Bytes that contain the number an fd of ours has inside the program: `/proc/self/fd/N` in a socket address. */
export interface Late {
  readonly of: number;
  readonly bytes: (inside: number) => Uint8Array;
}
export const late = (own: number, bytes: (inside: number) => Uint8Array): Late => ({ of: own, bytes });

export interface Step {
  /** As it appears in an error: `openat2("/run/nm", RESOLVE_IN_ROOT)`. */
  readonly call: string;
  readonly nr: number;
  readonly args: readonly Argument[];
  /** A failure of this step is not the program's. */
  readonly mayFail?: boolean;
  /** The result is an fd for the caller. */
  readonly handsBack?: boolean;
}

/** A step that fails with `errno` unless the 4 or 8 bytes at `place` are `value` (`differs`: unless they are anything else). */
export function require(
  call: string,
  place: StepOutput,
  width: 4 | 8,
  value: number | bigint,
  errno: number,
  differs = false,
): Step {
  return { call, nr: NR.require, args: [place, width, value, errno, differs ? 1 : 0] };
}

const STEP_BYTES = 72;
const RESULT_AT = 64;
/** As native/pvx.c. */
export const INPUTS_MAX = 6;
const MAY_FAIL = 1;
const HANDS_BACK = 2;

const encoder = new TextEncoder();
const align = (n: number): number => (n + 7) & ~7;

/** `firstInput`: the number that the first fd of ours has inside, the next one the next; undefined: they keep their numbers. */
export class Block {
  readonly memory: Memory;
  readonly inputs: number[] = [];
  private readonly view: DataView;
  private readonly starts: number[][];
  private readonly firstInput: number | undefined;

  constructor(steps: readonly Step[], firstInput: number | undefined) {
    this.firstInput = firstInput;
    const data = steps.map((step) => step.args.map((argument) => this.bytesOf(argument)));
    let size = steps.length * STEP_BYTES;
    this.starts = data.map((args) =>
      args.map((bytes) => {
        const start = size;
        size += bytes === undefined ? 0 : align(bytes.length);
        return start;
      }),
    );
    this.memory = new Memory(size);
    this.view = new DataView(this.memory.buffer);
    for (const [i, step] of steps.entries()) this.writeStep(i, step, data[i]!);
  }

  result(step: number): number {
    return Number(this.view.getBigInt64(step * STEP_BYTES + RESULT_AT, true));
  }
  copy(step: number, argument: number, length: number): Uint8Array {
    const from = this.starts[step]![argument]!;
    return this.memory.bytes.slice(from, from + length);
  }

  private writeStep(i: number, step: Step, data: readonly (Uint8Array | undefined)[]): void {
    const at = i * STEP_BYTES;
    let refs = 0;
    this.view.setBigInt64(at, BigInt(step.nr), true);
    for (const [k, argument] of step.args.entries()) {
      const bytes = data[k];
      if (bytes !== undefined) this.memory.bytes.set(bytes, this.starts[i]![k]!);
      if (typeof argument === "object" && "step" in argument) refs |= 1 << k;
      this.view.setBigInt64(at + 8 + 8 * k, this.value(i, k, argument), true);
    }
    this.view.setUint32(at + 56, refs, true);
    this.view.setUint32(at + 60, (step.mayFail ? MAY_FAIL : 0) | (step.handsBack ? HANDS_BACK : 0), true);
  }

  private value(i: number, k: number, argument: Argument): bigint {
    if (typeof argument === "number" || typeof argument === "bigint") return BigInt(argument);
    if (typeof argument === "object" && "step" in argument) return BigInt(argument.step);
    if (typeof argument === "object" && "fd" in argument) return BigInt(this.inside(argument.fd));
    if (typeof argument === "object" && "outputOf" in argument && argument.argument < 0)
      return this.address(argument.outputOf * STEP_BYTES + RESULT_AT);
    if (typeof argument === "object" && "outputOf" in argument)
      return this.address(this.starts[argument.outputOf]![argument.argument]! + argument.offset);
    return this.address(this.starts[i]![k]!);
  }
  private address(offset: number): bigint {
    return BigInt(this.memory.address) + BigInt(offset);
  }

  private bytesOf(argument: Argument): Uint8Array | undefined {
    if (typeof argument === "string") {
      if (argument.includes("\0")) throw new RangeError("Cannot pass a string with a NUL byte to the kernel");
      return encoder.encode(`${argument}\0`);
    }
    if (argument instanceof Uint8Array) return argument;
    if (typeof argument === "object" && "of" in argument) return argument.bytes(this.inside(argument.of));
    return undefined;
  }

  private inside(own: number): number {
    if (this.firstInput === undefined) return own;
    const known = this.inputs.indexOf(own);
    if (known >= 0) return this.firstInput + known;
    if (this.inputs.length === INPUTS_MAX) throw new RangeError(`Cannot pass more than ${INPUTS_MAX} fds to a program`);
    return this.firstInput + this.inputs.push(own) - 1;
  }
}
