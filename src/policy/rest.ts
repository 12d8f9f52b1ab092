/**
 * Who may ask what of a REST service. Two decisions:
 *
 * - of a link, before it is made (`restAccess`): is the role listed, and what may it do;
 * - of a request, on each one (`RestRules.judge`): does a rule take its method and path.
 *
 * A role without `allow` may do everything, and its requests keep the path they came with.
 * A role with `allow` gets the path normalised, for the decision and for the provider alike.
 */
import type { Link } from "../graph/link.ts";
import { METHODS } from "../protocol/http/methods.ts";
import { Target } from "../protocol/http/target.ts";
import { normalisePath, PathGlob } from "./rest-path.ts";
import type { RestPolicy, RestRule } from "./rest-schema.ts";
import { DEFAULT_UPGRADE } from "./rest-upgrade.ts";
import { roleOf, roleRule } from "./role.ts";
import type { ServicePolicy } from "./schema.ts";

/** What a role may do on a service: plain data, as it crosses to the data plane. */
export interface RestAccess {
  /** undefined: everything. */
  readonly allow: readonly RestRule[] | undefined;
  /** Protocols of Upgrade, in small letters. */
  readonly upgrade: readonly string[];
  /** Names the place in the policy, for the audit. */
  readonly rule: string;
}

/** What policy says of the service's time limits, in seconds. */
export type RestTimeoutsPolicy = NonNullable<RestPolicy["timeouts"]>;

export type RestLinkDecision =
  | { readonly ok: true; readonly access: RestAccess; readonly timeouts: RestTimeoutsPolicy }
  | { readonly ok: false; readonly reason: string; readonly rule: string };

/** `policy` undefined: no file speaks of the service, so every role may do everything. */
export function restAccess(
  link: Pick<Link, "name" | "role" | "consumer">,
  policy: ServicePolicy | undefined,
): RestLinkDecision {
  if (policy === undefined) {
    const rule = `${roleRule(link.name, link.role)}: no policy`;
    return { ok: true, access: { allow: undefined, upgrade: DEFAULT_UPGRADE, rule }, timeouts: {} };
  }
  const decision = roleOf(policy, link, "rest");
  if (!decision.ok) return decision;
  const { role, rule, service } = decision;
  return {
    ok: true,
    access: { allow: role.allow, upgrade: role.upgrade ?? DEFAULT_UPGRADE, rule },
    timeouts: service.timeouts ?? {},
  };
}

export type RestDecision =
  /** `path`: what the provider gets. */
  | { readonly kind: "allow"; readonly path: string; readonly rule: string }
  /** `status` 403: no rule takes it. 400: its path can't be judged. */
  | { readonly kind: "deny"; readonly status: 403 | 400; readonly rule: string; readonly detail: string };

interface CompiledRule {
  readonly methods: ReadonlySet<string> | undefined;
  readonly globs: readonly PathGlob[] | undefined;
  readonly rule: string;
}

/** The rules of one role, ready for requests. */
export class RestRules {
  /** Without rules nothing needs to be judged: everything is allowed as it is. */
  readonly unrestricted: boolean;
  private readonly rules: readonly CompiledRule[];
  private readonly access: RestAccess;

  constructor(access: RestAccess) {
    this.access = access;
    this.unrestricted = access.allow === undefined;
    this.rules = (access.allow ?? []).map(({ methods, paths }, i) => ({
      methods: methods && new Set(methods),
      globs: paths?.map((path) => new PathGlob(path)),
      rule: `${access.rule}.allow[${i}]`,
    }));
  }

  /** `path`: without the query, with well-formed escapes; "*" for OPTIONS of the whole server, which only a rule without paths takes. */
  judge(method: string, path: string): RestDecision {
    if (this.unrestricted) return { kind: "allow", path, rule: this.access.rule };
    const normal = path === "*" ? ({ ok: true, path } as const) : normalisePath(path);
    const where = `${this.access.rule}.allow`;
    if (!normal.ok) return { kind: "deny", status: 400, rule: where, detail: normal.detail };
    const segments = normal.path.slice(1).split("/");
    for (const { methods, globs, rule } of this.rules) {
      if (methods !== undefined && !methods.has(method)) continue;
      if (globs !== undefined && (path === "*" || !globs.some((glob) => glob.matches(segments)))) continue;
      return { kind: "allow", path: normal.path, rule };
    }
    return { kind: "deny", status: 403, rule: where, detail: "The role may not do this." };
  }
}

export interface RestExplanation {
  readonly allowed: boolean;
  /** What decided. */
  readonly rule: string;
  readonly reason: string;
  /** What the provider would get for the path; null where nothing reaches it. */
  readonly path: string | null;
}

/** The decision for one hypothetical request, from the link on: for `explain`. `target`: a path, perhaps with a query. */
export function explainRest(
  link: Pick<Link, "name" | "role" | "consumer">,
  policy: ServicePolicy | undefined,
  method: string,
  target: string,
): RestExplanation {
  const decision = restAccess(link, policy);
  if (!decision.ok) return { allowed: false, rule: decision.rule, reason: decision.reason, path: null };
  if (!(METHODS as readonly string[]).includes(method))
    return { allowed: false, rule: "http.unknown-method", reason: `The method ${method} is not served`, path: null };
  const bytes = new TextEncoder().encode(target);
  const parsed = new Target();
  if (!parsed.parse(bytes, 0, bytes.length, method === "OPTIONS"))
    return {
      allowed: false,
      rule: "http.target",
      reason: `The target ${JSON.stringify(target)} is malformed`,
      path: null,
    };
  const path = target.slice(parsed.pathStart, parsed.pathEnd) || "/";
  const judged = new RestRules(decision.access).judge(method, path);
  if (judged.kind === "deny") return { allowed: false, rule: judged.rule, reason: judged.detail, path: null };
  const reason = judged.path === path ? "Allowed" : `Allowed, as ${judged.path}`;
  return { allowed: true, rule: judged.rule, reason, path: judged.path };
}
