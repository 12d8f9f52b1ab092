/** The data plane as a whole: the reactor, the links, what they share, and what the control thread orders. */
import { EPOLLIN, F_SETPIPE_SZ } from "../sys/flags.ts";
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import { ChunkPool } from "./chunk.ts";
import type { LinkHandler, LinkIdentity } from "./filter.ts";
import { FD_RESERVE, FDS_PER_LINK, SPLICE_PIPE_BYTES, TOTAL_FDS_MAX, TOTAL_QUEUE_MAX } from "./limits.ts";
import type { DataPlaneStart, FromDataPlane, ToDataPlane } from "./messages.ts";
import { QuietCollection } from "./quiet-collection.ts";
import { Reactor } from "./reactor.ts";
import { RelayLink } from "./relay-link.ts";
import { spliceThrough } from "./side.ts";

/** Makes the data-plane half of a link from its plain configuration. */
export type HandlerFactory = (link: LinkIdentity, config: unknown) => LinkHandler;

export class DataPlane {
  readonly reactor: Reactor;
  readonly chunks = new ChunkPool();
  readonly counters: Float64Array;
  queuedBytes = 0;
  queuedFds = 0;
  private sessions = 0;
  private readonly fdLimit: number;
  private readonly fdReserve: number;
  /** Large pieces of a straight stream pass by reference. */
  readonly splices: boolean;
  private readonly links = new Map<number, RelayLink>();
  /** To the control thread. */
  readonly tell: (message: FromDataPlane) => void;
  /** Orders announced by the eventfd and not delivered yet. */
  private ordersDue = 0;
  private readonly factories: Readonly<Record<string, HandlerFactory>>;
  private wasOverBudget = false;
  private readonly collection: QuietCollection;

  constructor(
    start: DataPlaneStart,
    factories: Readonly<Record<string, HandlerFactory>>,
    tell: (message: FromDataPlane) => void,
  ) {
    this.tell = tell;
    this.reactor = new Reactor(new Memory(start.counters), start.spin);
    this.collection = new QuietCollection(this.reactor.timers, () => this.reactor.now);
    this.fdLimit = start.fdLimit;
    this.fdReserve = Math.min(FD_RESERVE, start.fdLimit >> 2);
    this.splices = start.splice && this.openPipe();
    this.counters = new Float64Array(start.counters);
    this.factories = factories;
    const count = new Memory(8);
    const announced = new BigUint64Array(count.buffer);
    this.reactor.add(
      start.wakeFd,
      {
        onEvents: () => {
          if (pvx.pvx_read(start.wakeFd, count.address, 8) !== 8) return;
          this.ordersDue += Number(announced[0]);
          this.reactor.stop();
        },
      },
      EPOLLIN,
    );
  }

  private openPipe(): boolean {
    const ends = new Memory(8);
    if (pvx.pvx_pipe(ends.address) < 0) return false;
    const [readEnd, writeEnd] = new Int32Array(ends.buffer);
    // Less room only means smaller pieces (pipe-max-size is 1 MiB unless somebody lowered it).
    pvx.pvx_fcntl(writeEnd!, F_SETPIPE_SZ, SPLICE_PIPE_BYTES);
    spliceThrough(readEnd!, writeEnd!);
    return true;
  }

  /** Serves until orders are announced; at once back while some of those announced are still to come. */
  runUntilOrdered(): void {
    if (this.ordersDue === 0) this.reactor.run();
  }

  /** An announced order has come. */
  deliver(message: ToDataPlane): void {
    this.ordersDue--;
    this.obey(message);
  }

  obey(message: ToDataPlane): void {
    const link = this.links.get(message.slot);
    switch (message.op) {
      case "open-link":
        this.openLink(message);
        break;
      case "configure-link":
        link?.configure(message.config);
        break;
      case "replace-listener":
        if (link === undefined) pvx.pvx_close(message.listenFd);
        else link.replaceListener(message.listenFd, message.seqpacket);
        break;
      case "close-link":
        link?.close();
        this.links.delete(message.slot);
        this.tell({ event: "link-closed", slot: message.slot });
        break;
    }
  }

  private openLink(message: Extract<ToDataPlane, { op: "open-link" }>): void {
    try {
      const factory = this.factories[message.link.type];
      if (factory === undefined) throw new Error(`no handler for links of type ${message.link.type}`);
      const handler = factory(message.link, message.config);
      this.links.set(
        message.slot,
        new RelayLink(this, message.slot, message.listenFd, message.seqpacket, message.link, handler),
      );
    } catch (error) {
      pvx.pvx_close(message.listenFd);
      this.tell({
        event: "log",
        slot: message.slot,
        level: "error",
        message: `Cannot serve the link: ${String(error)}`,
      });
    }
  }

  sessionOpened(): void {
    this.sessions++;
    this.collection.sessionOpened();
  }
  sessionClosed(): void {
    this.sessions--;
    this.collection.sessionClosed();
  }

  /**
   * Two fds a session, and those in the queues: accepting stops before the limit makes other calls
   * fail. The last quarter is shared out: there a link that has its share already waits alone.
   */
  fdsShort(sessionsOfLink: number): boolean {
    const links = this.links.size;
    const used = 2 * this.sessions + this.queuedFds + FDS_PER_LINK * links + this.fdReserve;
    const quarter = this.fdLimit >> 2;
    const share = Math.max(1, Math.floor(quarter / (2 * links)));
    return used > (sessionsOfLink < share ? this.fdLimit : this.fdLimit - quarter);
  }

  queuedChanged(bytes: number, fds: number): void {
    this.queuedBytes += bytes;
    this.queuedFds += fds;
    const over = this.queuedBytes > TOTAL_QUEUE_MAX || this.queuedFds > TOTAL_FDS_MAX;
    if (this.wasOverBudget && !over) for (const link of this.links.values()) link.budgetFreed();
    this.wasOverBudget = over;
  }
}
