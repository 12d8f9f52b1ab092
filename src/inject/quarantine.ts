/**
 * How often a container that made us wait is asked again.
 *
 * A path inside a container may lead to a file system whose server never answers, so
 * each guarded walk has a deadline; a container that lets one pass is left alone
 * for a time that doubles with each repetition. What it can cost us is then a
 * vanishing share of the clock. It is forgiven after a quiet while and not by the
 * next success: a server that answers every second request would start anew each time.
 */

/** First pause after a deadline passed, in milliseconds. */
const FIRST_MS = 2_000;
/** Longest pause: with walks of at most 500 ms, below one percent of the time. */
const LONGEST_MS = 60_000;
/** After this long without a passed deadline the next one counts as the first. */
const FORGIVEN_MS = 5 * 60_000;
/** Containers remembered: far above what a device runs; the oldest leaves. */
const REMEMBERED_MAX = 1024;

interface Record {
  strikes: number;
  until: number;
  last: number;
}

export class Quarantine {
  private readonly records = new Map<string, Record>();

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
    if (this.records.size > REMEMBERED_MAX) this.records.delete(this.records.keys().next().value!);
    return pause;
  }
}
