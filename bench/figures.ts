/** What all benches share: medians, memory of a process, a table, bars with PASS or MISS. */
import { readFileSync } from "node:fs";

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

export interface Memory {
  /** Kilobytes, of /proc/PID/smaps_rollup: all pages mapped, and those that no file backs. */
  readonly rssKb: number;
  readonly anonymousKb: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? Number.NaN);
  return { rssKb: field("Rss"), anonymousKb: field("Anonymous") };
}

/** One promise of the project with what was measured. */
export interface Bar {
  readonly what: string;
  readonly measured: number;
  readonly bar: number;
  /** "most": measured must not be above the bar; "least": not below. */
  readonly kind: "most" | "least";
  readonly unit: string;
}

export function passes(bar: Bar): boolean {
  return bar.kind === "most" ? bar.measured <= bar.bar : bar.measured >= bar.bar;
}

export function printBars(bars: readonly Bar[]): void {
  for (const bar of bars) {
    const sign = bar.kind === "most" ? "<=" : ">=";
    const figures = `${bar.measured.toFixed(2).padStart(9)} ${sign} ${String(bar.bar).padEnd(6)} ${bar.unit}`;
    console.log(`  ${passes(bar) ? "PASS" : "MISS"}  ${bar.what.padEnd(52)} ${figures}`);
  }
}

export function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  for (const row of rows)
    console.log(
      `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")}`,
    );
}
