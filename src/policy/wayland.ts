/**
 * What a Wayland role sees, and whether a bind is in order. Pure.
 *
 * Default deny: a global is shown when its interface stands in the role's table, with
 * at most the table's version; every other one does not exist for this consumer.
 */
import type { Link } from "../graph/link.ts";
import type { Bind, Global } from "../protocol/wayland/wire.ts";
import { type RoleEntry, roleOf, roleRule } from "./role.ts";
import type { ServicePolicy } from "./schema.ts";
import { NEVER_GRANTED, PROFILE_TABLES, WAYLAND_TABLES_DATE } from "./wayland-profiles.ts";

/** What crosses to the data plane: plain, since a role's table is a few dozen lines. */
export interface WaylandTable {
  /** Interface and highest version shown. */
  readonly globals: readonly (readonly [interface_: string, version: number])[];
  /** What decided, for the audit: the role's place in the policy, and the profile with its date. */
  readonly rule: string;
}

export type WaylandDecision =
  | { readonly ok: true; readonly table: WaylandTable }
  | { readonly ok: false; readonly reason: string; readonly rule: string };

/** `policy` undefined: no file speaks of the service, so every role is an ordinary application. */
export function waylandAccess(
  link: Pick<Link, "name" | "role" | "consumer">,
  policy: ServicePolicy | undefined,
): WaylandDecision {
  if (policy === undefined)
    return { ok: true, table: tableOf(undefined, `${roleRule(link.name, link.role)}: no policy`) };
  const decision = roleOf(policy, link, "wayland");
  return decision.ok ? { ok: true, table: tableOf(decision.role, decision.rule) } : decision;
}

function tableOf(role: RoleEntry<"wayland"> | undefined, place: string): WaylandTable {
  const profile = role?.profile ?? "app";
  const globals = new Map(Object.entries(PROFILE_TABLES[profile]));
  for (const { interface: name, version } of role?.globals ?? []) globals.set(name, version);
  for (const name of role?.hide ?? []) globals.delete(name);
  for (const name of NEVER_GRANTED.keys()) globals.delete(name);
  return { globals: [...globals], rule: `${place}: profile ${profile} of ${WAYLAND_TABLES_DATE}` };
}

/** A table ready for questions. */
export class GlobalRules {
  readonly rule: string;
  private readonly versions: ReadonlyMap<string, number>;

  constructor(table: WaylandTable) {
    this.rule = table.rule;
    this.versions = new Map(table.globals);
  }

  /** The version to show of a global that the compositor offers; 0: hidden. */
  shownVersion(offered: Omit<Global, "name">): number {
    if (NEVER_GRANTED.has(offered.interface)) return 0;
    return Math.min(offered.version, this.versions.get(offered.interface) ?? 0);
  }
}

export type BindVerdict = { readonly ok: true } | { readonly ok: false; readonly text: string };

/**
 * `shown`: the global of that name as this connection was shown it, if it was.
 * The refusals are libwayland's own words (wayland-server.c, registry_bind), so that
 * the client prints what it would print without a filter.
 */
export function judgeBind(shown: Omit<Global, "name"> | undefined, bind: Bind): BindVerdict {
  const { name, interface: wanted, version } = bind;
  if (shown === undefined) return { ok: false, text: `invalid global ${wanted} (${name})` };
  if (shown.interface !== wanted)
    return {
      ok: false,
      text: `invalid interface for global ${name}: have ${wanted}, wanted ${shown.interface}`,
    };
  const prefix = `invalid version for global ${wanted} (${name}):`;
  if (version === 0) return { ok: false, text: `${prefix} 0 is not a valid version` };
  if (version > shown.version) return { ok: false, text: `${prefix} have ${shown.version}, wanted ${version}` };
  return { ok: true };
}
