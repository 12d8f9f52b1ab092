/** Time, given to whatever in this room needs it, so that tests own it. */
export interface Clock {
  /** Milliseconds that never go back; only differences mean something. */
  monotonic(): number;
  /** The wall clock, milliseconds since 1970. For `since` in the status, never for deciding. */
  wall(): number;
  /** Calls `run` once, `ms` from now. Returns what cancels it. */
  after(ms: number, run: () => void): () => void;
}
