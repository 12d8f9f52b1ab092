/**
 * Tells when something comes to or goes from directories of a container (or the host):
 * inotify on the very directory that was resolved inside the root, so that no name of the
 * container's is followed by us. A directory that does not exist yet is waited for at its
 * nearest ancestor that does.
 *
 * A hint only: whoever is told looks again, and looks at each interval anyway, so an event
 * that is lost (a full queue, a directory that was replaced) costs seconds.
 */
import { type FSWatcher, watch } from "node:fs";
import { pvx } from "../sys/shim.ts";
import type { ContainerRoot } from "./root.ts";

/** Directories of one link; a set needs three. */
const WATCHES_MAX = 16;
/** From an event to the call: a driver makes its nodes in quick succession. */
const QUIET_MS = 20;
/** Between two calls: what a container that touches its directory all the time can cost us. */
const PAUSE_MS = 250;

interface Watched {
  /** What is watched: the directory itself, or the ancestor that exists. */
  readonly at: string;
  readonly watcher: FSWatcher;
}

export class DirectoryWatch {
  private readonly root: ContainerRoot;
  private readonly changed: () => void;
  private readonly watched = new Map<string, Watched>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private last = 0;

  /** `root` stays the caller's. `changed` is called some time after one or many events, never after `close`. */
  constructor(root: ContainerRoot, changed: () => void) {
    this.root = root;
    this.changed = changed;
  }

  /** Watches these directories and no others. Cheap where they are watched already. */
  follow(directories: readonly string[]): void {
    const wanted = directories.slice(0, WATCHES_MAX);
    for (const [path, { watcher }] of this.watched)
      if (!wanted.includes(path)) {
        watcher.close();
        this.watched.delete(path);
      }
    for (const path of wanted) {
      const known = this.watched.get(path);
      if (known?.at === path) continue;
      known?.watcher.close();
      this.watched.delete(path);
      const found = this.nearest(path);
      if (found !== undefined) this.watched.set(path, found);
    }
  }

  close(): void {
    for (const { watcher } of this.watched.values()) watcher.close();
    this.watched.clear();
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private nearest(path: string): Watched | undefined {
    for (let at = path; ; at = at.slice(0, at.lastIndexOf("/")) || "/") {
      try {
        return { at, watcher: this.watch(at) };
      } catch {
        // Not there, or not to be watched (FUSE, no inotify instance left): the interval will do.
      }
      if (at === "/") return undefined;
    }
  }

  private watch(path: string): FSWatcher {
    const directory = this.root.openDirectory(path, false);
    try {
      const watcher = watch(`/proc/self/fd/${directory}`, { persistent: false }, () => this.event());
      watcher.on("error", () => {});
      return watcher;
    } finally {
      pvx.pvx_close(directory);
    }
  }

  private event(): void {
    if (this.timer !== undefined || this.watched.size === 0) return;
    const now = performance.now();
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        this.last = performance.now();
        if (this.watched.size > 0) this.changed();
      },
      Math.max(QUIET_MS, this.last + PAUSE_MS - now),
    );
    this.timer.unref();
  }
}
