/**
 * What containers declare, as Pantavisor's own files have it (docs/reference/pantavisor-xconnect.md and
 * parser/parser_system1.c of Pantavisor): `services.json` of a provider, `run.json` of a consumer, and
 * `args.json`, the template's input from which `run.json` is made.
 *
 * Pantavisor reads these files leniently: what is wrong is left out in silence. Here it
 * becomes an error where a link would be missing or wrong, and a warning where a key is unknown.
 */
import * as v from "valibot";
import { type Finding, findingOf, pointerOf, shown } from "../json/finding.ts";
import { LINK_TYPES, type LinkType } from "./link.ts";
import { isPathText, isSocketPath, normaliseTarget } from "./target.ts";

export const SERVICES_SPEC = "service-manifest-xconnect@1";
export const RUN_SPEC = "service-manifest-run@1";
/** Services that one manifest declares or requires. Real ones have a handful. */
const MAX_ENTRIES = 1000;

/** A service that a container offers. */
export interface ServiceExport {
  readonly name: string;
  readonly type: LinkType;
  readonly socket: string;
}
/** A service that a container wants. What is not given is null, as in the graph. */
export interface Requirement {
  readonly name: string;
  readonly role: string | null;
  readonly interface: string | null;
  readonly target: string | null;
  readonly optional: boolean;
}
export interface ManifestRead<T> {
  readonly value: T;
  readonly errors: readonly Finding[];
  readonly warnings: readonly Finding[];
}

const NAME = "a name of at least one character";
const Name = v.pipe(
  v.string(NAME),
  v.check((text) => text !== "" && !text.includes("\0"), NAME),
);
const Type = v.picklist(LINK_TYPES, `one of ${LINK_TYPES.join(", ")}`);

const ExportSchema = v.object({ name: Name, type: Type, socket: v.string("the path of a socket or device") });
/** A well-known name that a container owns on the hosted system bus. Makes no link: policy of that bus. */
const OwnsSchema = v.object({
  type: v.literal("dbus"),
  bus: Name,
  owns: Name,
  role: Name,
  allow: v.optional(v.array(Name)),
});
const RequirementSchema = v.object({
  name: Name,
  type: v.optional(Type),
  role: v.nullish(v.string()),
  interface: v.nullish(v.string()),
  target: v.nullish(v.string()),
});

/** Collects findings under a pointer prefix. */
class Report {
  readonly errors: Finding[] = [];
  readonly warnings: Finding[] = [];

  issues(prefix: string, issues: readonly v.BaseIssue<unknown>[]): void {
    for (const issue of issues) {
      const finding = findingOf(issue);
      this.errors.push({ ...finding, pointer: prefix + finding.pointer });
    }
  }
  error(pointer: string, problem: string, expected: string): void {
    this.errors.push({ pointer, problem, expected });
  }
  unknownKeys(prefix: string, value: unknown, schema: { readonly entries: object }): void {
    const known = Object.keys(schema.entries);
    for (const key of Object.keys(value as object))
      if (!known.includes(key))
        this.warnings.push({
          pointer: prefix + pointerOf([key]),
          problem: "unknown key",
          expected: `one of ${known.join(", ")}`,
        });
  }
  of<T>(value: T): ManifestRead<T> {
    return { value, errors: this.errors, warnings: this.warnings };
  }
}

/** `services.json`: an object with `#spec` and `services`, or the older form, the bare array. */
export function readServices(value: unknown): ManifestRead<readonly ServiceExport[]> {
  const report = new Report();
  const bare = Array.isArray(value);
  if (!bare) spec(report, value, SERVICES_SPEC);
  const list = bare ? value : (value as { services?: unknown } | null)?.services;
  const prefix = bare ? "" : "/services";
  const exports: ServiceExport[] = [];
  for (const [index, entry] of entriesOf(report, prefix, list).entries()) {
    const at = `${prefix}/${index}`;
    if (typeof entry === "object" && entry !== null && "owns" in entry) {
      const owns = v.safeParse(OwnsSchema, entry);
      if (owns.success) report.unknownKeys(at, entry, OwnsSchema);
      else report.issues(at, owns.issues);
      continue;
    }
    const parsed = v.safeParse(ExportSchema, entry);
    if (!parsed.success) {
      report.issues(at, parsed.issues);
      continue;
    }
    report.unknownKeys(at, entry, ExportSchema);
    if (rightSocket(report, at, parsed.output)) exports.push(parsed.output);
  }
  return report.of(exports);
}

function rightSocket(report: Report, at: string, { type, socket }: ServiceExport): boolean {
  const device = type === "drm" || type === "input";
  const right = device ? isPathText(socket) : isSocketPath(socket);
  if (!right)
    report.error(`${at}/socket`, `is ${shown(socket)}`, device ? "a path or device selector" : "an absolute path");
  return right;
}

export interface RunManifest {
  readonly name: string | undefined;
  readonly requirements: readonly Requirement[];
}

/** `run.json`: the container's name and `services.required` / `services.optional`. The rest of it is not ours to judge. */
export function readRun(value: unknown): ManifestRead<RunManifest> {
  const report = new Report();
  spec(report, value, RUN_SPEC);
  const { name, services } = (value ?? {}) as { name?: unknown; services?: unknown };
  const parsedName = v.safeParse(Name, name);
  if (!parsedName.success) report.issues("/name", parsedName.issues);
  const requirements: Requirement[] = [];
  if (services !== undefined && (typeof services !== "object" || services === null || Array.isArray(services)))
    report.error("/services", `is ${shown(services)}`, 'an object with "required" and "optional"');
  else
    for (const kind of ["required", "optional"] as const) {
      const list = (services as Record<string, unknown> | undefined)?.[kind];
      if (list !== undefined)
        requirements.push(...readRequirements(report, `/services/${kind}`, list, kind === "optional"));
    }
  sameTargets(report, requirements);
  return report.of({ name: parsedName.success ? parsedName.output : undefined, requirements });
}

/** `args.json`: `PV_SERVICES_REQUIRED` and `PV_SERVICES_OPTIONAL`; its other variables are the template's. */
export function readArgs(value: unknown): ManifestRead<readonly Requirement[]> {
  const report = new Report();
  const requirements: Requirement[] = [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    report.error("", `is ${shown(value)}`, "an object");
    return report.of(requirements);
  }
  for (const [key, optional] of [
    ["PV_SERVICES_REQUIRED", false],
    ["PV_SERVICES_OPTIONAL", true],
  ] as const) {
    const list = (value as Record<string, unknown>)[key];
    if (list !== undefined) requirements.push(...readRequirements(report, `/${key}`, list, optional));
  }
  sameTargets(report, requirements);
  return report.of(requirements);
}

function readRequirements(report: Report, prefix: string, list: unknown, optional: boolean): Requirement[] {
  const requirements: Requirement[] = [];
  for (const [index, entry] of entriesOf(report, prefix, list).entries()) {
    const at = `${prefix}/${index}`;
    const parsed = v.safeParse(RequirementSchema, entry);
    if (!parsed.success) {
      report.issues(at, parsed.issues);
      continue;
    }
    report.unknownKeys(at, entry, RequirementSchema);
    const { name, role = null, interface: iface = null, target = null } = parsed.output;
    const place = target ? normaliseTarget(target) : undefined;
    if (place?.ok === false) report.error(`${at}/target`, `is ${shown(target)}`, place.expected);
    else requirements.push({ name, role, interface: iface, target, optional });
  }
  return requirements;
}

/** Two things can't stand in one place. Only what is written is compared: a default depends on the provider. */
function sameTargets(report: Report, requirements: readonly Requirement[]): void {
  const seen = new Map<string, string>();
  for (const { name, target } of requirements) {
    const place = target ? normaliseTarget(target) : undefined;
    if (place?.ok !== true) continue;
    const before = seen.get(place.path);
    if (before !== undefined)
      report.error(
        "",
        `has ${shown(before)} and ${shown(name)} both at ${place.path}`,
        "a target of its own for each requirement",
      );
    seen.set(place.path, name);
  }
}

function entriesOf(report: Report, prefix: string, list: unknown): unknown[] {
  if (!Array.isArray(list)) {
    report.error(prefix, list === undefined ? "is missing" : `is ${shown(list)}`, "an array of objects");
    return [];
  }
  if (list.length > MAX_ENTRIES) report.error(prefix, `has ${list.length} entries`, `at most ${MAX_ENTRIES}`);
  return list.slice(0, MAX_ENTRIES);
}

function spec(report: Report, value: unknown, expected: string): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    report.error("", `is ${shown(value)}`, "an object");
    return;
  }
  const found = (value as Record<string, unknown>)["#spec"];
  if (found !== expected)
    report.error("/#spec", found === undefined ? "is missing" : `is ${shown(found)}`, JSON.stringify(expected));
}
