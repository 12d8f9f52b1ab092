/**
 * Who may use a raw unix service. One decision, on the link: raw bytes have nothing to
 * judge afterwards. It also says which socket of the provider the role reaches (a
 * provider tells roles apart by the socket they come in on) and how the provider learns who is there.
 */
import type { Link } from "../graph/link.ts";
import { roleOf, roleRule } from "./role.ts";
import type { ServicePolicy } from "./schema.ts";
import type { UnixPolicy } from "./unix-schema.ts";

export interface UnixAccess {
  readonly identity: UnixPolicy["identity"];
  /** Path in the provider. */
  readonly socket: string;
  /** Names the place in the policy, for the audit and `explain`. */
  readonly rule: string;
}

export type UnixLinkDecision =
  | { readonly ok: true; readonly access: UnixAccess }
  | { readonly ok: false; readonly reason: string; readonly rule: string };

/** `policy` undefined: no file speaks of the service, so every role reaches the graph's socket, unannounced. */
export function unixAccess(
  link: Pick<Link, "name" | "role" | "consumer" | "socket">,
  policy: ServicePolicy | undefined,
): UnixLinkDecision {
  if (policy === undefined) {
    const rule = `${roleRule(link.name, link.role)}: no policy`;
    return { ok: true, access: { identity: "none", socket: link.socket, rule } };
  }
  const decision = roleOf(policy, link, "unix");
  if (!decision.ok) return decision;
  const { role, rule, service } = decision;
  return { ok: true, access: { identity: service.identity, socket: role.socket ?? link.socket, rule } };
}
