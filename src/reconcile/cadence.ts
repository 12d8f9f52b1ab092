/**
 * When to ask for the graph again. pv-ctrl sends no events, so asking often is the only way
 * to be quick; it is Pantavisor's init itself that answers, so asking often needs a reason.
 */
import type { UnavailableCause } from "../graph/source.ts";

/** Half of the 50 ms within which a restarted container is to be connected again. */
export const LOST_FAST_MS = 25;
/** A container that restarts after a crash or by an update is back within seconds. */
export const LOST_FAST_FOR_MS = 30_000;
/** Four questions a second: a container that is started by hand is still connected faster than a person notices. */
export const AWAITED_MS = 250;
/** After so long a container was stopped to stay stopped. */
export const AWAITED_FOR_MS = 300_000;
/** First wait after a failed fetch: the socket appears about 1 ms after our start. Doubles from there. */
export const FAILED_FIRST_MS = 1;
/** Where the doubling stops for the first while of a failure: the state is loaded some seconds after our start. */
export const FAILED_SOON_MS = 250;
export const FAILED_SOON_FOR_MS = 30_000;

export interface Cadence {
  readonly now: number;
  readonly intervalMs: number;
  /** Failed fetches since the last good one. */
  readonly failure: { readonly cause: UnavailableCause; readonly count: number; readonly since: number } | undefined;
  /** When the latest peer was lost (it had been up) that is not back yet. */
  readonly lostAt: number | undefined;
  /** Since when the latest peer is awaited that was never up. */
  readonly awaitedAt: number | undefined;
}

/** Failures that end by themselves soon, as a rule. The others are somebody's decision or mistake: the interval is soon enough. */
const PASSING: ReadonlySet<UnavailableCause> = new Set([
  "absent",
  "refused",
  "closed",
  "not-ready",
  "cut",
  "malformed",
  "timeout",
]);

/** Milliseconds from `now` to the next question, at most the interval. */
export function nextPoll(cadence: Cadence): number {
  return Math.min(cadence.intervalMs, failing(cadence) ?? awaiting(cadence));
}

function failing({ failure, now, intervalMs }: Cadence): number | undefined {
  if (failure === undefined) return undefined;
  if (!PASSING.has(failure.cause)) return intervalMs;
  const doubled = FAILED_FIRST_MS * 2 ** Math.min(failure.count - 1, 30);
  return now - failure.since < FAILED_SOON_FOR_MS ? Math.min(doubled, FAILED_SOON_MS) : doubled;
}

function awaiting({ lostAt, awaitedAt, now, intervalMs }: Cadence): number {
  if (lostAt !== undefined && now - lostAt < LOST_FAST_FOR_MS) return LOST_FAST_MS;
  const latest = Math.max(lostAt ?? Number.NEGATIVE_INFINITY, awaitedAt ?? Number.NEGATIVE_INFINITY);
  return now - latest < AWAITED_FOR_MS ? AWAITED_MS : intervalMs;
}
