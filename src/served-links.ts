/**
 * Which link each slot of the data plane serves, and what the data plane last said of
 * its provider. What mediators see of the data plane (`LinkPlane`).
 */
import { linkKey } from "./graph/schema.ts";
import type { LinkPlane } from "./mediators/socket-link.ts";
import type { Counter } from "./relay/counters.ts";
import type { LinkIdentity } from "./relay/filter.ts";
import type { PlaneClient } from "./relay/plane-client.ts";

export interface ServedLink {
  readonly key: string;
  readonly identity: LinkIdentity;
  provider: { readonly reachable: boolean; readonly reason: string } | undefined;
  /** What keeps the data plane from serving it; null: nothing. */
  trouble: string | null;
}

export class ServedLinks implements LinkPlane {
  private readonly client: PlaneClient;
  private readonly bySlot = new Map<number, ServedLink>();
  private readonly slots = new Map<string, number>();

  constructor(client: PlaneClient) {
    this.client = client;
  }

  open(listenFd: number, seqpacket: boolean, identity: LinkIdentity, config: unknown): number {
    const slot = this.client.open(listenFd, seqpacket, identity, config);
    const key = linkKey(identity.consumer, identity.name, identity.target);
    this.bySlot.set(slot, { key, identity, provider: undefined, trouble: null });
    this.slots.set(key, slot);
    return slot;
  }
  configure(slot: number, config: unknown): void {
    this.client.configure(slot, config);
  }
  replaceListener(slot: number, listenFd: number, seqpacket: boolean): void {
    this.client.replaceListener(slot, listenFd, seqpacket);
  }
  async close(slot: number): Promise<void> {
    await this.client.close(slot);
    const served = this.bySlot.get(slot);
    this.bySlot.delete(slot);
    if (served !== undefined && this.slots.get(served.key) === slot) this.slots.delete(served.key);
  }
  provider(slot: number): ServedLink["provider"] {
    return this.bySlot.get(slot)?.provider;
  }
  trouble(slot: number): string | null {
    return this.bySlot.get(slot)?.trouble ?? null;
  }

  find(slot: number): ServedLink | undefined {
    return this.bySlot.get(slot);
  }
  /** Counters of a link; undefined while the data plane serves none of that key. */
  counters(key: string): Record<Counter, number> | undefined {
    const slot = this.slots.get(key);
    return slot === undefined ? undefined : this.client.counters(slot);
  }
}
