/** One line of `doctor`: what was looked at, how it is, and what that means here. */

/**
 * `error`: something that is asked of the daemon will not work here. `warn`: part of it won't,
 * or only worse. `note`: worth knowing. `ok`: as it should be.
 */
export type CheckStatus = "ok" | "note" | "warn" | "error";

export interface Check {
  readonly area: "kernel" | "capabilities" | "pv-ctrl" | "devices" | "consumers" | "drivers";
  readonly name: string;
  readonly status: CheckStatus;
  /** A sentence or a clause; may hold names that others chose. */
  readonly detail: string;
}
