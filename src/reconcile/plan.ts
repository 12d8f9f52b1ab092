/**
 * `diff(desired, observed, now)`: the steps from what is to what should be. Pure, level-triggered:
 * it looks at the two states, never at what happened. At most one step a link; when that has
 * been done, the next diff sees what is left. Every step says why.
 */
import type { Link } from "../graph/link.ts";
import type { Basis, Desired, Observed, Resting } from "./link-state.ts";
import { sameData } from "./same-data.ts";

export type Step =
  /** Nothing stands: plant and listen. */
  | ({ readonly do: "establish"; readonly key: string; readonly why: string } & Basis)
  /** Something of ours stands that is wrong: plant anew over it, without a gap. */
  | ({ readonly do: "replace"; readonly key: string; readonly why: string } & Basis)
  /** What stands is right, its configuration is not. */
  | ({ readonly do: "update"; readonly key: string; readonly why: string } & Basis)
  /** What stands must go. `leaves`: the state after it. */
  | { readonly do: "teardown"; readonly key: string; readonly why: string; readonly leaves: Resting | "forget" }
  /** Only the link's state changes. */
  | { readonly do: "rest"; readonly key: string; readonly why: string; readonly leaves: Resting }
  /** Nothing stands and nobody wants it. */
  | { readonly do: "forget"; readonly key: string; readonly why: string };

/** `desired` and `observed` by key; `now` in monotonic milliseconds. Steps that remove come first. */
export function diff(
  desired: ReadonlyMap<string, Desired>,
  observed: ReadonlyMap<string, Observed>,
  now: number,
): Step[] {
  const removals: Step[] = [];
  const others: Step[] = [];
  for (const have of observed.values()) {
    if (have.busy || desired.has(have.key)) continue;
    removals.push(unwanted(have));
  }
  for (const [key, want] of desired) {
    const have = observed.get(key);
    if (have?.busy) continue;
    const step = stepFor(key, want, have, now);
    if (step !== undefined) (step.do === "teardown" ? removals : others).push(step);
  }
  return [...removals, ...others];
}

/** The step for a link that the graph has no more. */
export function unwanted({ key, planted }: Observed): Step {
  const why = "the link left the graph";
  return planted === undefined ? { do: "forget", key, why } : { do: "teardown", key, why, leaves: "forget" };
}

/** The one step for one link, undefined when it is as it should be or must wait. */
export function stepFor(key: string, want: Desired, have: Observed | undefined, now: number): Step | undefined {
  if (!want.check.ok) return away(key, have, { state: "failed", reason: want.check.reason });
  if (!want.consumer.up) return away(key, have, { state: "pending", reason: want.consumer.reason });
  const basis: Basis = {
    link: want.link,
    consumerId: want.consumer.id,
    providerId: want.provider.up ? want.provider.id : "",
    config: want.check.config,
  };
  if (have?.planted !== undefined) return stepForPlanted(key, want, have, have.planted, basis);
  if (!want.provider.up) return away(key, have, { state: "pending", reason: want.provider.reason });
  const failed = have?.failed;
  if (failed === undefined) return { do: "establish", key, why: "both peers are up", ...basis };
  const change = changeOf(failed, basis);
  if (change !== undefined) return { do: "establish", key, why: change, ...basis };
  if (now < failed.retryAt) return undefined;
  return { do: "establish", key, why: "the wait after the last failure is over", ...basis };
}

/** Nothing may stand: take away what does, then rest. */
function away(key: string, have: Observed | undefined, leaves: Resting): Step | undefined {
  const why = leaves.reason ?? leaves.state;
  if (have?.planted !== undefined) return { do: "teardown", key, why, leaves };
  return rest(key, have, leaves);
}

function rest(key: string, have: Observed | undefined, leaves: Resting): Step | undefined {
  if (have !== undefined && have.state === leaves.state && have.reason === leaves.reason) return undefined;
  return { do: "rest", key, why: leaves.reason ?? "all is in place", leaves };
}

function stepForPlanted(
  key: string,
  want: Desired,
  have: Observed,
  planted: NonNullable<Observed["planted"]>,
  basis: Basis,
): Step | undefined {
  if (planted.link.type !== basis.link.type) {
    const why = `the type changed from ${planted.link.type} to ${basis.link.type}`;
    return { do: "teardown", key, why, leaves: { state: "pending", reason: why } };
  }
  const placed = placeChange(planted, basis) ?? planted.drift;
  if (placed !== null) {
    // Without its provider a link can't be planted anew; what stands is wrong and goes.
    if (!want.provider.up)
      return { do: "teardown", key, why: placed, leaves: { state: "pending", reason: want.provider.reason } };
    return { do: "replace", key, why: placed, ...basis };
  }
  const resting: Resting = want.provider.up
    ? { state: planted.degraded === null ? "established" : "degraded", reason: planted.degraded }
    : { state: "degraded", reason: want.provider.reason };
  if (holdsProvidersObject(basis.link)) {
    if (!want.provider.up) return rest(key, have, resting);
    if (planted.providerId !== basis.providerId)
      return { do: "replace", key, why: `the provider is now pid ${basis.link.providerPid}`, ...basis };
  }
  const change = changeOf(planted, basis);
  if (change !== undefined) return { do: "update", key, why: change, ...basis };
  return rest(key, have, resting);
}

/** A device node is a copy of the provider's; a socket is only the way to it, and its open sessions outlive a provider's restart. */
function holdsProvidersObject(link: Link): boolean {
  return link.type === "drm" || link.type === "input";
}

/** Fields that stand for who the session is and what it reaches: sessions begun under other ones must not go on. */
const IDENTITY_FIELDS = ["role", "interface", "socket", "provider", "uid"] as const;

/** Why what stands is in the wrong place or under the wrong identity; null when it is not. */
function placeChange(before: Basis, after: Basis): string | null {
  if (before.consumerId !== after.consumerId) return `the consumer is now pid ${after.link.consumerPid}`;
  for (const field of IDENTITY_FIELDS) {
    const [was, is] = [before.link[field], after.link[field]];
    if (was !== is) return `${field} changed from ${JSON.stringify(was)} to ${JSON.stringify(is)}`;
  }
  return null;
}

/** What differs, as a sentence; undefined when nothing does. */
export function changeOf(before: Basis, after: Basis): string | undefined {
  const placed = placeChange(before, after);
  if (placed !== null) return placed;
  const pid = after.link.providerPid;
  if (before.providerId !== after.providerId)
    return pid < 0 ? "the provider is not up" : `the provider is now pid ${pid}`;
  return sameData(before.config, after.config) ? undefined : "the configuration changed";
}
