/**
 * Asks the source again and again, one question at a time, and tells what is new. Keeps what was
 * wrong with the last answer, so that the log says it once and `status` can say it always.
 */
import type { FetchResult, Graph, GraphSource, UnavailableCause } from "../graph/source.ts";
import type { Log } from "../observe/log.ts";
import { type Cadence, nextPoll } from "./cadence.ts";
import type { Clock } from "./clock.ts";

export interface PollEvents {
  /** At each good answer; the same object while nothing changed. */
  onGraph(graph: Graph): void;
  /** Who is awaited, for the pause until the next question. */
  awaited(): Pick<Cadence, "lostAt" | "awaitedAt">;
}

/** `total`: in a row, whatever their causes. */
type Failure = NonNullable<Cadence["failure"]> & { readonly message: string; readonly total: number };

/** Another cause is progress (first no socket, then no state yet) and starts the doubling over; not for ever, causes may alternate. */
const FRESH_STARTS_UNTIL = 50;

export class GraphPoll {
  private readonly source: GraphSource;
  private readonly events: PollEvents;
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly intervalMs: number;
  private readonly stopping = new AbortController();
  private failure: Failure | undefined;
  private asking = false;
  private again = false;
  private cancel: (() => void) | undefined;
  private dueAt = Number.POSITIVE_INFINITY;

  constructor(source: GraphSource, events: PollEvents, clock: Clock, log: Log, intervalMs: number) {
    this.source = source;
    this.events = events;
    this.clock = clock;
    this.log = log;
    this.intervalMs = intervalMs;
  }

  start(): void {
    this.source.onChange?.(() => this.now());
    this.now();
  }

  /** Asks at once, or right after the answer that is on its way. */
  now(): void {
    if (this.stopping.signal.aborted) return;
    if (this.asking) {
      this.again = true;
      return;
    }
    this.cancel?.();
    this.cancel = undefined;
    void this.ask();
  }

  /** The pause may be shorter now: somebody is awaited. */
  hurry(): void {
    if (this.asking || this.cancel === undefined) return;
    const { delay, now } = this.pause();
    if (now + delay < this.dueAt) this.arm(now, delay);
  }

  /** What is wrong with the source now, as a sentence; undefined after a good answer. */
  get trouble(): string | undefined {
    return this.failure?.message;
  }

  stop(): void {
    this.stopping.abort();
    this.cancel?.();
    this.source.close();
  }

  private async ask(): Promise<void> {
    this.asking = true;
    const result = await this.source.fetch(this.stopping.signal);
    this.asking = false;
    if (this.stopping.signal.aborted) return;
    this.take(result);
    if (this.again) {
      this.again = false;
      this.now();
      return;
    }
    const { delay, now } = this.pause();
    this.arm(now, delay);
  }

  private take(result: FetchResult): void {
    if (result.kind === "aborted") return;
    if (result.kind === "unavailable") {
      const { cause, message } = result;
      if (message !== this.failure?.message)
        this.log.log(cause === "absent" || cause === "not-ready" ? "info" : "warn", "graph", message);
      this.failure = this.failed(cause, message);
      return;
    }
    if (this.failure !== undefined) this.log.log("info", "graph", `The graph is read again from ${this.source.name}`);
    this.failure = undefined;
    try {
      this.events.onGraph(result.graph);
    } catch (error) {
      // A bug in planning must not end the polling: the next graph may be one that it can read.
      this.log.log(
        "error",
        "graph",
        `Cannot act on the graph: ${error instanceof Error ? error.stack : String(error)}`,
      );
    }
  }

  private failed(cause: UnavailableCause, message: string): Failure {
    const before = this.failure;
    if (before === undefined) return { cause, message, count: 1, total: 1, since: this.clock.monotonic() };
    const total = before.total + 1;
    const fresh = before.cause !== cause && total < FRESH_STARTS_UNTIL;
    return { cause, message, count: fresh ? 1 : before.count + 1, total, since: before.since };
  }

  private pause(): { delay: number; now: number } {
    const now = this.clock.monotonic();
    const cadence = { now, intervalMs: this.intervalMs, failure: this.failure, ...this.events.awaited() };
    return { now, delay: nextPoll(cadence) };
  }

  private arm(now: number, delay: number): void {
    this.cancel?.();
    this.dueAt = now + delay;
    this.cancel = this.clock.after(delay, () => {
      this.cancel = undefined;
      void this.ask();
    });
  }
}
