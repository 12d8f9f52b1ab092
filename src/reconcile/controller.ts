/**
 * The control loop: from the graph, the policy and the processes to links that stand.
 *
 * Level-triggered: a new graph, a new policy, an exit or the interval only says that it is time to
 * look; what to do comes from `plan.ts` and the two states alone. One bad link
 * never touches another: steps run in lanes of their own (`operations.ts`), and whatever a mediator
 * throws ends at its link.
 */
import type { Link } from "../graph/link.ts";
import type { Skipped } from "../graph/schema.ts";
import type { Graph, GraphSource } from "../graph/source.ts";
import type { Log, LogLevel } from "../observe/log.ts";
import type { Policy } from "../policy/schema.ts";
import { Absences } from "./absences.ts";
import { Assessor, type Mediators } from "./assess.ts";
import type { Clock } from "./clock.ts";
import { within } from "./deadline.ts";
import { GraphPoll } from "./graph-poll.ts";
import { LinkRecord } from "./link-record.ts";
import type { Desired, LinkState, Resting } from "./link-state.ts";
import { Operations } from "./operations.ts";
import { Peers, type PeerWatch } from "./peers.ts";
import { diff, type Step, stepFor, unwanted } from "./plan.ts";

export interface ControllerOptions {
  readonly source: GraphSource;
  readonly mediators: Mediators;
  readonly watch: PeerWatch;
  readonly policy: Policy;
  readonly clock: Clock;
  /** In [0, 1): the jitter of retries. */
  readonly random: () => number;
  /** Between two looks when nothing else happens. */
  readonly intervalMs: number;
  readonly log: Log;
}

/** One line of `status`, without the counters of the data plane. */
export interface LinkStatus {
  readonly key: string;
  readonly consumer: string;
  readonly name: string;
  readonly target: string;
  readonly type: string;
  readonly role: string;
  readonly provider: string;
  readonly state: LinkState;
  readonly reason: string | null;
  /** ISO 8601, when the state or its reason changed last. */
  readonly since: string;
  /** Milliseconds until a failed link is tried again; null where no retry is due. */
  readonly retry_in_ms: number | null;
}

export interface SourceStatus {
  readonly source: string;
  /** What is wrong with the source now; null after a good answer. */
  readonly trouble: string | null;
  /** False until the first good answer. */
  readonly seen: boolean;
  readonly skipped: readonly Skipped[];
}

/** A retry waits at least so long, so that many that fall due together are one look at all links. */
const RETRY_GRAIN_MS = 20;
/** Skipped entries logged of one graph; more are counted. */
const SKIPPED_LOGGED = 50;

const LEVELS: Readonly<Record<Resting["state"], LogLevel>> = {
  pending: "info",
  established: "info",
  degraded: "warn",
  failed: "warn",
};

export class Controller {
  private readonly options: ControllerOptions;
  private readonly poll: GraphPoll;
  private readonly peers: Peers;
  private readonly assessor: Assessor;
  private readonly operations: Operations;
  private readonly absences = new Absences();
  private readonly records = new Map<string, LinkRecord>();
  private policy: Policy;
  private graph: Graph | undefined;
  private desired: ReadonlyMap<string, Desired> = new Map();
  private assessedVersion = -1;
  private loggedSkips = new Set<string>();
  private cancelTick: (() => void) | undefined;
  private cancelRetry: (() => void) | undefined;
  private retryAt = Number.POSITIVE_INFINITY;
  private readonly firstGraph = Promise.withResolvers<void>();
  private stopped = false;

  constructor(options: ControllerOptions) {
    const { source, clock, log, intervalMs, mediators, random } = options;
    this.options = options;
    this.policy = options.policy;
    this.peers = new Peers(options.watch, () => this.peerExited());
    this.assessor = new Assessor(mediators, this.peers);
    this.operations = new Operations(mediators, this.operationEvents(), clock, random);
    const events = {
      onGraph: (graph: Graph) => this.onGraph(graph),
      awaited: () => ({ lostAt: this.absences.lostAt, awaitedAt: this.absences.awaitedAt }),
    };
    this.poll = new GraphPoll(source, events, clock, log, intervalMs);
  }

  start(): void {
    this.tick();
    this.poll.start();
  }

  /** Another policy is in force: for links to come, and for those that stand. */
  setPolicy(policy: Policy): void {
    this.policy = policy;
    if (this.graph !== undefined) this.look(true);
  }

  /** SIGHUP, `POST /reload`: ask the source at once and look at everything. */
  reload(): void {
    this.poll.now();
    if (this.graph !== undefined) this.look(true);
  }

  /** Something about this link's provider or planted object may have changed (the data plane says so). */
  recheck(key: string): void {
    const record = this.records.get(key);
    if (record === undefined || record.busy || this.stopped) return;
    if (record.planted !== undefined) this.operations.verify(record.planted);
    this.decide(key);
  }

  status(): LinkStatus[] {
    const now = this.options.clock.monotonic();
    return [...this.records.values()].map((record) => statusOf(record, now));
  }

  sourceStatus(): SourceStatus {
    const { source } = this.options;
    const trouble = this.poll.trouble ?? null;
    return { source: source.name, trouble, seen: this.graph !== undefined, skipped: this.graph?.skipped ?? [] };
  }

  /**
   * For `--once`, after `start`: waits for the first good graph and until everything that can be done now has
   * been done. False when there was no graph, or an end to the work, within `deadlineMs`.
   */
  async settle(deadlineMs: number): Promise<boolean> {
    const settled = await within(
      this.options.clock,
      deadlineMs,
      this.firstGraph.promise.then(() => this.operations.idle()),
    );
    return settled.inTime;
  }

  /** Takes everything down, all links at once. True when all of it was done within `deadlineMs`. */
  async stop(deadlineMs: number): Promise<boolean> {
    this.stopped = true;
    this.operations.stop();
    this.cancelTick?.();
    this.cancelRetry?.();
    this.poll.stop();
    for (const record of this.records.values())
      if (!record.busy && record.planted !== undefined) this.operations.teardown(record, "forget");
    const done = await within(this.options.clock, deadlineMs, this.operations.idle());
    this.peers.close();
    return done.inTime;
  }

  private onGraph(graph: Graph): void {
    if (this.stopped) return;
    if (graph !== this.graph) {
      // First: what throws here (no fd left) has the same graph looked at again at the next answer.
      this.peers.setGraph(pairsOf(graph.links));
      this.graph = graph;
      this.logSkipped(graph.skipped);
      this.look(true);
    } else {
      this.peers.refresh();
      if (this.peers.version !== this.assessedVersion) this.look(false);
    }
    this.firstGraph.resolve();
  }

  private peerExited(): void {
    if (this.stopped || this.graph === undefined) return;
    this.look(false);
    this.poll.now();
  }

  /** The interval: whether what stands still stands, whatever the source says meanwhile. */
  private tick(): void {
    this.cancelTick = this.options.clock.after(this.options.intervalMs, () => this.tick());
    if (this.graph === undefined) return;
    this.peers.refresh();
    this.look(false, true);
  }

  /** One whole look: judge, compare, act. `judge`: the graph or the policy is new. `verify`: look at what stands. */
  private look(judge: boolean, verify = judge): void {
    if (this.stopped || this.graph === undefined) return;
    const now = this.options.clock.monotonic();
    if (judge || this.peers.version !== this.assessedVersion) {
      this.assessedVersion = this.peers.version;
      this.desired = this.assessor.assess(this.graph.links, this.policy);
      this.absences.update(this.desired, now);
      this.poll.hurry();
    }
    if (verify)
      for (const record of this.records.values())
        if (!record.busy && record.planted !== undefined) this.operations.verify(record.planted);
    for (const step of diff(this.desired, this.records, now)) this.act(step);
    for (const record of this.records.values()) this.armRetry(record);
  }

  /** The same for one link, after something ended for it. */
  private decide(key: string): void {
    const record = this.records.get(key);
    if (this.stopped || record?.busy) return;
    const want = this.desired.get(key);
    const now = this.options.clock.monotonic();
    const step = want === undefined ? record && unwanted(record) : stepFor(key, want, record, now);
    if (step !== undefined) this.act(step);
    else if (record !== undefined) this.armRetry(record);
  }

  private act(step: Step): void {
    const record = this.recordFor(step.key);
    if (record === undefined) return;
    if (step.do !== "rest")
      this.options.log.log("debug", "reconcile", `${step.do}: ${step.why}`, fieldsOf(record.link));
    switch (step.do) {
      case "establish":
      case "replace":
        this.operations.plant(record, step);
        break;
      case "update":
        if (record.planted !== undefined) this.operations.update(record, record.planted, step);
        break;
      case "teardown":
        this.operations.teardown(record, step.leaves);
        break;
      case "rest":
        this.rested(record, step.leaves);
        break;
      case "forget":
        this.gone(record);
        break;
    }
  }

  private recordFor(key: string): LinkRecord | undefined {
    const existing = this.records.get(key);
    const link = this.desired.get(key)?.link;
    if (existing !== undefined) {
      if (link !== undefined) existing.link = link;
      return existing;
    }
    if (link === undefined) return undefined;
    const record = new LinkRecord(link, this.options.clock.wall());
    this.records.set(key, record);
    return record;
  }

  private operationEvents() {
    return {
      rested: (record: LinkRecord, to: Resting) => this.rested(record, to),
      gone: (record: LinkRecord) => this.gone(record),
      free: (record: LinkRecord) => this.decide(record.key),
      bug: (error: unknown) => {
        const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
        this.options.log.log("error", "reconcile", `Cannot go on with a step: ${what}`);
      },
    };
  }

  private rested(record: LinkRecord, to: Resting): void {
    if (!record.rest(to, this.options.clock.wall())) return;
    const message = to.reason === null ? `Link ${to.state}` : `Link ${to.state}: ${to.reason}`;
    this.options.log.log(LEVELS[to.state], "reconcile", message, fieldsOf(record.link));
  }

  private gone(record: LinkRecord): void {
    this.records.delete(record.key);
    this.options.log.log("info", "reconcile", "Link removed", fieldsOf(record.link));
  }

  /** Looks again when this link's wait is over. One timer for all: the earliest wins, and its look arms the next. */
  private armRetry({ failed, busy }: LinkRecord): void {
    if (failed === undefined || busy || this.stopped || failed.retryAt >= this.retryAt) return;
    const { clock } = this.options;
    // What is due and was not tried just now can't be tried: a peer is missing, or policy says no.
    if (failed.retryAt <= clock.monotonic()) return;
    this.cancelRetry?.();
    this.retryAt = failed.retryAt;
    this.cancelRetry = clock.after(Math.max(failed.retryAt - clock.monotonic(), RETRY_GRAIN_MS), () => {
      this.retryAt = Number.POSITIVE_INFINITY;
      this.look(false);
    });
  }

  /** Each skipped entry once, for as long as the graphs that follow have it too. */
  private logSkipped(skipped: readonly Skipped[]): void {
    const lines = new Map(skipped.map((skip) => [`${skip.pointer}: ${skip.reason}`, skip]));
    const fresh = [...lines].filter(([line]) => !this.loggedSkips.has(line));
    for (const [line, { kind }] of fresh.slice(0, SKIPPED_LOGGED))
      this.options.log.log(kind === "unknown" ? "info" : "warn", "graph", `Entry skipped: ${line}`);
    const more = fresh.length - SKIPPED_LOGGED;
    if (more > 0) this.options.log.log("warn", "graph", `${more} more entries skipped`);
    this.loggedSkips = new Set(lines.keys());
  }
}

function* pairsOf(links: readonly Link[]): Generator<readonly [string, number]> {
  for (const link of links) {
    yield [link.consumer, link.consumerPid];
    yield [link.provider, link.providerPid];
  }
}

function fieldsOf({ consumer, name, target, type, provider }: Link) {
  return { consumer, name, target, type, provider };
}

function statusOf(record: LinkRecord, now: number): LinkStatus {
  const { consumer, name, target, type, role, provider } = record.link;
  const retryIn = (record.failed?.retryAt ?? 0) - now;
  const waits = record.state === "failed" && !record.busy && retryIn > 0;
  return {
    key: record.key,
    consumer,
    name,
    target,
    type,
    role,
    provider,
    state: record.shown,
    reason: record.reason,
    since: new Date(record.since).toISOString(),
    retry_in_ms: waits ? Math.round(retryIn) : null,
  };
}
