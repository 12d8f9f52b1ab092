/**
 * Control-side contract of a link type. The same four calls for every type;
 * `reconcile` decides when, a mediator knows how. No mediator imports another.
 */
import type { Link } from "../graph/link.ts";
import type { ServicePolicy } from "../policy/schema.ts";

/** Pure answer to "may this link exist, and with what configuration?". `config` is plain data: it crosses to the data plane. */
export type Check<Config> =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly reason: string };

/** What stands in a consumer because of one link. Opaque to the controller but for `summary`. */
export interface Planted {
  /** For the log and `status`: what was planted where. */
  readonly summary: string;
}

export type Verdict =
  | { readonly state: "ok" }
  /** Planted and in place, but the other end can't be reached or used: link state `degraded`. */
  | { readonly state: "degraded"; readonly reason: string }
  /** What we planted is no longer there or no longer ours: plant again. */
  | { readonly state: "drifted"; readonly reason: string };

export interface Mediator<Config, P extends Planted> {
  readonly type: Link["type"];
  /** Before anything is touched, and again at each policy or graph change. Pure. */
  check(link: Link, policy: ServicePolicy | undefined): Check<Config>;
  /**
   * Both peers are up and `check` said yes. Plants and listens; throws an Error whose
   * message is the link's reason. Nothing is left behind when it throws. Called again
   * after any failure, and with `previous` when it replaces (the target must not blink).
   */
  establish(link: Link, config: Config, previous: P | undefined): Promise<P>;
  /** New configuration for an established link: open sessions obey it from here on. */
  update(planted: P, link: Link, config: Config): void;
  /** At each reconcile of an established link. Cheap; changes nothing. */
  verify(planted: P): Verdict;
  /** Removes only what is ours (same dev and inode) and ends the link's sessions. Never throws; idempotent. */
  teardown(planted: P): Promise<void>;
}
