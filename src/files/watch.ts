/**
 * Tells that files of a directory may have changed: inotify at once, and a look at their
 * stat now and then for what inotify does not see (a directory that appears later or is
 * replaced, overlay and network file systems, an exhausted fs.inotify.max_user_instances).
 */
import { type FSWatcher, statSync, watch } from "node:fs";

/** A writer's several events (open, write, close, rename) become one call. */
const SETTLE_MS = 5;

export interface WatchOptions {
  /** Milliseconds between two looks. */
  readonly pollMs: number;
  /** Names the state of what is watched; a different text is a change. Never throws. */
  fingerprint(): string;
}

/** Identity and age of one file; "absent" when it can't be looked at. */
export function statPrint(path: string): string {
  try {
    const s = statSync(path, { bigint: true });
    return `${s.dev}:${s.ino}:${s.size}:${s.mtimeNs}:${s.ctimeNs}`;
  } catch (error) {
    return `absent:${String((error as { code?: unknown }).code)}`;
  }
}

export class DirectoryWatch {
  private readonly directory: string;
  private readonly options: WatchOptions;
  private readonly changed: () => void;
  private watcher: FSWatcher | undefined;
  private watched = "";
  private print: string;
  private settle: ReturnType<typeof setTimeout> | undefined;
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(directory: string, options: WatchOptions, changed: () => void) {
    this.directory = directory;
    this.options = options;
    this.changed = changed;
    this.print = options.fingerprint();
    this.attach();
    this.timer = setInterval(() => this.look(), options.pollMs);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
    clearTimeout(this.settle);
    this.watcher?.close();
    this.watcher = undefined;
  }

  /** inotify follows the inode: a directory that was replaced needs a new watch. */
  private attach(): void {
    const identity = directoryIdentity(this.directory);
    if (identity === this.watched) return;
    this.watcher?.close();
    this.watcher = undefined;
    this.watched = identity;
    if (identity === "") return;
    try {
      this.watcher = watch(this.directory, () => this.event());
      this.watcher.unref();
      this.watcher.on("error", () => this.lost());
    } catch {
      this.watched = "";
    }
  }

  private lost(): void {
    this.watcher?.close();
    this.watcher = undefined;
    this.watched = "";
  }

  private event(): void {
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.look(), SETTLE_MS);
  }

  private look(): void {
    this.attach();
    const print = this.options.fingerprint();
    if (print === this.print) return;
    this.print = print;
    this.changed();
  }
}

function directoryIdentity(path: string): string {
  try {
    const s = statSync(path, { bigint: true });
    return s.isDirectory() ? `${s.dev}:${s.ino}` : "";
  } catch {
    return "";
  }
}
