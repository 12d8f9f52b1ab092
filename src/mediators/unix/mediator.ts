/** Raw unix links, control half: which of the provider's sockets the role reaches, and how it is introduced. */
import type { Link } from "../../graph/link.ts";
import type { ServicePolicy } from "../../policy/schema.ts";
import { unixAccess } from "../../policy/unix.ts";
import type { Check } from "../mediator.ts";
import { endpointOf, SocketLinkMediator, type SocketLinkServices } from "../socket-link.ts";
import type { UnixConfig } from "./handler.ts";

export function checkUnix(link: Link, policy: ServicePolicy | undefined): Check<UnixConfig> {
  const decision = unixAccess(link, policy);
  if (!decision.ok) return { ok: false, reason: decision.reason };
  const { socket, identity } = decision.access;
  return { ok: true, config: { provider: endpointOf(link, socket), identity } };
}

export const unixMediator = (services: SocketLinkServices): SocketLinkMediator<UnixConfig> =>
  new SocketLinkMediator("unix", checkUnix, services);
