/**
 * Guarded programs on a container's paths, with the patience kept by container: one that
 * let a deadline pass, or nearly so again and again, is left alone for a while. Each thread keeps its own account.
 */
import { ETIMEDOUT, SysError } from "../sys/errno.ts";
import { GUARD_MS, type GuardedResult, type GuardOptions, guarded, type Step } from "../sys/guarded.ts";
import { Quarantine } from "./quarantine.ts";

const quarantine = new Quarantine();

/**
 * `scope`: whose paths are walked; undefined for the host's, which are trusted to answer.
 * Throws SysError with the failed step's call; ETIMEDOUT when the deadline passed, now or
 * so shortly before that nothing was tried.
 */
export function walk(
  scope: string | undefined,
  steps: readonly Step[],
  timeoutMs = GUARD_MS,
  options: Pick<GuardOptions, "apart"> = {},
): GuardedResult {
  if (scope === undefined) return guarded(steps, { ...options, timeoutMs });
  const now = performance.now();
  // The same words each time: a link's reason that changes is a line in the log.
  if (quarantine.remaining(scope, now) > 0)
    throw new SysError("a path there did not answer in time and is left alone for a while", -ETIMEDOUT);
  let late = false;
  try {
    return guarded(steps, { ...options, timeoutMs, scope });
  } catch (error) {
    late = error instanceof SysError && error.errno === ETIMEDOUT;
    throw error;
  } finally {
    const then = performance.now();
    if (late) quarantine.strike(scope, then);
    else quarantine.waited(scope, then - now, timeoutMs, then);
  }
}
