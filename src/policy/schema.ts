/**
 * The policy files (`xconnect-policy@1`): parsing one of them.
 *
 * A policy file grants rights, so it is read strictly: an unknown key, a key given
 * twice, an array for an object or an unknown type refuses the whole file, because each
 * of them may be the typo that would have narrowed something.
 * Merging several files: `merge.ts`. Which role gets what: `role.ts` and `<type>.ts`.
 */
import * as v from "valibot";
import { closedObject, namedEntries } from "../json/closed.ts";
import { type Finding, findingOf, renderFinding } from "../json/finding.ts";
import { strictParse } from "../json/strict-parse.ts";
import { DbusPolicySchema } from "./dbus-schema.ts";
import { DrmPolicySchema } from "./drm-schema.ts";
import { InputPolicySchema } from "./input-schema.ts";
import { RestPolicySchema } from "./rest-schema.ts";
import { UnixPolicySchema } from "./unix-schema.ts";
import { WaylandPolicySchema } from "./wayland-schema.ts";

export const POLICY_SPEC = "xconnect-policy@1";
/** Services in one file: twice what a 10,000-entry graph with a provider a link would need is not a policy any more. */
export const MAX_SERVICES = 10_000;
/** Errors listed for one file; the rest are counted. */
export const MAX_ERRORS = 50;

const ServicePolicySchema = v.variant("type", [
  UnixPolicySchema,
  RestPolicySchema,
  DbusPolicySchema,
  DrmPolicySchema,
  WaylandPolicySchema,
  InputPolicySchema,
]);
/** What policy says of one service, by its `type`. `roles` is a Map from the role's name. */
export type ServicePolicy = v.InferOutput<typeof ServicePolicySchema>;

const PolicyFileSchema = closedObject({
  "#spec": v.literal(POLICY_SPEC, JSON.stringify(POLICY_SPEC)),
  services: namedEntries(ServicePolicySchema, MAX_SERVICES),
});

export type ParsedPolicyFile =
  | { readonly ok: true; readonly services: ReadonlyMap<string, ServicePolicy> }
  | {
      readonly ok: false;
      /** `file: /json/pointer: what is wrong, what was expected`. At least one. */
      readonly errors: readonly string[];
      /** The services that the broken file meant to speak of, where that much can be read. */
      readonly names: readonly string[] | undefined;
    };

/** Parses the text of one policy file. Never throws. */
export function parsePolicyFile(text: string, fileName: string): ParsedPolicyFile {
  const json = strictParse(text);
  if (!json.ok) return { ok: false, errors: [renderFinding(fileName, json.finding)], names: undefined };
  const parsed = v.safeParse(PolicyFileSchema, json.value);
  if (parsed.success) return { ok: true, services: parsed.output.services };
  return { ok: false, errors: listed(fileName, parsed.issues.map(findingOf)), names: namesIn(json.value) };
}

function listed(fileName: string, findings: readonly Finding[]): string[] {
  const errors = findings.slice(0, MAX_ERRORS).map((finding) => renderFinding(fileName, finding));
  if (findings.length > MAX_ERRORS) errors.push(`${fileName}: and ${findings.length - MAX_ERRORS} more`);
  return errors;
}

function namesIn(value: unknown): string[] | undefined {
  const services = (value as { services?: unknown } | null)?.services;
  const readable = typeof services === "object" && services !== null && !Array.isArray(services);
  return readable ? Object.keys(services) : undefined;
}

/** All policy files together. */
export interface Policy {
  readonly services: ReadonlyMap<string, ServicePolicy>;
  /** Services of a broken file without a last good version: refused, name -> reason. */
  readonly sealed: ReadonlyMap<string, string>;
  /** Set while a broken file's services can't even be named: refuses every service without a policy of its own. */
  readonly sealedRest: string | undefined;
  /** For `status`: why a file is not in force as written. */
  readonly errors: readonly string[];
}

/** No policy files at all: every service has its type's defaults. */
export const NO_POLICY: Policy = { services: new Map(), sealed: new Map(), sealedRest: undefined, errors: [] };
