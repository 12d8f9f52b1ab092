/**
 * The first decision for every link of every type: is its role listed, and is it for
 * this consumer? A service with a policy refuses every role that it does not list;
 * "any" is the name of the role that links have when none was given, not a wildcard.
 */
import type { Link, LinkType } from "../graph/link.ts";
import type { ServicePolicy } from "./schema.ts";

/** The policy of a service of type `T`. */
export type PolicyOf<T extends LinkType> = Extract<ServicePolicy, { type: T }>;
/** One role's entry in it. */
export type RoleEntry<T extends LinkType> = PolicyOf<T>["roles"] extends ReadonlyMap<string, infer E> ? E : never;

export type RoleDecision<T extends LinkType> =
  | { readonly ok: true; readonly service: PolicyOf<T>; readonly role: RoleEntry<T>; readonly rule: string }
  /** `reason`: a sentence for `status`. `rule`: what decided, for the audit and `explain`. */
  | { readonly ok: false; readonly reason: string; readonly rule: string };

/** Names the place in the policy; the file's own words, so that a person can search for them. */
export function roleRule(service: string, role: string): string {
  return `services[${JSON.stringify(service)}].roles[${JSON.stringify(role)}]`;
}

/** `type` is the mediator's own: a policy of another type under this service's name refuses, it is never ignored. */
export function roleOf<T extends LinkType>(
  policy: ServicePolicy,
  link: Pick<Link, "name" | "role" | "consumer">,
  type: T,
): RoleDecision<T> {
  const service = JSON.stringify(link.name);
  if (policy.type !== type) {
    const rule = `services[${service}].type`;
    return {
      ok: false,
      rule,
      reason: `Policy has service ${service} as type "${policy.type}", the link is of type "${type}"`,
    };
  }
  const entry = policy.roles.get(link.role);
  if (entry === undefined) {
    const rule = `services[${service}].roles`;
    return { ok: false, rule, reason: `Policy for service ${service} does not list role ${JSON.stringify(link.role)}` };
  }
  const rule = roleRule(link.name, link.role);
  if (entry.consumers !== undefined && !entry.consumers.includes(link.consumer)) {
    const who = `role ${JSON.stringify(link.role)} of service ${service}`;
    return {
      ok: false,
      rule: `${rule}.consumers`,
      reason: `Policy keeps ${who} from consumer ${JSON.stringify(link.consumer)}`,
    };
  }
  return { ok: true, service: policy as PolicyOf<T>, role: entry as RoleEntry<T>, rule };
}
