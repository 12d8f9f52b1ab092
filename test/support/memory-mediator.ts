/** A mediator that plants in a notebook. What it is asked to do can be made to fail, hang or drift. */
import type { Link, LinkType } from "../../src/graph/link.ts";
import type { Check, Mediator, Planted, Verdict } from "../../src/mediators/mediator.ts";
import type { ServicePolicy } from "../../src/policy/schema.ts";

export interface NotedPlanted extends Planted {
  readonly id: number;
  link: Link;
  config: NotedConfig;
}
export interface NotedConfig {
  readonly providerPid: number;
  readonly policy: ServicePolicy | undefined;
}

export class MemoryMediator implements Mediator<NotedConfig, NotedPlanted> {
  readonly type: LinkType;
  /** Every call that changes something, as `establish app/raw`. */
  readonly calls: string[] = [];
  readonly standing = new Set<NotedPlanted>();
  /** Operations at work now, and the most there ever were. */
  atWork = 0;
  mostAtWork = 0;
  /** Awaited inside of `establish`. */
  gate: (link: Link) => Promise<void> = async () => {};
  fails: (link: Link) => string | undefined = () => undefined;
  refuses: (link: Link) => string | undefined = () => undefined;
  verdict: (planted: NotedPlanted) => Verdict = () => ({ state: "ok" });
  teardownGate: () => Promise<void> = async () => {};
  updateFails: string | undefined;
  private next = 1;

  constructor(type: LinkType = "unix") {
    this.type = type;
  }

  check(link: Link, policy: ServicePolicy | undefined): Check<NotedConfig> {
    const reason = this.refuses(link);
    return reason === undefined
      ? { ok: true, config: { providerPid: link.providerPid, policy } }
      : { ok: false, reason };
  }
  async establish(link: Link, config: NotedConfig, previous: NotedPlanted | undefined): Promise<NotedPlanted> {
    this.calls.push(`${previous === undefined ? "establish" : "replace"} ${link.consumer}/${link.name}`);
    this.atWork++;
    this.mostAtWork = Math.max(this.mostAtWork, this.atWork);
    try {
      await this.gate(link);
      const failure = this.fails(link);
      if (failure !== undefined) throw new Error(failure);
      const planted = { id: this.next++, link, config, summary: link.target };
      if (previous !== undefined) this.standing.delete(previous);
      this.standing.add(planted);
      return planted;
    } finally {
      this.atWork--;
    }
  }
  update(planted: NotedPlanted, link: Link, config: NotedConfig): void {
    this.calls.push(`update ${link.consumer}/${link.name}`);
    if (this.updateFails !== undefined) throw new Error(this.updateFails);
    planted.link = link;
    planted.config = config;
  }
  verify(planted: NotedPlanted): Verdict {
    return this.verdict(planted);
  }
  async teardown(planted: NotedPlanted): Promise<void> {
    this.calls.push(`teardown ${planted.link.consumer}/${planted.link.name}`);
    await this.teardownGate();
    this.standing.delete(planted);
  }
  takeCalls(): string[] {
    return this.calls.splice(0);
  }
}
