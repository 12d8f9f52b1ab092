/** REST links, control half: what the role may ask, for how long it may wait, and whether its requests are logged. */
import type { Link } from "../../graph/link.ts";
import { type RestTimeoutsPolicy, restAccess } from "../../policy/rest.ts";
import type { ServicePolicy } from "../../policy/schema.ts";
import { identityFields } from "../../protocol/http/identity.ts";
import type { Check } from "../mediator.ts";
import { endpointOf, SocketLinkMediator, type SocketLinkServices } from "../socket-link.ts";
import { DEFAULT_TIMEOUTS, type RestConfig, type RestTimeouts } from "./config.ts";

/** Both identity lines. Servers take 8 KiB of a head as a rule, and the consumer's own fields need most of it. */
const IDENTITY_BYTES_MAX = 2048;
const MS = 1000;

function timeoutsOf(policy: RestTimeoutsPolicy): RestTimeouts {
  const timeout = (name: keyof RestTimeouts) => {
    const seconds = policy[name];
    return seconds === undefined ? DEFAULT_TIMEOUTS[name] : seconds * MS;
  };
  return { head: timeout("head"), idle: timeout("idle"), answer: timeout("answer"), body: timeout("body") };
}

/** `accessLog`: a record of each request is wanted. */
export function checkRest(link: Link, policy: ServicePolicy | undefined, accessLog = false): Check<RestConfig> {
  const decision = restAccess(link, policy);
  if (!decision.ok) return { ok: false, reason: decision.reason };
  const identity = identityFields(link.consumer, link.role).length;
  if (identity > IDENTITY_BYTES_MAX) {
    const reason = `Cannot state the identity of consumer and role in each request: ${identity} bytes, more than ${IDENTITY_BYTES_MAX}`;
    return { ok: false, reason };
  }
  const { access, timeouts } = decision;
  return { ok: true, config: { provider: endpointOf(link), access, timeouts: timeoutsOf(timeouts), accessLog } };
}

export const restMediator = (services: SocketLinkServices, accessLog: boolean): SocketLinkMediator<RestConfig> =>
  new SocketLinkMediator("rest", (link, policy) => checkRest(link, policy, accessLog), services);
