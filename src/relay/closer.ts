/**
 * Closes what the peers of one link have a hand in: fds that they sent, and sockets of ours
 * with something of theirs unread. Such a close(2) can wait for as long as a container likes
 * (native/pvx.c), so a child does it, made when the first is needed, one for each link: who
 * hangs it waits alone, its fds counted against its own link's budget.
 *
 * Ownership: every fd given here is closed once, by whom is nobody else's matter. The
 * memory shared with a child is kept until the child has ended.
 */

import { CloserProcess } from "../sys/closer-process.ts";
import { EAGAIN, ECONNABORTED, EINTR } from "../sys/errno.ts";
import { SHUT_RDWR } from "../sys/flags.ts";
import { pvx } from "../sys/shim.ts";
import { CLOSER_LOOK_MS } from "./limits.ts";
import type { Reactor } from "./reactor.ts";
import { Timer } from "./timers.ts";

/** accept4(2): of one connection that is gone already, or of none. */
const PASSING: ReadonlySet<number> = new Set([EINTR, ECONNABORTED]);
/** Children that were told to end: they may still use their memory. */
const leaving = new Set<CloserProcess>();

export class Closer {
  private readonly reactor: Reactor;
  /** Told of each change in the number of fds that wait. */
  private readonly changed: (fds: number) => void;
  private child: CloserProcess | undefined;
  /** False once no child could be made (user-mode emulators, a limit on processes): closed in place then. */
  private possible = true;
  /** What the child has no room for yet. */
  private readonly backlog: number[] = [];
  /** Given to the child or in the backlog, and not yet seen to be closed. */
  private waiting = 0;
  private ending = false;
  private readonly look = new Timer(() => this.refresh());

  constructor(reactor: Reactor, changed: (fds: number) => void) {
    this.reactor = reactor;
    this.changed = changed;
  }

  /** Closes an fd that a peer sent. */
  discard(fd: number): void {
    if (pvx.pvx_close_sent(fd) === 0) this.give(fd);
  }

  /** Closes a socket and takes it out of the reactor. `whole`: also one of which can't be told whether it holds fds. */
  hangUp(fd: number, whole: boolean): void {
    this.reactor.forget(fd);
    if (!whole && pvx.pvx_close_stream(fd) === 1) return;
    // It stays open for a while: without this its events would wake the loop until then.
    this.reactor.remove(fd);
    this.give(fd);
  }

  /** Closes a listening socket and who waits in its queue, each as `hangUp` does: a link without sessions needs no child for its end. */
  hangUpListening(fd: number, whole: boolean): void {
    // From here on nobody connects any more (net/unix/af_unix.c, unix_stream_connect), so the queue comes to an end.
    pvx.pvx_shutdown(fd, SHUT_RDWR);
    for (let waiting = pvx.pvx_accept(fd); waiting !== -EAGAIN; waiting = pvx.pvx_accept(fd)) {
      if (waiting >= 0) this.hangUp(waiting, whole);
      else if (!PASSING.has(-waiting)) {
        // Short of fds: whatever is left in the queue may hold some.
        this.reactor.remove(fd);
        this.give(fd);
        return;
      }
    }
    this.reactor.forget(fd);
    pvx.pvx_close(fd);
  }

  /** Nothing more is given; the child ends when all is closed. */
  end(): void {
    this.ending = true;
    this.refresh();
  }

  private give(fd: number): void {
    this.child ??= this.start();
    if (this.child === undefined) {
      pvx.pvx_close(fd);
      return;
    }
    this.waiting++;
    this.changed(1);
    this.backlog.push(fd);
    // All of one wakeup together: the child is woken once.
    if (this.backlog.length === 1) this.reactor.defer(() => this.refresh());
  }

  private start(): CloserProcess | undefined {
    reap();
    if (!this.possible) return undefined;
    const child = CloserProcess.start();
    this.possible = child !== undefined;
    return child;
  }

  /** Hands over what there is room for and counts what has been closed. */
  private refresh(): void {
    const { child, backlog } = this;
    if (child === undefined) return;
    let n = 0;
    while (n < backlog.length && child.give(backlog[n]!)) n++;
    if (n > 0) {
      backlog.splice(0, n);
      child.wake();
    }
    const left = child.waiting + backlog.length;
    const closed = this.waiting - left;
    this.waiting = left;
    if (closed > 0) this.changed(-closed);
    if (this.waiting > 0) this.reactor.timers.arm(this.look, this.reactor.now + CLOSER_LOOK_MS);
    else {
      this.reactor.timers.cancel(this.look);
      if (this.ending) this.dismiss(child);
    }
  }

  private dismiss(child: CloserProcess): void {
    child.dismiss();
    this.child = undefined;
    leaving.add(child);
    reap();
  }
}

/** Collects children that have ended. */
function reap(): void {
  for (const child of leaving) if (child.ended()) leaving.delete(child);
}
