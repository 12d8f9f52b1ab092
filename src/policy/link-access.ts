/**
 * Whether policy lets a link exist, for every type in one call: what the mediators' `check` asks of their
 * own type, for the commands that look at links without a daemon. Pure.
 */
import type { Link } from "../graph/link.ts";
import { rightsOf } from "./dbus.ts";
import { decideDeviceLink } from "./drm.ts";
import { restAccess } from "./rest.ts";
import { roleOf, roleRule } from "./role.ts";
import type { ServicePolicy } from "./schema.ts";
import { unixAccess } from "./unix.ts";
import { waylandAccess } from "./wayland.ts";

export type LinkAccess =
  /** `terms`: plain data that changes when what the link may do changes. */
  | { readonly ok: true; readonly rule: string; readonly terms: unknown }
  | { readonly ok: false; readonly rule: string; readonly reason: string };

/** `policy`: the service's, undefined where no file speaks of it. */
export function linkAccess(link: Link, policy: ServicePolicy | undefined): LinkAccess {
  switch (link.type) {
    case "unix": {
      const decision = unixAccess(link, policy);
      return decision.ok ? { ok: true, rule: decision.access.rule, terms: decision.access } : decision;
    }
    case "rest": {
      const decision = restAccess(link, policy);
      return decision.ok ? { ok: true, rule: decision.access.rule, terms: decision.access } : decision;
    }
    case "wayland": {
      const decision = waylandAccess(link, policy);
      return decision.ok ? { ok: true, rule: decision.table.rule, terms: decision.table } : decision;
    }
    case "dbus":
      return dbusLinkAccess(link, policy);
    case "drm":
    case "input": {
      const decision = decideDeviceLink({ ...link, type: link.type }, policy);
      return decision.ok ? { ok: true, rule: decision.rule, terms: decision.classes } : decision;
    }
  }
}

function dbusLinkAccess(link: Link, policy: ServicePolicy | undefined): LinkAccess {
  const decision = policy === undefined ? undefined : roleOf(policy, link, "dbus");
  if (decision?.ok === false) return decision;
  const rights = rightsOf(link, decision?.role);
  if (!rights.ok) return { ok: false, rule: "interface", reason: rights.reason };
  const rule = decision?.rule ?? `${roleRule(link.name, link.role)}: no policy`;
  return { ok: true, rule, terms: rights.rights };
}
