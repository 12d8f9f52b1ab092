/**
 * A list of system calls run in a short-lived process of their own that shares our
 * memory: with a deadline, since a path inside a container may lie on a FUSE mount that
 * never answers (such a wait ends by SIGKILL only), and free to enter namespaces and to
 * change umask, cwd and identity, since it shares neither threads nor root with us.
 *
 * It has an fd table of its own with the fds that its steps name with `fd(n)` and no
 * others; what it opens dies with it, but for results marked `handsBack`, which are the
 * caller's when all steps succeeded. So a killed program leaks nothing, and one that
 * can't even be killed keeps none of our sockets and locks open.
 *
 * About 80 µs a program.
 */
import { EDEADLK, EINVAL, EMFILE, ETIMEDOUT, SysError } from "./errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH, SOCK_SEQPACKET } from "./flags.ts";
import { cstring, Memory } from "./memory.ts";
import { Block, INPUTS_MAX, NR, type Step } from "./program.ts";
import { pvx } from "./shim.ts";

export { type Argument, fd, late, NR, output, require, result, resultPlace, type Step } from "./program.ts";

export interface GuardOptions {
  /** Milliseconds until the program is killed. */
  readonly timeoutMs?: number;
  /** Whose paths are walked. While a program there hangs beyond SIGKILL no other one is started in the same scope. */
  readonly scope?: string;
  /**
   * The process shares no memory with us: for steps that enter a container's cgroup, whose
   * OOM killer would take us along. Only results come back, no outputs and no fds. Some 500 µs.
   */
  readonly apart?: boolean;
}

const STACK_BYTES = 32 * 1024;
/** Longest that one program may take: a device's slowest honest file system answers well within it. */
export const GUARD_MS = 500;
/**
 * Children that could not even be killed, each costing its buffers (some 40 KB) until it ends: no new program
 * beyond, for anybody. One a scope: a container that starts again with one hanging is a new scope.
 */
const LOST_MAX = 256;
const F_DUPFD_CLOEXEC = 1030;

interface Lost {
  readonly pidfd: number;
  readonly scope: string | undefined;
  /** The child may still write to them: neither used nor collected until it has ended. */
  readonly memory: readonly Memory[];
}
let lost: Lost[] = [];
let stack = new Memory(STACK_BYTES);
const io = new Memory(4 * (5 + INPUTS_MAX));
const ioView = new Int32Array(io.buffer);
const slots = reserveSlots();

/**
 * fd numbers that stand for a program's inputs, all low and in a row: what the child's own
 * table has to copy ends with them. Until used they hold one end of the socket that
 * fds come back through.
 */
function reserveSlots(): { first: number; ours: number } {
  const pair = new Memory(8);
  const fds = new Int32Array(pair.buffer);
  const made = pvx.pvx_socketpair(SOCK_SEQPACKET, pair.address);
  if (made < 0) throw new SysError("socketpair(AF_UNIX, SOCK_SEQPACKET)", made);
  for (let from = 3; ; ) {
    const row: number[] = [];
    while (row.length <= INPUTS_MAX) {
      const next = pvx.pvx_fcntl(fds[1]!, F_DUPFD_CLOEXEC, row.length === 0 ? from : row.at(-1)! + 1);
      if (next < 0) throw new SysError("fcntl(F_DUPFD_CLOEXEC)", next);
      row.push(next);
      if (next !== row[0]! + row.length - 1) break;
    }
    if (row.at(-1) === row[0]! + INPUTS_MAX) {
      pvx.pvx_close(fds[1]!);
      return { first: row[0]!, ours: fds[0]! };
    }
    for (const one of row) pvx.pvx_close(one);
    from = row.at(-1)!;
  }
}

export interface GuardedResult {
  /** What each step returned. */
  readonly results: readonly number[];
  /** Copies bytes that the steps wrote into argument `argument` of step `step`. */
  output(step: number, argument: number, length: number): Uint8Array;
}

/** False once the kernel (or an emulator) has refused to make the child: programs that can't do without are impossible then. */
let clones = true;
export const canGuard = (): boolean => clones;

/**
 * Runs the steps up to the first that fails, and throws SysError with that step's call
 * then; ETIMEDOUT when the deadline passed. Where no child can be cloned (user-mode
 * emulators: EINVAL): SysError with clone's own call.
 */
export function guarded(steps: readonly Step[], options: GuardOptions = {}): GuardedResult {
  const { timeoutMs = GUARD_MS, scope, apart = false } = options;
  reapLost();
  if (scope !== undefined && lost.some((child) => child.scope === scope))
    throw new SysError(`${steps[0]!.call} (an earlier call there hangs beyond SIGKILL)`, -ETIMEDOUT);
  if (lost.length >= LOST_MAX)
    throw new SysError(`${steps[0]!.call} (${lost.length} earlier calls hang beyond SIGKILL)`, -EMFILE);
  const block = new Block(steps, slots.first + 1);
  ioView[0] = apart ? 1 : 0;
  ioView[2] = slots.first;
  ioView[3] = slots.ours;
  ioView[4] = block.inputs.length;
  ioView.set(block.inputs, 5);
  const { memory } = block;
  const r = Number(pvx.pvx_guarded(memory.address, steps.length, stack.address, STACK_BYTES, timeoutMs, io.address));
  if (r === -EDEADLK && ioView[1]! >= 0) {
    lost.push({ pidfd: ioView[1]!, scope, memory: [memory, stack] });
    stack = new Memory(STACK_BYTES);
  }
  if (r < 0) throw failure(steps, block, r, timeoutMs);
  return answer(steps, block);
}

/**
 * The same steps in the calling thread, without a deadline and without a table of fds of
 * their own: for the host's own paths, where no child can be cloned. The caller's umask
 * and cwd are as before; steps that change its identity or namespaces are refused.
 */
export function inline(steps: readonly Step[]): GuardedResult {
  if (steps.some((step) => CHANGES_THE_CALLER.has(step.nr)))
    throw new Error(`Cannot run ${steps[0]!.call} without a process of its own`);
  const block = new Block(steps, undefined);
  const umask = pvx.pvx_umask(0o022);
  const cwd = pvx.pvx_openat(AT_FDCWD, cstring("."), O_PATH | O_CLOEXEC, 0);
  const r = Number(pvx.pvx_inline(block.memory.address, steps.length, io.address));
  pvx.pvx_umask(umask);
  pvx.pvx_fchdir(cwd);
  pvx.pvx_close(cwd);
  closeOpened(steps, block, r < 0);
  if (r < 0) throw failure(steps, block, r, 0);
  return answer(steps, block);
}

function reapLost(): void {
  if (lost.length > 0) lost = lost.filter((child) => pvx.pvx_reap(child.pidfd) === 0);
}

function answer(steps: readonly Step[], block: Block): GuardedResult {
  return {
    results: steps.map((_, i) => block.result(i)),
    output: (step, argument, length) => block.copy(step, argument, length),
  };
}

function failure(steps: readonly Step[], block: Block, r: number, timeoutMs: number): SysError {
  if (r === -ETIMEDOUT || r === -EDEADLK) {
    const hangs = steps.find((_, i) => block.result(i) === -ETIMEDOUT)?.call ?? steps[0]!.call;
    return new SysError(`${hangs} (no answer within ${timeoutMs} ms)`, -ETIMEDOUT);
  }
  const step = steps[ioView[0]!];
  if (step === undefined && r === -EINVAL) clones = false;
  return new SysError(step?.call ?? "clone(CLONE_VM|CLONE_PIDFD)", r);
}

const CHANGES_THE_CALLER: ReadonlySet<number> = new Set([
  NR.setns,
  NR.unshare,
  NR.chroot,
  NR.setresuid,
  NR.setresgid,
  NR.setgroups,
  NR.setfsuid,
  NR.setfsgid,
  NR.prctl,
]);
const OPENS: ReadonlySet<number> = new Set([NR.openat, NR.openat2, NR.openTree, NR.fsmount, NR.fsopen]);

/** What dies with the child elsewhere is closed here, but for what the steps closed themselves. */
function closeOpened(steps: readonly Step[], block: Block, failed: boolean): void {
  const closed = new Set<number>();
  for (const [i, { nr, args }] of steps.entries()) {
    const [what] = args;
    if (nr === NR.close && block.result(i) === 0 && typeof what === "object" && "step" in what) closed.add(what.step);
  }
  for (const [i, step] of steps.entries())
    if (OPENS.has(step.nr) && (failed || !step.handsBack) && !closed.has(i) && block.result(i) >= 0)
      pvx.pvx_close(block.result(i));
}
