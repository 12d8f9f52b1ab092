/**
 * Where the graph comes from, seen from `reconcile/`: something to ask again and again,
 * and that may say by itself that asking is worth it. A source never gives an empty graph for
 * a failure: what could not be read is a value of its own, and the caller keeps the last good one.
 */
import type { Link } from "./link.ts";
import type { Skipped } from "./schema.ts";

export interface Graph {
  readonly links: readonly Link[];
  readonly skipped: readonly Skipped[];
}

/** What kind of failure it was; decides when to ask again (`reconcile/cadence.ts`). */
export type UnavailableCause =
  /** Nothing there yet: no socket, no file. */
  | "absent"
  /** A socket that nobody listens on. */
  | "refused"
  /** Connected, and closed without an answer. */
  | "closed"
  | "timeout"
  /** pv-ctrl's 5xx: "State not loaded yet". */
  | "not-ready"
  /** pv-ctrl's 404: built without this feature. */
  | "disabled"
  /** Any other answer than 200. */
  | "rejected"
  /** Ended before its end. */
  | "cut"
  /** Whole, but no graph. */
  | "malformed"
  | "too-large"
  | "error";

export type FetchResult =
  /** The same object as before as long as the bytes are the same. */
  | { readonly kind: "graph"; readonly graph: Graph }
  /** `message`: a whole sentence for the log, the same text for the same trouble. */
  | { readonly kind: "unavailable"; readonly cause: UnavailableCause; readonly message: string }
  /** The caller's signal ended it. */
  | { readonly kind: "aborted" };

export interface GraphSource {
  /** For the log: what is read. */
  readonly name: string;
  /** Never rejects. Ends by a deadline of its own. */
  fetch(signal: AbortSignal): Promise<FetchResult>;
  /** `callback` is called when there may be something new. At most one callback. */
  onChange?(callback: () => void): void;
  close(): void;
}
