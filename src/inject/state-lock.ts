/**
 * The state directory: whose it is, and which one daemon uses it.
 *
 * Pantavisor starts the next daemon without waiting for the last to end, so two may be
 * alive at once. The lock is flock(2) on `lock`: the kernel gives it back however its
 * holder ends. The file says who that is, for the message only.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { tryLock } from "../sys/process.ts";

const { O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants;
/** How often a waiting daemon asks again: an old one needs up to a second to end. */
const ASK_MS = 50;
const OWNER_BYTES = 64;

/**
 * Makes `path` (and what is missing above it, 0755), or takes what is there, as 0700. Throws
 * an Error when it is a link, no directory, or somebody else's.
 */
export function prepareStateDirectory(path: string): void {
  const wrong = (why: string) => new Error(`Cannot use ${path} as the state directory: ${why}`);
  let fd: number;
  try {
    mkdirSync(path.replace(/\/[^/]*\/*$/, "") || "/", { recursive: true, mode: 0o755 });
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (lstatSync(path).isSymbolicLink()) throw wrong("it is a symbolic link");
    fd = openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    throw code === undefined ? error : wrong(`${syscall}: ${code ?? message}`);
  }
  try {
    const { uid } = fstatSync(fd);
    if (uid !== process.geteuid?.()) throw wrong(`it belongs to uid ${uid}`);
    fchmodSync(fd, 0o700);
  } finally {
    closeSync(fd);
  }
}

export interface StateLock {
  /** Gives the lock back. Idempotent. */
  release(): void;
}
/** Somebody else has it: the pid written in the lock file, where it says one. */
export interface LockHeld {
  readonly heldBy: number | undefined;
}

/** Takes the lock if it is free. Throws node's error when `lock` can't be opened. */
export function tryStateLock(directory: string): StateLock | LockHeld {
  const fd = openSync(`${directory}/lock`, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  if (!tryLock(fd)) {
    const held = { heldBy: ownerIn(fd) };
    closeSync(fd);
    return held;
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`, 0);
  return new Held(fd);
}

export interface WaitOptions {
  /** Called once, when the lock is not free at once. */
  readonly onWait?: (held: LockHeld) => void;
  /** Ends the wait; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Takes the lock, as soon as it is free. */
export async function waitForStateLock(directory: string, options: WaitOptions = {}): Promise<StateLock> {
  for (let first = true; ; first = false) {
    options.signal?.throwIfAborted();
    const lock = tryStateLock(directory);
    if ("release" in lock) return lock;
    if (first) options.onWait?.(lock);
    await Bun.sleep(ASK_MS);
  }
}

/** `another pv-xconnect (pid 71) uses /run/pv-xconnect` */
export const heldMessage = (directory: string, { heldBy }: LockHeld): string =>
  `another pv-xconnect${heldBy === undefined ? "" : ` (pid ${heldBy})`} uses ${directory}`;

class Held implements StateLock {
  private fd: number;
  constructor(fd: number) {
    this.fd = fd;
  }
  release(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }
}

function ownerIn(fd: number): number | undefined {
  const text = Buffer.alloc(OWNER_BYTES);
  const pid = Number.parseInt(text.toString("latin1", 0, readSync(fd, text, 0, OWNER_BYTES, 0)), 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}
