/**
 * The policies of a bus's XML configuration: dbus-daemon(1), "CONFIGURATION FILE".
 *
 * Strict XML: what is not well formed is an error with its line. Entities of the document's
 * own are not expanded (a bus's files have none), so a file can't grow while it is read.
 */
import { parser } from "sax";

/** Files of a bus are a few KiB; the whole of Debian's are below 100. */
export const BUSCONFIG_MAX = 1024 * 1024;
const RULES_MAX = 10_000;

export interface BusRule {
  readonly allow: boolean;
  /** own, own_prefix, user, group, send_*, receive_*, eavesdrop and so on, as written. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly file: string;
  readonly line: number;
}
/** For whom: exactly one of these, "default" and "mandatory" for `context`. */
export type PolicyScope =
  | { readonly kind: "default" | "mandatory" }
  | { readonly kind: "user" | "group"; readonly name: string }
  | { readonly kind: "at_console" };
export interface BusPolicy {
  readonly scope: PolicyScope;
  readonly rules: readonly BusRule[];
}
/** A policy of this file, or a place where others come in. In the order of the file: it matters. */
export type BusConfigPart =
  | { readonly kind: "policy"; readonly policy: BusPolicy }
  | { readonly kind: "include" | "includedir"; readonly path: string };

export type ParsedBusConfig =
  | { readonly ok: true; readonly parts: readonly BusConfigPart[] }
  /** `file:line: what is wrong` */
  | { readonly ok: false; readonly error: string };

export function parseBusConfig(text: string, file: string): ParsedBusConfig {
  const failed = (line: number, why: string): ParsedBusConfig => ({ ok: false, error: `${file}:${line}: ${why}` });
  if (text.length > BUSCONFIG_MAX) return failed(1, `larger than ${BUSCONFIG_MAX} bytes`);
  const sax = parser(true, { trim: true });
  const parts: BusConfigPart[] = [];
  const path: string[] = [];
  let rules: BusRule[] = [];
  let scope: PolicyScope | undefined;
  let include = "";
  let count = 0;
  let wrong: ParsedBusConfig | undefined;
  const fail = (why: string): void => {
    wrong ??= failed(sax.line + 1, why);
  };
  sax.onerror = (error) => {
    fail(error.message.split("\n")[0]!);
    // Otherwise every later write throws this one.
    sax.error = null;
  };
  sax.onopentag = ({ name, attributes }) => {
    if (path.length === 0 && name !== "busconfig") fail(`<${name}> where <busconfig> is expected`);
    if (path.length === 1 && name === "policy") {
      scope = scopeOf(attributes);
      if (scope === undefined) fail("a <policy> needs one of context, user, group, at_console");
      rules = [];
    }
    if (path.length === 2 && path[1] === "policy") {
      if (name !== "allow" && name !== "deny") fail(`<${name}> in a <policy>`);
      if (++count > RULES_MAX) fail(`more than ${RULES_MAX} rules`);
      else rules.push({ allow: name === "allow", attributes, file, line: sax.line + 1 });
    }
    path.push(name);
    include = "";
  };
  sax.ontext = (value) => {
    include += value;
  };
  sax.onclosetag = (name) => {
    path.pop();
    if (path.length !== 1) return;
    if (name === "policy" && scope !== undefined) parts.push({ kind: "policy", policy: { scope, rules } });
    if (name === "include" || name === "includedir") parts.push({ kind: name, path: include });
  };
  sax.write(text).close();
  return wrong ?? { ok: true, parts };
}

function scopeOf(attributes: Readonly<Record<string, string>>): PolicyScope | undefined {
  const { context, user, group, at_console } = attributes;
  if ([context, user, group, at_console].filter((a) => a !== undefined).length !== 1) return undefined;
  if (user !== undefined) return { kind: "user", name: user };
  if (group !== undefined) return { kind: "group", name: group };
  if (at_console !== undefined) return { kind: "at_console" };
  return context === "default" || context === "mandatory" ? { kind: context } : undefined;
}
