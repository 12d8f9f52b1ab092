/** What is kept of one link from the first time the graph names it until it is gone. The controller's notebook, one page a link. */

import type { Link } from "../graph/link.ts";
import type { Planted } from "../mediators/mediator.ts";
import type { AnyMediator } from "./assess.ts";
import { backoff } from "./backoff.ts";
import type { Basis, LinkState, Observed, Resting } from "./link-state.ts";

export interface Standing extends Basis {
  readonly handle: Planted;
  readonly mediator: AnyMediator;
  drift: string | null;
  degraded: string | null;
}

export class LinkRecord implements Observed {
  readonly key: string;
  /** As the graph has it now. */
  link: Link;
  busy = false;
  planted: Standing | undefined;
  failed: (Basis & { readonly retryAt: number }) | undefined;
  /** Wall clock, of the last change of state or reason. */
  since: number;
  private resting: Resting = { state: "pending", reason: null };
  private failures = 0;

  constructor(link: Link, wall: number) {
    this.key = link.key;
    this.link = link;
    this.since = wall;
  }

  /** The state it rests in; while something is being planted for the first time, `shown` says so. */
  get state(): Resting["state"] {
    return this.resting.state;
  }
  get reason(): string | null {
    return this.resting.reason;
  }
  get shown(): LinkState {
    return this.busy && this.planted === undefined && this.state === "pending" ? "establishing" : this.state;
  }

  /** True when that is new. */
  rest(to: Resting, wall: number): boolean {
    const { state, reason } = this.resting;
    if (state === to.state && reason === to.reason) return false;
    this.resting = to;
    this.since = wall;
    return true;
  }

  stands(standing: Standing): void {
    this.planted = standing;
    this.failed = undefined;
    this.failures = 0;
  }

  /** An attempt on this basis failed. `again`: so did the one before, on the same basis. `jitter` in [0, 1). */
  failedOn(basis: Basis, again: boolean, now: number, jitter: number): void {
    this.failures = again ? this.failures + 1 : 1;
    const { link, consumerId, providerId, config } = basis;
    this.failed = { link, consumerId, providerId, config, retryAt: now + backoff(this.failures, jitter) };
  }

  /** It rests without having failed. */
  forgiven(): void {
    this.failures = 0;
    this.failed = undefined;
  }
}

/** What touches the same target of the same consumer must not happen at once, whatever the links are called. */
export function placeOf(link: Link): string {
  return JSON.stringify([link.consumer, link.target]);
}
