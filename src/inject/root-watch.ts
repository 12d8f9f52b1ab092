/**
 * Tells when something comes to or goes from directories of a container (or the host):
 * inotify(7) on the very directory that was resolved inside the root, by fd, so that no
 * name of the container's is followed by us. (fs.watch would turn the fd into a path of
 * ours again.) A directory that does not exist yet is waited for at its nearest ancestor.
 *
 * A hint only: whoever is told looks again, and looks at each interval anyway, so an event
 * that is lost (a full queue, a directory that was replaced) costs seconds.
 */
import { checked } from "../sys/errno.ts";
import { cstring, Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import type { ContainerRoot } from "./root.ts";

/** Directories of one link; a set needs three. */
const WATCHES_MAX = 16;
/** Between two readings of the queue, and as often the time that it took to act on one: what a container that touches its directory all the time can cost us. */
const PAUSE_MS = 250;
const PAUSE_TIMES = 20;
/** Readings at a time, 16 KiB each: a full queue (fs.inotify.max_queued_events is 16,384 of 32 bytes) and no more than was there. */
const READINGS_MAX = 64;
/** IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR */
const MASK = 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x01000000;
const IN_Q_OVERFLOW = 0x4000;
const IN_IGNORED = 0x8000;
/** struct inotify_event without its name */
const HEADER = 16;

type Listener = () => void;

/** One inotify instance for all (fs.inotify.max_user_instances is 128 a user), with one watch an inode. */
class Inotify {
  private fd = -1;
  private readonly listeners = new Map<number, Set<Listener>>();
  private readonly buffer = new Memory(16 * 1024);
  private armed = false;

  /** Throws SysError. `directory`: any fd of it. Returns what ends the watch. */
  watch(directory: number, listener: Listener): () => void {
    if (this.fd < 0) this.fd = checked(pvx.pvx_inotify_init(), () => "inotify_init1()");
    const id = checked(
      pvx.pvx_inotify_add(this.fd, cstring(`/proc/self/fd/${directory}`), MASK),
      () => "inotify_add_watch()",
    );
    const own: Listener = () => listener();
    this.listeners.set(id, (this.listeners.get(id) ?? new Set()).add(own));
    this.arm();
    return () => {
      const all = this.listeners.get(id);
      if (all?.delete(own) !== true || all.size > 0) return;
      this.listeners.delete(id);
      pvx.pvx_inotify_remove(this.fd, id);
    };
  }

  /**
   * Waits for the next event without a poll: a duplicate of the fd is given to Bun's event loop
   * as if it were a connected socket; at the first event Bun's recv fails with ENOTSOCK, and
   * Bun closes it and says so (as in reconcile/process-watch.ts).
   */
  private arm(): void {
    if (this.armed) return;
    this.armed = true;
    const fd = pvx.pvx_dup(this.fd);
    if (fd < 0) {
      this.again(PAUSE_MS);
      return;
    }
    const socket = { data() {}, error() {}, close: () => this.ready() };
    Bun.connect({ fd, socket } as unknown as Bun.UnixSocketOptions<undefined>).then(
      (connected) => connected.unref(),
      () => {},
    );
  }

  private ready(): void {
    const started = performance.now();
    try {
      for (const listener of this.read()) listener();
    } finally {
      this.again(Math.max(PAUSE_MS, PAUSE_TIMES * (performance.now() - started)));
    }
  }

  private again(pauseMs: number): void {
    setTimeout(() => {
      this.armed = false;
      if (this.listeners.size > 0) this.arm();
    }, pauseMs).unref();
  }

  /** Empties the queue, of what was in it. Events of a watch that nobody has any more tell nobody. */
  private read(): Set<Listener> {
    const told = new Set<Listener>();
    const view = new DataView(this.buffer.buffer);
    for (let i = 0; i < READINGS_MAX; i++) {
      const n = pvx.pvx_read(this.fd, this.buffer.address, this.buffer.length);
      if (n <= 0) return told;
      for (let at = 0; at + HEADER <= n; at += HEADER + view.getUint32(at + 12, true)) {
        const id = view.getInt32(at, true);
        const mask = view.getUint32(at + 4, true);
        const whose = (mask & IN_Q_OVERFLOW) !== 0 ? [...this.listeners.values()] : [this.listeners.get(id) ?? []];
        for (const all of whose) for (const listener of all) told.add(listener);
        if ((mask & IN_IGNORED) !== 0) this.listeners.delete(id);
      }
    }
    return told;
  }
}

const inotify = new Inotify();

interface Watched {
  /** What is watched: the directory itself, or the ancestor that exists. */
  readonly at: string;
  stop(): void;
}

export class RootWatch {
  private readonly root: ContainerRoot;
  private readonly changed: Listener;
  private readonly watched = new Map<string, Watched>();

  /** `root` stays the caller's. `changed` is called soon after one or many events, at most four times a second, never after `close`. */
  constructor(root: ContainerRoot, changed: Listener) {
    this.root = root;
    this.changed = changed;
  }

  /** Watches these directories and no others. Cheap where they are watched already. */
  follow(directories: readonly string[]): void {
    const wanted = directories.slice(0, WATCHES_MAX);
    for (const [path, watched] of this.watched)
      if (!wanted.includes(path)) {
        watched.stop();
        this.watched.delete(path);
      }
    for (const path of wanted) {
      const known = this.watched.get(path);
      if (known?.at === path) continue;
      const found = this.nearest(path);
      known?.stop();
      this.watched.delete(path);
      if (found !== undefined) this.watched.set(path, found);
    }
  }

  close(): void {
    for (const watched of this.watched.values()) watched.stop();
    this.watched.clear();
  }

  private nearest(path: string): Watched | undefined {
    for (let at = path; ; at = at.slice(0, at.lastIndexOf("/")) || "/") {
      try {
        return { at, stop: this.watch(at) };
      } catch {
        // Not there, or not to be watched (FUSE, no watch left): the interval will do.
      }
      if (at === "/") return undefined;
    }
  }

  private watch(path: string): () => void {
    const directory = this.root.openDirectory(path, false);
    try {
      return inotify.watch(directory, this.changed);
    } finally {
      pvx.pvx_close(directory);
    }
  }
}
