/**
 * One link in the data plane: its listening socket, its sessions, its budgets.
 *
 * What one link does stays with it: sessions, queued bytes, fds and records are
 * counted and capped for each, and a consumer that fills its own link waits alone.
 */
import { EAGAIN, ECONNABORTED, EINTR, EPROTO, errnoName, SysError } from "../sys/errno.ts";
import { EPOLLET, EPOLLIN, SO_SNDBUFFORCE } from "../sys/flags.ts";
import { pvx } from "../sys/shim.ts";
import { peerCredentials } from "../sys/unix-socket.ts";
import { Closer } from "./closer.ts";
import { COLUMN, type Counter, ROW } from "./counters.ts";
import type { DataPlane } from "./data-plane.ts";
import type { AuditRecord, Dial, LinkHandler, LinkIdentity } from "./filter.ts";
import {
  ACCEPT_BATCH,
  ACCEPT_PAUSE_MS,
  CHUNK_BYTES,
  HOLD_MS,
  LINK_FDS_MAX,
  LINK_FDS_RESUME,
  LINK_QUEUE_MAX,
  LINK_QUEUE_RESUME,
  LINK_QUEUE_SOFT,
  LINK_SESSIONS_MAX,
  LISTEN_RETRY_MS,
  PARKED_LOOK_MS,
  PAUSE_LOG_MS,
  READ_BYTES,
  RECORD_BURST,
  RECORDS_PER_SECOND,
  REDIAL_FIRST_MS,
  REDIAL_MAX_MS,
  REPORT_BURST,
  REPORTS_PER_SECOND,
  SEQPACKET_SEND_BUFFER,
  SMALL_CHUNK_BYTES,
  TOTAL_FDS_MAX,
  TOTAL_QUEUE_MAX,
} from "./limits.ts";
import { RateLimit } from "./rate-limit.ts";
import { RelaySession } from "./session.ts";
import { Timer } from "./timers.ts";

const { bytes_in: BYTES_IN, bytes_out: BYTES_OUT, messages_in: MESSAGES_IN, messages_out: MESSAGES_OUT } = COLUMN;

/** accept4(2): errors of one connection that is gone already, or of none. All others would come again at once. */
const PASSING: ReadonlySet<number> = new Set([ECONNABORTED, EINTR, EPROTO]);

export class RelayLink {
  readonly plane: DataPlane;
  readonly slot: number;
  readonly identity: LinkIdentity;
  readonly handler: LinkHandler;
  packets: boolean;
  /** 1: fds keep their exact byte place. */
  readonly exact: number;
  private listenFd: number;
  private readonly sessions = new Set<RelaySession>();
  private readonly row: number;
  private queuedBytes = 0;
  private queuedFds = 0;
  /** Sessions that wait for a dial to succeed, oldest first. */
  private readonly held = new Set<RelaySession>();
  private redialPause = REDIAL_FIRST_MS;
  private readonly redial = new Timer(() => this.redialHeld());
  private readonly resume = new Timer(() => this.listenAgain());
  private readonly listenLater = new Timer(() => this.listen());
  private unserved = false;
  private paused = false;
  private pauseTold = Number.NEGATIVE_INFINITY;
  private accepted = 0;
  /** How many are accepted at once, and the wakeup in which they last were. */
  private batch = 1;
  private acceptedAt = 0;
  /** Sessions that stopped reading because of a budget. */
  private readonly parked = new Set<RelaySession>();
  private readonly lookAgain = new Timer(() => {
    if (!this.overBudget) this.unpark();
  });
  private reachable: boolean | undefined;
  /** What waits to be closed counts as queued: a link whose closes hang is not read any more. */
  private readonly closer: Closer;
  private readonly records = new RateLimit(RECORD_BURST, RECORDS_PER_SECOND);
  private readonly reports = new RateLimit(REPORT_BURST, REPORTS_PER_SECOND);
  private suppressed = 0;
  private lastError = "";
  private closed = false;

  constructor(
    plane: DataPlane,
    slot: number,
    listenFd: number,
    packets: boolean,
    identity: LinkIdentity,
    handler: LinkHandler,
  ) {
    this.plane = plane;
    this.slot = slot;
    this.row = slot * ROW;
    this.identity = identity;
    this.handler = handler;
    this.packets = packets;
    this.exact = handler.exactFdPosition ? 1 : 0;
    this.listenFd = listenFd;
    this.closer = new Closer(plane.reactor, (fds) => {
      // The slot's counters may be another link's by then.
      if (this.closed) plane.queuedChanged(0, fds);
      else this.queuedChanged(0, fds);
    });
    plane.counters.fill(0, this.row, this.row + ROW);
    this.listen();
  }

  /** Waits for consumers. Where the kernel has no room for another watch (a container can use it up), tries until it has. */
  private listen(): void {
    const { reactor } = this.plane;
    let trouble: string | null = null;
    this.paused = false;
    for (const timer of [this.resume, this.listenLater]) reactor.timers.cancel(timer);
    try {
      reactor.add(this.listenFd, { onEvents: () => this.accept() }, EPOLLIN);
    } catch (error) {
      trouble = `Cannot wait for consumers: ${(error as Error).message}`;
      reactor.timers.arm(this.listenLater, reactor.now + LISTEN_RETRY_MS);
    }
    if (this.unserved !== (trouble !== null)) this.plane.tell({ event: "serving", slot: this.slot, trouble });
    this.unserved = trouble !== null;
  }

  count(counter: Counter, n: number): void {
    this.plane.counters[this.row + COLUMN[counter]]! += n;
  }

  /** One receive from a peer of this link. */
  arrived(fromConsumer: boolean): void {
    this.plane.counters[this.row + (fromConsumer ? MESSAGES_IN : MESSAGES_OUT)]! += 1;
  }

  /** Lets the reactor pass on what arrives at `from`, counted as `arrived` and `passed` would. */
  carry(from: number, to: number, fromConsumer: boolean): void {
    const { row } = this;
    this.plane.reactor.carry(
      from,
      to,
      row + (fromConsumer ? MESSAGES_IN : MESSAGES_OUT),
      row + (fromConsumer ? BYTES_IN : BYTES_OUT),
    );
  }

  /** Bytes and fds that a peer's socket has taken. */
  passed(toProvider: boolean, bytes: number, fds: number): void {
    const { counters } = this.plane;
    counters[this.row + (toProvider ? BYTES_IN : BYTES_OUT)]! += bytes;
    if (fds > 0) counters[this.row + COLUMN.fds]! += fds;
  }

  // ---- accepting ----

  private accept(): void {
    const { turns } = this.plane.reactor;
    // Asking for one more than there are costs as much as accepting one: only a queue is asked so.
    this.batch = turns === this.acceptedAt + 1 ? Math.min(2 * this.batch, ACCEPT_BATCH) : 1;
    this.acceptedAt = turns;
    for (let i = 0; i < this.batch && !this.paused && !this.closed; i++) {
      if (this.sessions.size >= LINK_SESSIONS_MAX || this.fdsShort) {
        this.pauseAccepting(this.fdsShort ? "the daemon is short of fds" : `${LINK_SESSIONS_MAX} sessions are open`);
        return;
      }
      const fd = pvx.pvx_accept(this.listenFd);
      if (fd >= 0) this.open(fd);
      else if (fd === -EAGAIN) return;
      else if (!PASSING.has(-fd)) {
        this.pauseAccepting(`accept4(): ${errnoName(fd)}`);
        return;
      }
    }
  }

  private open(fd: number): void {
    this.accepted++;
    this.count("sessions", 1);
    this.count("sessions_total", 1);
    this.plane.sessionOpened();
    let session: RelaySession;
    try {
      if (this.packets) pvx.pvx_setsockopt_int(fd, SO_SNDBUFFORCE, SEQPACKET_SEND_BUFFER);
      session = new RelaySession(this, fd, peerCredentials(fd));
    } catch (error) {
      // It did not begin, so nobody else owns the socket.
      this.hangUp(fd, this.packets);
      this.count("sessions", -1);
      this.plane.sessionClosed();
      if (error instanceof SysError) this.pauseAccepting(error.message);
      else this.sessionError(error);
      return;
    }
    this.sessions.add(session);
    session.settle();
  }

  private get fdsShort(): boolean {
    return this.plane.fdsShort(this.sessions.size);
  }

  private pauseAccepting(reason: string): void {
    if (this.paused) return;
    this.paused = true;
    this.count("accept_pauses", 1);
    const { now } = this.plane.reactor;
    if (now - this.pauseTold >= PAUSE_LOG_MS) {
      this.pauseTold = now;
      this.log("warn", `Cannot accept for now: ${reason}`);
    }
    if (!this.unserved) this.plane.reactor.modify(this.listenFd, EPOLLET);
    this.plane.reactor.timers.arm(this.resume, this.plane.reactor.now + ACCEPT_PAUSE_MS);
  }

  private listenAgain(): void {
    if (!this.paused || this.closed) return;
    this.paused = false;
    this.plane.reactor.timers.cancel(this.resume);
    if (!this.unserved) this.plane.reactor.modify(this.listenFd, EPOLLIN);
  }

  replaceListener(listenFd: number, packets: boolean): void {
    // Who has connected to the old one already is served, not turned away.
    for (let before = -1; before !== this.accepted && !this.paused; ) {
      before = this.accepted;
      this.accept();
    }
    this.closer.hangUpListening(this.listenFd, this.packets);
    this.listenFd = listenFd;
    this.packets = packets;
    this.listen();
  }

  // ---- dialling ----

  /** Dials now; when the provider is not there yet, holds the session and tries again. */
  dial(session: RelaySession): void {
    // While others wait for the same provider, a further dial would only jump the queue.
    const result: Dial =
      this.held.size > 0 ? { ok: false, retry: true, reason: this.lastError } : this.tryDial(session);
    if (result.ok) session.dialled(result.fd);
    else if (!result.retry) session.dialFailed(result.reason);
    else {
      session.holdUntil = this.plane.reactor.now + HOLD_MS;
      this.held.add(session);
      this.count("held", 1);
      if (this.redial.index < 0) {
        this.redialPause = REDIAL_FIRST_MS;
        this.plane.reactor.timers.arm(this.redial, this.plane.reactor.now + this.redialPause);
      }
    }
  }

  private tryDial(session: RelaySession): Dial {
    let result: Dial;
    try {
      result = this.handler.dial(session.peer);
    } catch (error) {
      this.sessionError(error);
      result = { ok: false, retry: false, reason: "internal error" };
    }
    if (result.ok) {
      if (this.packets) pvx.pvx_setsockopt_int(result.fd, SO_SNDBUFFORCE, SEQPACKET_SEND_BUFFER);
    } else this.count("dial_failures", 1);
    const reason = result.ok ? "" : result.reason;
    if (this.reachable !== result.ok || reason !== this.lastError) {
      this.reachable = result.ok;
      this.lastError = reason;
      this.plane.tell({ event: "provider", slot: this.slot, reachable: result.ok, reason });
    }
    return result;
  }

  private redialHeld(): void {
    for (const session of this.held) {
      const result = this.tryDial(session);
      if (!result.ok && result.retry) break;
      this.unhold(session);
      if (result.ok) session.dialled(result.fd);
      else session.dialFailed(result.reason);
      session.settle();
    }
    if (this.held.size === 0) return;
    this.redialPause = Math.min(this.redialPause * 2, REDIAL_MAX_MS);
    this.plane.reactor.timers.arm(this.redial, this.plane.reactor.now + this.redialPause);
  }

  /** The session does not wait for a dial any more. */
  unhold(session: RelaySession): void {
    if (!this.held.delete(session)) return;
    this.count("held", -1);
    if (this.held.size === 0) this.plane.reactor.timers.cancel(this.redial);
  }

  /** The hold of a session is over. */
  giveUp(session: RelaySession): void {
    this.unhold(session);
    session.dialFailed(`the provider could not be reached within ${HOLD_MS} ms: ${this.lastError}`);
  }

  // ---- closing what the peers have a hand in ----

  /** Closes an fd that a peer sent. */
  readonly discard = (fd: number): void => this.closer.discard(fd);

  /** Closes a socket whose other end is a peer's. */
  hangUp(fd: number, packets: boolean): void {
    this.closer.hangUp(fd, packets);
  }

  /** Closes a socket in which nothing is left, and nothing can come. */
  closeEmpty(fd: number): void {
    this.plane.reactor.forget(fd);
    pvx.pvx_close(fd);
  }

  // ---- budgets ----

  queuedChanged(bytes: number, fds: number): void {
    if (bytes === 0 && fds === 0) return;
    this.queuedBytes += bytes;
    this.queuedFds += fds;
    this.plane.counters[this.row + COLUMN.queued_bytes] = this.queuedBytes;
    this.plane.counters[this.row + COLUMN.queued_fds] = this.queuedFds;
    this.plane.queuedChanged(bytes, fds);
    this.resumeParked();
  }

  get overBudget(): boolean {
    if (this.queuedBytes > LINK_QUEUE_MAX || this.queuedFds > LINK_FDS_MAX) return true;
    // Over the daemon's whole budget, those that hold little of it go on.
    if (this.plane.queuedBytes <= TOTAL_QUEUE_MAX && this.plane.queuedFds <= TOTAL_FDS_MAX) return false;
    return this.queuedBytes > SMALL_CHUNK_BYTES || this.queuedFds > 0;
  }

  /**
   * Lets sessions go on that stopped for a budget: at once when there is clear room. At the
   * very edge each byte that leaves would wake thousands for one of them, so they look
   * again a little later.
   */
  private resumeParked(): void {
    if (this.parked.size === 0 || this.overBudget) return;
    if (this.queuedBytes <= LINK_QUEUE_RESUME && this.queuedFds <= LINK_FDS_RESUME) this.unpark();
    else if (this.lookAgain.index < 0)
      this.plane.reactor.timers.arm(this.lookAgain, this.plane.reactor.now + PARKED_LOOK_MS);
  }

  /** Bytes to ask for in one receive: less when much of the link's budget is used. */
  get readSize(): number {
    return this.queuedBytes > LINK_QUEUE_SOFT ? SMALL_CHUNK_BYTES : READ_BYTES;
  }

  /** The same for the straight path, where large pieces do not pass through our memory. */
  get pumpSize(): number {
    if (this.queuedBytes > LINK_QUEUE_SOFT) return SMALL_CHUNK_BYTES;
    return this.exact === 1 && this.plane.splices ? CHUNK_BYTES : READ_BYTES;
  }

  park(session: RelaySession): void {
    this.parked.add(session);
  }

  private unpark(): void {
    this.plane.reactor.timers.cancel(this.lookAgain);
    const sessions = [...this.parked];
    this.parked.clear();
    this.plane.reactor.defer(() => {
      for (const session of sessions) session.settle();
    });
  }

  /** The daemon's whole budget has room again. */
  budgetFreed(): void {
    this.resumeParked();
  }

  // ---- records ----

  denied(record: AuditRecord): void {
    this.count("denied", 1);
    if (!this.records.take(this.plane.reactor.now)) {
      this.suppressed++;
      this.count("records_suppressed", 1);
      return;
    }
    this.plane.tell({ event: "denied", slot: this.slot, record, suppressed: this.suppressed });
    this.suppressed = 0;
  }

  log(level: "debug" | "info" | "warn" | "error", message: string): void {
    if (this.records.take(this.plane.reactor.now)) this.plane.tell({ event: "log", slot: this.slot, level, message });
    else this.count("records_suppressed", 1);
  }

  report(kind: string, record: Readonly<Record<string, unknown>>): void {
    if (this.reports.take(this.plane.reactor.now)) this.plane.tell({ event: "report", slot: this.slot, kind, record });
    else this.count("records_suppressed", 1);
  }

  sessionError(error: unknown): void {
    this.count("session_errors", 1);
    this.log(
      "error",
      `A session ended by an internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  }

  // ---- ending ----

  sessionClosed(session: RelaySession, reason: string): void {
    this.sessions.delete(session);
    this.parked.delete(session);
    this.unhold(session);
    this.count("sessions", -1);
    this.plane.sessionClosed();
    if (reason !== "ended" && !this.closed) this.log("debug", `Session of pid ${session.peer.pid} closed: ${reason}`);
    if (this.paused && this.sessions.size < LINK_SESSIONS_MAX && !this.fdsShort) this.listenAgain();
  }

  configure(config: unknown): void {
    this.ofHandler((handler) => handler.configure(config));
    for (const session of [...this.sessions]) session.configure(config);
  }

  /** What a handler throws is a bug of ours, and no reason to stop mediating for everybody. */
  private ofHandler(call: (handler: LinkHandler) => void): void {
    try {
      call(this.handler);
    } catch (error) {
      this.sessionError(error);
    }
  }

  close(): void {
    this.closed = true;
    this.closer.hangUpListening(this.listenFd, this.packets);
    for (const timer of [this.redial, this.resume, this.lookAgain, this.listenLater])
      this.plane.reactor.timers.cancel(timer);
    for (const session of [...this.sessions]) session.close("the link was removed");
    this.ofHandler((handler) => handler.close());
    this.closer.end();
  }
}
