/**
 * The control thread's end of the data plane: starts the Worker, gives out slots,
 * sends orders and passes on what comes back.
 *
 * Ownership: a listening fd given to `open` or `replaceListener` belongs to the data
 * plane from the call on.
 */
import { availableParallelism } from "node:os";
import { checked } from "../sys/errno.ts";
import { kernelAtLeast } from "../sys/kernel.ts";
import { Memory } from "../sys/memory.ts";
import { pvx } from "../sys/shim.ts";
import { type Counter, counterTable, readRow } from "./counters.ts";
import type { LinkIdentity } from "./filter.ts";
import { LINKS_MAX } from "./limits.ts";
import type { DataPlaneStart, FromDataPlane, ToDataPlane } from "./messages.ts";

export type SlotEvent = Exclude<FromDataPlane, { event: "ready" | "link-closed" }>;

export interface PlaneEvents {
  /** Something that one link says: a denial, a log line, a provider's state. */
  onLink(slot: number, event: SlotEvent): void;
  /** The data plane is dead; nothing is mediated any more. */
  onFatal(error: Error): void;
}

/** How long to wait for the data plane to confirm the end of a link. */
const CLOSE_MS = 2000;

export class PlaneClient {
  private readonly worker: Worker;
  private readonly wakeFd: number;
  private readonly one = new Memory(8);
  private readonly table: SharedArrayBuffer;
  private readonly rows: Float64Array;
  private readonly freeSlots: number[] = [];
  private nextSlot = 0;
  /** Slots that serve a link: one is given back once, however often its end is asked for. */
  private readonly openSlots = new Set<number>();
  private readonly closing = new Map<number, () => void>();
  private readonly events: PlaneEvents;
  private readonly serving = Promise.withResolvers<void>();

  /** `entry`: the Worker's module. `fdLimit`: RLIMIT_NOFILE in force. `splice`: for tests of the path without it. */
  constructor(entry: string | URL, fdLimit: number, events: PlaneEvents, splice = kernelAtLeast(6, 5)) {
    this.events = events;
    this.wakeFd = checked(pvx.pvx_eventfd(), () => "eventfd2()");
    new BigUint64Array(this.one.buffer)[0] = 1n;
    this.table = counterTable();
    this.rows = new Float64Array(this.table);
    // The web's Worker and not node's, which costs megabytes more: plane-thread.ts. `smol`: a smaller heap.
    this.worker = new Worker(entry, { smol: true });
    this.worker.onmessage = ({ data }: MessageEvent<FromDataPlane>) => this.receive(data);
    this.worker.onerror = (event) => events.onFatal(new Error(event.message));
    this.worker.addEventListener("close", ({ code }) =>
      events.onFatal(new Error(`The data plane ended with code ${code}`)),
    );
    const start: DataPlaneStart = {
      wakeFd: this.wakeFd,
      counters: this.table,
      fdLimit,
      splice,
      spin: availableParallelism() > 1,
    };
    this.worker.postMessage(start);
  }

  /** Resolves when the data plane serves. */
  ready(): Promise<void> {
    return this.serving.promise;
  }

  /** Serves a listening socket as a link; returns its slot. Throws when there are too many links. */
  open(listenFd: number, seqpacket: boolean, link: LinkIdentity, config: unknown): number {
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    if (slot >= LINKS_MAX) {
      this.nextSlot--;
      pvx.pvx_close(listenFd);
      throw new Error(`Cannot serve another link: ${LINKS_MAX} are served already`);
    }
    this.openSlots.add(slot);
    this.send({ op: "open-link", slot, listenFd, seqpacket, link, config });
    return slot;
  }

  configure(slot: number, config: unknown): void {
    this.send({ op: "configure-link", slot, config });
  }

  replaceListener(slot: number, listenFd: number, seqpacket: boolean): void {
    this.send({ op: "replace-listener", slot, listenFd, seqpacket });
  }

  /** Ends a link and its sessions; resolves when they are gone, or after `CLOSE_MS`. */
  close(slot: number): Promise<void> {
    if (!this.openSlots.delete(slot)) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // The slot is not given out again: its row may still be written to.
        this.closing.delete(slot);
        resolve();
      }, CLOSE_MS);
      this.closing.set(slot, () => {
        clearTimeout(timer);
        this.freeSlots.push(slot);
        resolve();
      });
      this.send({ op: "close-link", slot });
    });
  }

  counters(slot: number): Record<Counter, number> {
    return readRow(this.rows, slot);
  }

  private send(message: ToDataPlane): void {
    this.worker.postMessage(message);
    pvx.pvx_write(this.wakeFd, this.one.address, 8);
  }

  private receive(message: FromDataPlane): void {
    if (message.event === "ready") this.serving.resolve();
    else if (message.event === "link-closed") {
      this.closing.get(message.slot)?.();
      this.closing.delete(message.slot);
    } else this.events.onLink(message.slot, message);
  }
}
