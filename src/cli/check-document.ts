/** What kind of document a file is, and what is wrong with it. No file is touched here. */
import { basename } from "node:path";
import type { Link } from "../graph/link.ts";
import { type ManifestRead, RUN_SPEC, readArgs, readRun, readServices, SERVICES_SPEC } from "../graph/manifests.ts";
import { resolveGraph } from "../graph/resolve.ts";
import { revisionOfState, STATE_SPEC } from "../graph/revision.ts";
import { readGraph } from "../graph/schema.ts";
import { type Finding, renderFinding } from "../json/finding.ts";
import { strictParse } from "../json/strict-parse.ts";
import type { PolicyFile } from "../policy/merge.ts";
import { POLICY_SPEC, parsePolicyFile } from "../policy/schema.ts";

export const DOCUMENT_KINDS = ["graph", "services", "run", "args", "state", "policy"] as const;
export type DocumentKind = (typeof DOCUMENT_KINDS)[number];

export interface Checked {
  /** undefined: none of ours. */
  readonly kind: DocumentKind | undefined;
  /** `file: /json/pointer: what is wrong, what was expected`. */
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  /** Of a graph: for what is checked across files. */
  readonly links?: readonly Link[];
  readonly policy?: PolicyFile;
}

const SPECS: ReadonlyMap<unknown, DocumentKind> = new Map([
  [POLICY_SPEC, "policy"],
  [SERVICES_SPEC, "services"],
  [RUN_SPEC, "run"],
  [STATE_SPEC, "state"],
]);
/** File names as Pantavisor and its recipes have them: `services.json`, `NAME.services.json`. */
const NAMES: readonly (readonly [RegExp, DocumentKind])[] = [
  [/(^|\.)services\.json$/, "services"],
  [/(^|\.)run\.json$/, "run"],
  [/(^|\.)args\.json$/, "args"],
  [/(^|[.-])graph\.json$/, "graph"],
  [/(^|[.-])policy\.json$/, "policy"],
  [/(^|\.)state\.json$/, "state"],
];

/** By what it says of itself, else by its name, else by its shape. */
function kindOf(file: string, value: unknown): DocumentKind | undefined {
  const spec = typeof value === "object" && value !== null ? (value as Record<string, unknown>)["#spec"] : undefined;
  const bySpec = SPECS.get(spec);
  if (bySpec !== undefined) return bySpec;
  const byName = kindByName(file);
  if (byName !== undefined) return byName;
  if (Array.isArray(value)) return "graph";
  if (typeof spec === "string" && spec.startsWith("xconnect-policy")) return "policy";
  return undefined;
}

function kindByName(file: string): DocumentKind | undefined {
  return NAMES.find(([pattern]) => pattern.test(basename(file)))?.[1];
}

/** Checks the text of one file. Never throws. */
export function checkDocument(file: string, text: string): Checked {
  const parsed = strictParse(text);
  if (!parsed.ok) {
    const errors = [renderFinding(file, parsed.finding)];
    // A policy that can't be read still takes part in the merge: it would seal what it speaks of.
    const policy = { fileName: file, parsed: { ok: false, errors, names: undefined } } as const;
    const kind = kindByName(file);
    return kind === "policy" ? { kind, errors, warnings: [], policy } : { kind, errors, warnings: [] };
  }
  const { value } = parsed;
  const kind = kindOf(file, value);
  switch (kind) {
    case "services":
      return manifest(file, kind, readServices(value));
    case "run":
      return manifest(file, kind, readRun(value));
    case "args":
      return manifest(file, kind, readArgs(value));
    case "state":
      return checkState(file, value);
    case "graph":
      return checkGraph(file, value);
    case "policy": {
      const policy = parsePolicyFile(text, file);
      return { kind, errors: policy.ok ? [] : policy.errors, warnings: [], policy: { fileName: file, parsed: policy } };
    }
    default: {
      const expected = `#spec, the file's name or an array to tell which of ${DOCUMENT_KINDS.join(", ")} it is`;
      return { kind: undefined, errors: [`${file}: is none of ours, expected ${expected}`], warnings: [] };
    }
  }
}

function manifest(file: string, kind: DocumentKind, { errors, warnings }: ManifestRead<unknown>): Checked {
  const render = (finding: Finding) => renderFinding(file, finding);
  return { kind, errors: errors.map(render), warnings: warnings.map(render) };
}

function checkState(file: string, value: unknown): Checked {
  const revision = revisionOfState(file, value as Record<string, unknown>);
  const resolved = resolveGraph(revision.containers, false);
  return {
    kind: "state",
    errors: [...revision.errors, ...resolved.errors.map((error) => `${file}: ${error}`)],
    warnings: [...revision.warnings, ...resolved.warnings.map((warning) => `${file}: ${warning}`)],
  };
}

/** What a running daemon would skip. Kinds of a newer Pantavisor are no error. */
function checkGraph(file: string, value: unknown): Checked {
  const graph = readGraph(value);
  if (!graph.ok) return { kind: "graph", errors: [`${file}: ${graph.reason}`], warnings: [] };
  const said = (unknown: boolean) =>
    graph.skipped
      .filter(({ kind }) => (kind === "unknown") === unknown)
      .map(({ pointer, reason }) => `${file}: ${pointer}: ${reason}`);
  return { kind: "graph", errors: said(false), warnings: said(true), links: graph.links };
}
