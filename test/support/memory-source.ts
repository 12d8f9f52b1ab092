/** A graph source that says what a test tells it to. */
import { readGraph } from "../../src/graph/schema.ts";
import type { FetchResult, GraphSource, UnavailableCause } from "../../src/graph/source.ts";

export class MemorySource implements GraphSource {
  readonly name = "memory";
  asked = 0;
  closed = false;
  changed: (() => void) | undefined;
  /** Awaited before each answer. */
  gate: (signal: AbortSignal) => Promise<void> = async () => {};
  private result: FetchResult = { kind: "unavailable", cause: "absent", message: "no graph yet" };

  setEntries(entries: readonly unknown[]): void {
    const parsed = readGraph([...entries]);
    if (!parsed.ok) throw new Error(parsed.reason);
    this.result = { kind: "graph", graph: { links: parsed.links, skipped: parsed.skipped } };
  }
  fail(cause: UnavailableCause, message: string): void {
    this.result = { kind: "unavailable", cause, message };
  }
  async fetch(signal: AbortSignal): Promise<FetchResult> {
    this.asked++;
    await this.gate(signal);
    return signal.aborted ? { kind: "aborted" } : this.result;
  }
  onChange(callback: () => void): void {
    this.changed = callback;
  }
  close(): void {
    this.closed = true;
  }
}

/** A graph entry of a raw unix link; pids from the arguments. */
export function entry(
  consumer: string,
  consumerPid: number,
  provider: string,
  providerPid: number,
  change: object = {},
): object {
  return {
    type: "unix",
    name: "raw",
    consumer,
    consumer_pid: consumerPid,
    provider,
    provider_pid: providerPid,
    role: "any",
    target: "/run/raw.sock",
    socket: "/run/s.sock",
    ...change,
  };
}
