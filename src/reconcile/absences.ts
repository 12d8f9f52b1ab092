/**
 * Since when each peer of the graph is missing, and whether it had been up before: how often to
 * ask for the graph depends on it. Pure but for its own memory; time is an argument.
 */
import type { Desired } from "./link-state.ts";

interface Absence {
  readonly since: number;
  /** It had been up: it was lost, and is likely to be back soon. */
  readonly lost: boolean;
}

export class Absences {
  private absent = new Map<string, Absence>();
  private up = new Set<string>();

  /** `desired` as it was just assessed. */
  update(desired: ReadonlyMap<string, Desired>, now: number): void {
    const up = new Set<string>();
    const missing = new Set<string>();
    for (const { link, consumer, provider, check } of desired.values()) {
      // Nobody waits for the peers of a link that is not allowed.
      if (!check.ok) continue;
      (consumer.up ? up : missing).add(link.consumer);
      (provider.up ? up : missing).add(link.provider);
    }
    const absent = new Map<string, Absence>();
    for (const name of missing) absent.set(name, this.absent.get(name) ?? { since: now, lost: this.up.has(name) });
    this.absent = absent;
    this.up = up;
  }

  /** When the latest one was lost that is not back yet. */
  get lostAt(): number | undefined {
    return this.latest(true);
  }
  /** Since when the latest one is awaited that was never up. */
  get awaitedAt(): number | undefined {
    return this.latest(false);
  }

  private latest(lost: boolean): number | undefined {
    let latest: number | undefined;
    for (const absence of this.absent.values())
      if (absence.lost === lost && (latest === undefined || absence.since > latest)) latest = absence.since;
    return latest;
  }
}
