/**
 * Counters that both threads see: one row a link in shared memory. The data plane is
 * the only writer, the control thread reads; an aligned 64-bit float is read whole on
 * the architectures we run on, and counts exactly up to 2^53.
 */
import { LINKS_MAX } from "./limits.ts";

export const COUNTERS = [
  "sessions",
  "sessions_total",
  "held",
  "bytes_in",
  "bytes_out",
  "fds",
  "denied",
  "dial_failures",
  "session_errors",
  "queued_bytes",
  "queued_fds",
  "accept_pauses",
  "records_suppressed",
  "messages_in",
  "messages_out",
] as const;
export type Counter = (typeof COUNTERS)[number];

export const ROW = 16;
/** Column of a counter in its row. */
export const COLUMN = Object.fromEntries(COUNTERS.map((name, i) => [name, i])) as Readonly<Record<Counter, number>>;

export function counterTable(): SharedArrayBuffer {
  return new SharedArrayBuffer(LINKS_MAX * ROW * 8);
}

/** One row, read by name. */
export function readRow(table: Float64Array, slot: number): Record<Counter, number> {
  const row = {} as Record<Counter, number>;
  for (const [i, name] of COUNTERS.entries()) row[name] = table[slot * ROW + i]!;
  return row;
}
