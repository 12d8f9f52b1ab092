/**
 * When a link that could not be established is tried again. Pure: the jitter is an argument.
 * One link's wait says nothing about another's.
 */

/** First wait. Most obstacles are a container that is still setting itself up. */
export const BACKOFF_FIRST_MS = 200;
/** Longest wait. An attempt costs a few system calls, and a person who removes an obstacle should not wait longer for the repair. */
export const BACKOFF_MAX_MS = 10_000;
/** Part of the wait that the jitter takes away at most, so that links that failed together don't retry together. */
export const BACKOFF_JITTER = 0.25;

/** Milliseconds to wait after the `failures`-th failure in a row (1 is the first). `jitter` in [0, 1). */
export function backoff(failures: number, jitter: number): number {
  // 2^30 is past every cap: larger exponents would only reach Infinity.
  const doubled = BACKOFF_FIRST_MS * 2 ** Math.min(Math.max(failures - 1, 0), 30);
  return Math.min(doubled, BACKOFF_MAX_MS) * (1 - BACKOFF_JITTER * jitter);
}
