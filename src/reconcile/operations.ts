/**
 * Carries out single steps with the mediators: each in its place's lane, each wait with a deadline,
 * no failure beyond its own link.
 */
import type { Planted } from "../mediators/mediator.ts";
import type { AnyMediator, Mediators } from "./assess.ts";
import type { Clock } from "./clock.ts";
import { within } from "./deadline.ts";
import { type LinkRecord, placeOf, type Standing } from "./link-record.ts";
import type { Basis, Resting } from "./link-state.ts";
import { changeOf, type Step } from "./plan.ts";
import { WorkQueue } from "./work-queue.ts";

/** Links worked on at once. The work is system calls on this one thread; more would only interleave them. */
export const PARALLEL = 16;
/** Links taken down at once when all are: mediators take what stands in one place away together. */
const PARALLEL_AT_END = 512;
/** Planting is some milliseconds of system calls and one answer of the data plane. */
export const ESTABLISH_DEADLINE_MS = 10_000;
/** Removing waits for the data plane to close the link's sessions. */
export const TEARDOWN_DEADLINE_MS = 5_000;

export interface OperationEvents {
  /** The link rests in a new state. */
  rested(record: LinkRecord, to: Resting): void;
  /** Nothing stands any more and nobody wants it. */
  gone(record: LinkRecord): void;
  /** The link can be decided on again. */
  free(record: LinkRecord): void;
  /** Something threw that by contract does not. */
  bug(error: unknown): void;
}

type Planting = Extract<Step, { do: "establish" | "replace" }>;
type Outcome = { readonly ok: true; readonly handle: Planted } | { readonly ok: false; readonly reason: string };

export class Operations {
  private stopped = false;
  private readonly mediators: Mediators;
  private readonly events: OperationEvents;
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly queue: WorkQueue;

  constructor(mediators: Mediators, events: OperationEvents, clock: Clock, random: () => number) {
    this.mediators = mediators;
    this.events = events;
    this.clock = clock;
    this.random = random;
    this.queue = new WorkQueue(PARALLEL, (error) => events.bug(error));
  }

  /** After that, whatever still gets planted is taken down at once. */
  stop(): void {
    this.stopped = true;
    this.queue.widen(PARALLEL_AT_END);
  }

  idle(): Promise<void> {
    return this.queue.idle();
  }

  plant(record: LinkRecord, step: Planting): void {
    const mediator = this.mediators.get(step.link.type);
    if (mediator === undefined) throw new Error(`No mediator for type "${step.link.type}"`);
    this.inLane(record, (freeSlot) => this.planting(record, step, mediator, freeSlot));
  }

  teardown(record: LinkRecord, leaves: Resting | "forget"): void {
    this.inLane(record, async (freeSlot) => {
      await this.remove(record, freeSlot);
      record.forgiven();
      if (leaves === "forget") this.events.gone(record);
      else this.events.rested(record, leaves);
    });
  }

  /** Not queued: `update` is synchronous by contract. */
  update(record: LinkRecord, standing: Standing, step: Basis): void {
    const { link, consumerId, providerId, config } = step;
    try {
      standing.mediator.update(standing.handle, link, config);
    } catch (error) {
      // It stands on the old terms, and those are not in force any more.
      const reason = `Cannot change the configuration of a link that stands: ${text(error)}`;
      this.inLane(record, async (freeSlot) => {
        await this.remove(record, freeSlot);
        this.failed(record, step, reason);
      });
      return;
    }
    record.planted = { ...standing, link, consumerId, providerId, config };
    this.verify(record.planted);
    this.events.free(record);
  }

  /** Looks whether what was planted still stands. Synchronous and cheap by contract. */
  verify(standing: Standing): void {
    try {
      const verdict = standing.mediator.verify(standing.handle);
      standing.drift = verdict.state === "drifted" ? verdict.reason : null;
      standing.degraded = verdict.state === "degraded" ? verdict.reason : null;
    } catch (error) {
      standing.drift = `Cannot verify what was planted: ${text(error)}`;
    }
  }

  private inLane(record: LinkRecord, work: (freeSlot: () => void) => Promise<void>): void {
    record.busy = true;
    this.queue.add(placeOf(record.link), async (freeSlot) => {
      try {
        await work(freeSlot);
      } finally {
        record.busy = false;
      }
      this.events.free(record);
    });
  }

  private async planting(
    record: LinkRecord,
    step: Planting,
    mediator: AnyMediator,
    freeSlot: () => void,
  ): Promise<void> {
    if (this.stopped) {
      await this.remove(record, freeSlot);
      return;
    }
    const previous = record.planted;
    const attempt = this.attempt(mediator, step, previous?.handle);
    const first = await within(this.clock, ESTABLISH_DEADLINE_MS, attempt);
    if (!first.inTime) {
      const reason = `Planting has not ended within ${ESTABLISH_DEADLINE_MS / 1000} s; nothing else is done for this link until it does`;
      this.events.rested(record, { state: "failed", reason });
      freeSlot();
    }
    const outcome = first.inTime ? first.value : await attempt;
    if (outcome.ok) {
      const { link, consumerId, providerId, config } = step;
      const standing = {
        link,
        consumerId,
        providerId,
        config,
        handle: outcome.handle,
        mediator,
        drift: null,
        degraded: null,
      };
      record.stands(standing);
      if (this.stopped) await this.remove(record, freeSlot);
      else this.verify(standing);
      return;
    }
    // What stood before is wrong by the plan's word; it does not stay because its successor failed.
    await this.remove(record, freeSlot);
    this.failed(record, step, outcome.reason);
  }

  private async attempt(mediator: AnyMediator, step: Planting, previous: Planted | undefined): Promise<Outcome> {
    try {
      return { ok: true, handle: await mediator.establish(step.link, step.config, previous) };
    } catch (error) {
      return { ok: false, reason: text(error) };
    }
  }

  private failed(record: LinkRecord, basis: Basis, reason: string): void {
    const again = record.failed !== undefined && changeOf(record.failed, basis) === undefined;
    record.failedOn(basis, again, this.clock.monotonic(), this.random());
    this.events.rested(record, { state: "failed", reason });
  }

  /** Takes down what stands, if anything does. The lane stays closed until the mediator is done, the slot only so long. */
  private async remove(record: LinkRecord, freeSlot: () => void): Promise<void> {
    const standing = record.planted;
    record.planted = undefined;
    if (standing === undefined) return;
    const removal = this.removal(standing);
    const first = await within(this.clock, TEARDOWN_DEADLINE_MS, removal);
    if (first.inTime) return;
    freeSlot();
    await removal;
  }

  private async removal(standing: Standing): Promise<void> {
    try {
      await standing.mediator.teardown(standing.handle);
    } catch {
      // By contract it never throws; one that does has given up on its own objects, and so must we.
    }
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
