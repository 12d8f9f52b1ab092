/** The states of a link, and what is known of one at one moment. */
import type { Link } from "../graph/link.ts";

export const LINK_STATES = [
  /** A peer is not up: nothing to do but wait. */
  "pending",
  "establishing",
  "established",
  /** Planted and in place, but the provider is gone or can't be used. */
  "degraded",
  /** Not allowed, or could not be planted. */
  "failed",
] as const;
export type LinkState = (typeof LINK_STATES)[number];

/** A state that a link rests in. `reason`: a sentence, null only where all is well. */
export interface Resting {
  readonly state: Exclude<LinkState, "establishing">;
  readonly reason: string | null;
}

/** A peer as it is believed to be now. `id` differs between two processes, also with the same pid. */
export type PeerView =
  | { readonly up: true; readonly id: string; readonly pid: number; readonly start: string | undefined }
  | { readonly up: false; readonly reason: string };

/** A link as it should be: the graph's word, with pids replaced by what is believed (-1: not up), and the mediator's judgement. */
export interface Desired {
  readonly link: Link;
  readonly consumer: PeerView;
  readonly provider: PeerView;
  readonly check: { readonly ok: true; readonly config: unknown } | { readonly ok: false; readonly reason: string };
}

/** What a step was made of: when all of it is the same, doing it again gives the same. */
export interface Basis {
  readonly link: Link;
  readonly consumerId: string;
  /** "" while the provider is not up. */
  readonly providerId: string;
  readonly config: unknown;
}

/** A link as it is. */
export interface Observed {
  readonly key: string;
  readonly state: LinkState;
  readonly reason: string | null;
  /** An operation is under way: nothing is decided until it has ended. */
  readonly busy: boolean;
  /** What stands, and on what basis. `drift` and `degraded` are the last `verify`'s. */
  readonly planted: (Basis & { readonly drift: string | null; readonly degraded: string | null }) | undefined;
  /** The last attempt that failed, while nothing stands. `retryAt`: monotonic milliseconds. */
  readonly failed: (Basis & { readonly retryAt: number }) | undefined;
}
