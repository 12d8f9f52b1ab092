/** D-Bus links, control half: the rights of the link and who its role is on the bus. */
import type { Link } from "../../graph/link.ts";
import { rightsOf } from "../../policy/dbus.ts";
import { type RoleEntry, roleOf } from "../../policy/role.ts";
import type { ServicePolicy } from "../../policy/schema.ts";
import { parseId } from "../../protocol/passwd/passwd.ts";
import type { Check } from "../mediator.ts";
import { endpointOf, SocketLinkMediator, type SocketLinkServices } from "../socket-link.ts";
import { type DbusConfig, MESSAGE_MAX, type RoleIdentity } from "./config.ts";

/** Graph, else policy, else a numeric role, else the role's name in the provider's passwd. */
export function identityFor(link: Pick<Link, "role" | "uid">, entry: RoleEntry<"dbus"> | undefined): RoleIdentity {
  const uid = link.uid ?? entry?.uid ?? parseId(link.role);
  return uid === undefined ? { name: link.role } : { uid, gid: entry?.gid ?? null };
}

/** `learns`: services that learn by command line, whatever their policy says. */
export function checkDbus(
  link: Link,
  policy: ServicePolicy | undefined,
  learns: ReadonlySet<string> = new Set(),
): Check<DbusConfig> {
  let entry: RoleEntry<"dbus"> | undefined;
  if (policy !== undefined) {
    const decision = roleOf(policy, link, "dbus");
    if (!decision.ok) return { ok: false, reason: decision.reason };
    entry = decision.role;
  }
  const result = rightsOf(link, entry);
  if (!result.ok) return { ok: false, reason: result.reason };
  const rights = learns.has(link.name) ? { ...result.rights, learn: true } : result.rights;
  return {
    ok: true,
    config: {
      provider: endpointOf(link),
      identity: identityFor(link, entry),
      rights,
      maxMessage: entry?.max_message ?? MESSAGE_MAX,
    },
  };
}

export const dbusMediator = (
  services: SocketLinkServices,
  learns: ReadonlySet<string> = new Set(),
): SocketLinkMediator<DbusConfig> =>
  new SocketLinkMediator("dbus", (link, policy) => checkDbus(link, policy, learns), services);
