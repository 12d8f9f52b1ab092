/**
 * How often a container that made us wait is asked again.
 *
 * A path inside a container may lead to a file system whose server never answers, so
 * each guarded walk has a deadline; a container that lets one pass is left alone
 * for a time that doubles with each repetition. What it can cost us is then a
 * vanishing share of the clock. It is forgiven after a quiet while and not by the
 * next success: a server that answers every second request would start anew each time.
 *
 * A server may also answer each request just in time. So what walks wait beyond a small
 * share of the time is added up, and some deadlines' worth together count as one that passed.
 */

/** First pause after a deadline passed, in milliseconds. */
const FIRST_MS = 2_000;
/** Longest pause: with walks of at most 500 ms, below one percent of the time. */
const LONGEST_MS = 60_000;
/** After this long without a passed deadline the next one counts as the first. */
const FORGIVEN_MS = 5 * 60_000;
/** Containers remembered: far above what a device runs; the oldest leaves. */
const REMEMBERED_MAX = 1024;

/** Waits that together count as a passed deadline, in deadlines: a device that boots is slow for many links at once. */
const DEBT_MAX = 4;
/** Share of the time that a container may make us wait for ever: below it, what was waited is forgotten as fast. */
const FREE_SHARE = 0.05;
/** Share of a deadline that is no wait: the walk itself, and other processes' turns on the processor. */
const ORDINARY = 0.02;

interface Record {
  strikes: number;
  until: number;
  last: number;
}
interface Debt {
  ms: number;
  at: number;
}

export class Quarantine {
  private readonly records = new Map<string, Record>();
  private readonly debts = new Map<string, Debt>();

  /** Milliseconds that `scope` must still be left alone at `now`; 0: go ahead. */
  remaining(scope: string, now: number): number {
    const record = this.records.get(scope);
    return record === undefined ? 0 : Math.max(0, record.until - now);
  }

  /** A deadline passed in `scope`. Returns the length of the pause. */
  strike(scope: string, now: number): number {
    const known = this.records.get(scope);
    const strikes = known === undefined || now - known.last > FORGIVEN_MS ? 1 : known.strikes + 1;
    const pause = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(strikes - 1, 16));
    this.records.delete(scope);
    this.records.set(scope, { strikes, until: now + pause, last: now });
    forgetOldest(this.records);
    return pause;
  }

  /** A walk in `scope` ended in time, after `waitedMs` of its deadline. */
  waited(scope: string, waitedMs: number, deadlineMs: number, now: number): void {
    const excess = waitedMs - ORDINARY * deadlineMs;
    if (excess <= 0) return;
    const known = this.debts.get(scope);
    const left = known === undefined ? 0 : Math.max(0, known.ms - (now - known.at) * FREE_SHARE);
    const limit = DEBT_MAX * deadlineMs;
    this.debts.delete(scope);
    // After a strike the account stays full: the next slow answer is the next strike.
    this.debts.set(scope, { ms: Math.min(left + excess, limit), at: now });
    forgetOldest(this.debts);
    if (left + excess >= limit) this.strike(scope, now);
  }
}

function forgetOldest(remembered: Map<string, unknown>): void {
  if (remembered.size > REMEMBERED_MAX) remembered.delete(remembered.keys().next().value!);
}
