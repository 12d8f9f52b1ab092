/**
 * What one connection knows of the compositor's globals, and the compositor's registries
 * of this connection: the only two things that a filter without protocol XML must track.
 *
 * ## Registries
 * An object is a registry because the client asked wl_display.get_registry for it. Core
 * Wayland has no request that ends one, and wl_fixes, which has, is granted to nobody. So
 * a delete_id that names a registry is not about the registry: a client that breaks the
 * rule of ids can have an older object's delete_id still under way when it asks for a
 * registry of the same id (sync(3), get_registry(3) in one message). Believing that
 * delete_id would leave a registry that nobody watches.
 *
 * Yet an id may really be used again (a compositor of another make). So delete_id makes
 * a registry `doubtful`, never forgotten: what could be a bind there is still judged as
 * one, what is a global is still filtered, and all that can be neither passes.
 */
import type { GlobalRules } from "../../policy/wayland.ts";
import type { Global } from "../../protocol/wayland/wire.ts";

/**
 * Registries of one connection. They live as long as it does, and Mesa asks for a new one
 * at each surface query of Vulkan, so long-lived applications have thousands.
 */
export const MAX_REGISTRIES = 16_384;
/** Globals of a compositor that are remembered: real ones have about sixty. */
export const MAX_GLOBALS = 4096;
/** A longer interface name is hidden whatever the policy (its own limit is 128). */
export const MAX_INTERFACE_CHARS = 128;
/**
 * Removed globals that are still known. libwayland lets a client bind one for a while, since
 * its request may have been under way; each plugged and unplugged screen leaves one behind.
 */
export const REMOVED_KEPT = 64;

export type RegistryState = "live" | "doubtful";

interface Known {
  readonly offered: Global;
  /** As the consumer was told; undefined: hidden. */
  shown: Global | undefined;
  removed: boolean;
}

/** What to do with a global event: the event as the consumer gets it, or undefined. */
export type Announced =
  | { readonly kind: "shown"; readonly global: Global }
  | { readonly kind: "hidden" }
  | { readonly kind: "overflow" };

export type Change =
  | { readonly kind: "revoked"; readonly interface: string }
  | { readonly kind: "told"; readonly removals: readonly number[]; readonly additions: readonly Global[] };

export class RegistryView {
  private readonly registries = new Map<number, RegistryState>();
  private readonly known = new Map<number, Known>();
  private readonly removedNames: number[] = [];
  /** Interfaces that were bound, each with the highest version. Never more than the policy's tables allow. */
  private readonly boundVersions = new Map<string, number>();
  private rules: GlobalRules;

  constructor(rules: GlobalRules) {
    this.rules = rules;
  }

  get rule(): string {
    return this.rules.rule;
  }
  has(id: number): boolean {
    return this.registries.has(id);
  }
  isLive(id: number): boolean {
    return this.registries.get(id) === "live";
  }
  /** False when there are too many. */
  addRegistry(id: number): boolean {
    if (this.registries.size >= MAX_REGISTRIES && !this.registries.has(id)) return false;
    this.registries.set(id, "live");
    return true;
  }
  /** wl_display.delete_id. */
  idDeleted(id: number): void {
    if (this.registries.has(id)) this.registries.set(id, "doubtful");
  }

  /** The compositor announces a global on some registry. */
  announced(global: Global): Announced {
    // Cut beyond the longest name that a policy can have, so that no cut name equals one.
    const offered = { ...global, interface: global.interface.slice(0, MAX_INTERFACE_CHARS + 1) };
    const before = this.known.get(offered.name);
    if (before === undefined && this.known.size >= MAX_GLOBALS) return { kind: "overflow" };
    const version = this.rules.shownVersion(offered);
    const shown = version === 0 ? undefined : { ...offered, version };
    this.known.set(offered.name, { offered, shown, removed: false });
    return shown === undefined ? { kind: "hidden" } : { kind: "shown", global: shown };
  }

  /** The global of that name as the consumer was shown it. */
  shown(name: number): Global | undefined {
    return this.known.get(name)?.shown;
  }
  isHidden(name: number): boolean {
    const known = this.known.get(name);
    return known !== undefined && known.shown === undefined;
  }

  /** The compositor removes a global, once on each registry. */
  removed(name: number): void {
    const known = this.known.get(name);
    if (known === undefined || known.removed) return;
    known.removed = true;
    this.removedNames.push(name);
    if (this.removedNames.length <= REMOVED_KEPT) return;
    const oldest = this.removedNames.shift()!;
    if (this.known.get(oldest)?.removed === true) this.known.delete(oldest);
  }

  /** True when this interface was not bound at this or a higher version before. */
  bound(name: string, version: number): boolean {
    if ((this.boundVersions.get(name) ?? 0) >= version) return false;
    this.boundVersions.set(name, version);
    return true;
  }

  /** Each interface once, sorted. */
  boundInterfaces(): [string, number][] {
    return [...this.boundVersions].sort();
  }
  /** `interface vN`, each interface once, sorted. */
  hiddenInterfaces(): string[] {
    const hidden = new Map<string, number>();
    for (const { offered, shown } of this.known.values())
      if (shown === undefined)
        hidden.set(offered.interface, Math.max(offered.version, hidden.get(offered.interface) ?? 0));
    return [...hidden].map(([name, version]) => `${name} v${version}`).sort();
  }

  /**
   * New rules for an open connection: what the consumer must be told on each of its live
   * registries, or the interface that is bound and no longer allowed. A bound object can't
   * be taken back, so that connection must end.
   */
  adopt(rules: GlobalRules): Change {
    this.rules = rules;
    for (const [name, version] of this.boundVersions)
      if (rules.shownVersion({ interface: name, version }) < version) return { kind: "revoked", interface: name };
    const removals: number[] = [];
    const additions: Global[] = [];
    for (const [name, known] of this.known) {
      const version = rules.shownVersion(known.offered);
      const before = known.shown?.version ?? 0;
      if (version === before) continue;
      known.shown = version === 0 ? undefined : { ...known.offered, version };
      if (known.removed) continue;
      if (before > 0) removals.push(name);
      if (known.shown !== undefined) additions.push(known.shown);
    }
    return { kind: "told", removals, additions };
  }

  /** On which of them a change is to be told. */
  liveRegistries(): number[] {
    return [...this.registries].filter(([, state]) => state === "live").map(([id]) => id);
  }
}
