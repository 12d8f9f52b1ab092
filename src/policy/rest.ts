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
import { normalisePath, PathGlob } from "./rest-path.ts";
import type { RestPolicy, RestRule } from "./rest-schema.ts";
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

/** WebSocket's opening request has an identity; what follows is one conversation with no further requests. */
export const DEFAULT_UPGRADE: readonly string[] = ["websocket"];

export type RestLinkDecision =
  | { readonly ok: true; readonly access: RestAccess; readonly timeouts: NonNullable<RestPolicy["timeouts"]> }
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
