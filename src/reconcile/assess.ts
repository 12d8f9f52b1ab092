/**
 * The graph's links -> what should be: pids replaced by what is believed of them, and each link judged
 * by its mediator under the policy in force. Reads nothing, keeps one memory: a link that ever had a
 * container on one side has none of the host there later.
 */
import type { Link } from "../graph/link.ts";
import type { Check, Mediator, Planted } from "../mediators/mediator.ts";
import { lookupService } from "../policy/merge.ts";
import type { Policy } from "../policy/schema.ts";
import type { Desired, PeerView } from "./link-state.ts";
import type { Peers, Side } from "./peers.ts";

export type AnyMediator = Mediator<unknown, Planted>;
export type Mediators = ReadonlyMap<string, AnyMediator>;

interface Memory {
  consumer: boolean;
  provider: boolean;
}

export class Assessor {
  private readonly mediators: Mediators;
  private readonly peers: Pick<Peers, "view">;
  /** By key: which sides were a container's (any pid but 0) since the link is in the graph. */
  private wasContainer = new Map<string, Memory>();

  constructor(mediators: Mediators, peers: Pick<Peers, "view">) {
    this.mediators = mediators;
    this.peers = peers;
  }

  assess(links: readonly Link[], policy: Policy): Map<string, Desired> {
    const desired = new Map<string, Desired>();
    const memories = new Map<string, Memory>();
    for (const link of links) {
      const memory = this.wasContainer.get(link.key) ?? { consumer: false, provider: false };
      memory.consumer ||= link.consumerPid !== 0;
      memory.provider ||= link.providerPid !== 0;
      memories.set(link.key, memory);
      const consumer = this.view("consumer", link.consumer, link.consumerPid, memory.consumer);
      const provider = this.view("provider", link.provider, link.providerPid, memory.provider);
      const believed = withPeers(link, consumer, provider);
      desired.set(link.key, { link: believed, consumer, provider, check: this.check(believed, policy) });
    }
    this.wasContainer = memories;
    return desired;
  }

  private view(side: Side, name: string, pid: number, wasContainer: boolean): PeerView {
    if (pid !== 0 || !wasContainer) return this.peers.view(side, name, pid);
    const who = `The ${side} ${JSON.stringify(name)}`;
    return { up: false, reason: `${who} is not up: the graph gives pid 0, which is the host, for a container` };
  }

  private check(link: Link, policy: Policy): Check<unknown> {
    const mediator = this.mediators.get(link.type);
    if (mediator === undefined) return { ok: false, reason: `Links of type "${link.type}" are not mediated here` };
    const service = lookupService(policy, link.name);
    if (service.kind === "refused") return { ok: false, reason: service.reason };
    try {
      return mediator.check(link, service.kind === "policy" ? service.policy : undefined);
    } catch (error) {
      return { ok: false, reason: `Cannot judge the link: ${error instanceof Error ? error.message : String(error)}` };
    }
  }
}

function withPeers(link: Link, consumer: PeerView, provider: PeerView): Link {
  return {
    ...link,
    consumerPid: consumer.up ? consumer.pid : -1,
    providerPid: provider.up ? provider.pid : -1,
    ...(consumer.up && consumer.start !== undefined ? { consumerStart: consumer.start } : {}),
    ...(provider.up && provider.start !== undefined ? { providerStart: provider.start } : {}),
  };
}
