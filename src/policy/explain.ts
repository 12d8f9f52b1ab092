/**
 * The decision on one hypothetical request of one hypothetical link, with the rule that made it.
 * Pure, and made of the same functions that decide for real sessions: an explanation that
 * thought for itself would be a second policy.
 */
import type { Link } from "../graph/link.ts";
import { explainDbus } from "./explain-dbus.ts";
import { linkAccess } from "./link-access.ts";
import { explainRest as explainRequest, RestRules, restAccess } from "./rest.ts";
import type { ServicePolicy } from "./schema.ts";
import { GlobalRules, waylandAccess } from "./wayland.ts";

export interface Explanation {
  readonly allowed: boolean;
  /** The place in the policy or in the code's own rules that decided. */
  readonly rule: string;
  /** A sentence for a person. */
  readonly detail: string;
}
/** The words of the request are wrong: not an answer. `expected` says what they may be. */
export interface NotARequest {
  readonly expected: string;
}

/** `words`: the request in the type's own words; none asks for the link itself. */
export function explain(
  link: Link,
  policy: ServicePolicy | undefined,
  words: readonly string[],
): Explanation | NotARequest {
  const access = linkAccess(link, policy);
  if (!access.ok) return { allowed: false, rule: access.rule, detail: access.reason };
  if (words.length === 0) return { allowed: true, rule: access.rule, detail: "The link may exist" };
  switch (link.type) {
    case "rest":
      return explainRest(link, policy, words);
    case "dbus":
      return explainDbus(link, policy, words);
    case "wayland":
      return explainWayland(link, policy, words);
    default:
      return { expected: `no request: what passes over a link of type ${link.type} is not judged, only the link` };
  }
}

/** `METHOD PATH`; a query is not judged and is cut off. */
function explainRest(
  link: Link,
  policy: ServicePolicy | undefined,
  words: readonly string[],
): Explanation | NotARequest {
  const [method, target, ...more] = words;
  const wellFormed = target === "*" || (target !== undefined && /^\/[\x21-\x7e]*$/.test(target));
  if (method === undefined || !wellFormed || more.length > 0)
    return { expected: "METHOD PATH, such as GET /v1/status" };
  const decision = restAccess(link, policy);
  if (!decision.ok) return { allowed: false, rule: decision.rule, detail: decision.reason };
  const { rule, reason } = explainRequest(link, policy, method, target);
  // What is refused whatever the role may do.
  if (rule.startsWith("http.")) return { allowed: false, rule, detail: reason };
  const judged = new RestRules(decision.access).judge(method, target.split("?")[0] ?? target);
  if (judged.kind === "deny")
    return { allowed: false, rule: judged.rule, detail: `Answered with ${judged.status}: ${judged.detail}` };
  return { allowed: true, rule: judged.rule, detail: `Forwarded as ${method} ${judged.path}` };
}

/** `INTERFACE [VERSION]`, as a compositor that offers it. */
function explainWayland(
  link: Link,
  policy: ServicePolicy | undefined,
  words: readonly string[],
): Explanation | NotARequest {
  const [name, wanted, ...more] = words;
  const version = Number(wanted ?? "1");
  if (name === undefined || more.length > 0 || !Number.isInteger(version) || version < 1)
    return { expected: "GLOBAL [VERSION], such as wl_seat 7" };
  const decision = waylandAccess(link, policy);
  if (!decision.ok) return { allowed: false, rule: decision.rule, detail: decision.reason };
  const rules = new GlobalRules(decision.table);
  const shown = rules.shownVersion({ interface: name, version: 0xffff_ffff });
  if (shown === 0) return { allowed: false, rule: rules.rule, detail: `${name} is hidden` };
  const allowed = version <= shown;
  return { allowed, rule: rules.rule, detail: `${name} is shown up to version ${shown}` };
}
