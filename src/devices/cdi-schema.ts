/**
 * One file of the Container Device Interface (SPEC.md 1.1.0 of that project), as text in
 * JSON. Loading fails on an unknown field, on an unknown version, and on a version that
 * is older than a field in use; so it is here. Pure.
 */
import * as v from "valibot";
import { closedObject, namedEntries } from "../json/closed.ts";
import { findingOf, renderFinding } from "../json/finding.ts";
import { strictParse } from "../json/strict-parse.ts";

/** Released versions, oldest first. */
const VERSIONS = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"] as const;
type Version = (typeof VERSIONS)[number];
/** Errors told of one file. */
const ERRORS_MAX = 10;
/** Items of one list: the largest generated files (one entry a GPU partition) have some hundred. */
const LIST_MAX = 4096;

const list = <T>(item: v.GenericSchema<unknown, T>) => v.pipe(v.array(item), v.maxLength(LIST_MAX));
const Whole = v.pipe(v.number("a whole number"), v.integer("a whole number"), v.minValue(0, "a whole number from 0"));
const Id = v.pipe(Whole, v.maxValue(0xfffffffe, "an id below 4294967295"));
const Annotations = namedEntries(v.string(), LIST_MAX);

const DeviceNode = closedObject({
  path: v.pipe(v.string(), v.startsWith("/", "an absolute path")),
  hostPath: v.optional(v.string()),
  type: v.optional(v.string()),
  major: v.optional(Whole),
  minor: v.optional(Whole),
  fileMode: v.optional(Whole),
  permissions: v.optional(v.pipe(v.string(), v.regex(/^([rwm]*|none)$/, 'some of "rwm", or "none"'))),
  uid: v.optional(Id),
  gid: v.optional(Id),
});
const Edits = closedObject({
  env: v.optional(list(v.string())),
  deviceNodes: v.optional(list(DeviceNode)),
  netDevices: v.optional(list(closedObject({ hostInterfaceName: v.string(), name: v.string() }))),
  hooks: v.optional(
    list(
      closedObject({
        hookName: v.string(),
        path: v.string(),
        args: v.optional(list(v.string())),
        env: v.optional(list(v.string())),
        timeout: v.optional(v.pipe(Whole, v.minValue(1, "seconds from 1"))),
      }),
    ),
  ),
  mounts: v.optional(
    list(
      closedObject({
        hostPath: v.string(),
        containerPath: v.string(),
        options: v.optional(list(v.string())),
        type: v.optional(v.string()),
      }),
    ),
  ),
  intelRdt: v.optional(
    closedObject({
      closID: v.optional(v.string()),
      l3CacheSchema: v.optional(v.string()),
      memBwSchema: v.optional(v.string()),
      schemata: v.optional(list(v.string())),
      enableMonitoring: v.optional(v.boolean()),
      // Of 0.7.0 to 1.0.0 only.
      enableCMT: v.optional(v.boolean()),
      enableMBM: v.optional(v.boolean()),
    }),
  ),
  additionalGids: v.optional(list(Id)),
});
const NAME = "letters and digits, with . _ - between them, at most 63";
const Spec = closedObject({
  cdiVersion: v.pipe(
    v.string(),
    v.transform((version) => version.replace(/^v/, "")),
    v.picklist(VERSIONS, `a version of ${VERSIONS.join(", ")}`),
  ),
  kind: v.pipe(
    v.string(),
    v.regex(
      /^(?=[^/]{1,253}\/)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/,
      `vendor.com/class: a domain and ${NAME}`,
    ),
  ),
  annotations: v.optional(Annotations),
  devices: v.pipe(
    list(
      closedObject({
        name: v.pipe(v.string(), v.regex(/^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/, NAME)),
        annotations: v.optional(Annotations),
        containerEdits: v.optional(Edits),
      }),
    ),
    v.minLength(1, "at least one device"),
  ),
  containerEdits: v.optional(Edits),
});
export type CdiSpec = v.InferOutput<typeof Spec>;
export type CdiEdits = v.InferOutput<typeof Edits>;
export type CdiDeviceNode = v.InferOutput<typeof DeviceNode>;

export type ParsedCdi =
  | { readonly ok: true; readonly spec: CdiSpec }
  | { readonly ok: false; readonly errors: readonly string[] };

/** Never throws. */
export function parseCdi(text: string, fileName: string): ParsedCdi {
  const json = strictParse(text);
  if (!json.ok) return { ok: false, errors: [renderFinding(fileName, json.finding)] };
  const parsed = v.safeParse(Spec, json.value);
  if (!parsed.success)
    return { ok: false, errors: parsed.issues.slice(0, ERRORS_MAX).map((i) => renderFinding(fileName, findingOf(i))) };
  const spec = parsed.output;
  const problem = versionProblem(spec) ?? nameTwice(spec);
  return problem === undefined ? { ok: true, spec } : { ok: false, errors: [`${fileName}: ${problem}`] };
}

function versionProblem(spec: CdiSpec): string | undefined {
  const older = (version: Version) => VERSIONS.indexOf(spec.cdiVersion) < VERSIONS.indexOf(version);
  const needed = neededVersion(spec);
  if (older(needed.version))
    return `has ${needed.field}, which needs cdiVersion ${needed.version}, and says ${spec.cdiVersion}`;
  const dropped = editsOf(spec).some((e) => e.intelRdt?.enableCMT !== undefined || e.intelRdt?.enableMBM !== undefined);
  return dropped && !older("1.1.0") ? "has enableCMT or enableMBM, which cdiVersion 1.1.0 dropped" : undefined;
}

const editsOf = (spec: CdiSpec): CdiEdits[] =>
  [spec.containerEdits, ...spec.devices.map((d) => d.containerEdits)].filter((e) => e !== undefined);

/** SPEC.md, "Released versions": which field came with which version. */
function neededVersion(spec: CdiSpec): { version: Version; field: string } {
  const edits = editsOf(spec);
  const some = (has: (e: CdiEdits) => boolean) => edits.some(has);
  if (some((e) => (e.netDevices?.length ?? 0) > 0)) return { version: "1.1.0", field: "netDevices" };
  if (some((e) => e.intelRdt?.schemata !== undefined || e.intelRdt?.enableMonitoring === true))
    return { version: "1.1.0", field: "schemata or enableMonitoring" };
  if (some((e) => e.intelRdt !== undefined)) return { version: "0.7.0", field: "intelRdt" };
  if (some((e) => (e.additionalGids?.length ?? 0) > 0)) return { version: "0.7.0", field: "additionalGids" };
  const annotated = [spec, ...spec.devices].some((o) => (o.annotations?.size ?? 0) > 0);
  if (annotated) return { version: "0.6.0", field: "annotations" };
  if (spec.kind.slice(spec.kind.indexOf("/")).includes(".")) return { version: "0.6.0", field: "a dot in the class" };
  if (spec.devices.some((d) => /^\d/.test(d.name)))
    return { version: "0.5.0", field: "a name that begins with a digit" };
  if (some((e) => e.deviceNodes?.some((n) => (n.hostPath ?? "") !== "") ?? false))
    return { version: "0.5.0", field: "hostPath of a device node" };
  if (some((e) => e.mounts?.some((m) => (m.type ?? "") !== "") ?? false))
    return { version: "0.4.0", field: "type of a mount" };
  return { version: "0.3.0", field: "" };
}

function nameTwice(spec: CdiSpec): string | undefined {
  const seen = new Set<string>();
  for (const { name } of spec.devices) {
    if (seen.has(name)) return `has device ${JSON.stringify(name)} twice`;
    seen.add(name);
  }
  return undefined;
}
