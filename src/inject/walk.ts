/**
 * Guarded programs on a container's paths, with the patience kept by container: one that
 * let a deadline pass, or nearly so again and again, is left alone for a while. Each thread keeps its own account.
 */
import { ETIMEDOUT, SysError } from "../sys/errno.ts";
import { GUARD_MS, type GuardedResult, guarded, type Step } from "../sys/guarded.ts";
import { Quarantine } from "./quarantine.ts";

const quarantine = new Quarantine();

/**
 * `scope`: whose paths are walked; undefined for the host's, which are trusted to answer.
 * Throws SysError with the failed step's call; ETIMEDOUT when the deadline passed, now or
 * so shortly before that nothing was tried.
 */
export function walk(scope: string | undefined, steps: readonly Step[], timeoutMs = GUARD_MS): GuardedResult {
  if (scope === undefined) return guarded(steps, { timeoutMs });
  const now = performance.now();
  const pause = quarantine.remaining(scope, now);
  if (pause > 0)
    throw new SysError(`a path there did not answer in time, next try in ${Math.ceil(pause / 1000)} s`, -ETIMEDOUT);
  let late = false;
  try {
    return guarded(steps, { timeoutMs, scope });
  } catch (error) {
    late = error instanceof SysError && error.errno === ETIMEDOUT;
    throw error;
  } finally {
    const then = performance.now();
    if (late) quarantine.strike(scope, then);
    else quarantine.waited(scope, (then - now) / timeoutMs, then);
  }
}
