/** `pv-xconnect check`: graphs, manifests and policy files, before a device has to find out. */
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { readRegular } from "../files/read-regular.ts";
import type { Link } from "../graph/link.ts";
import { MAX_GRAPH_BYTES } from "../graph/schema.ts";
import { linkAccess } from "../policy/link-access.ts";
import { lookupService, mergePolicyFiles, type PolicyFile } from "../policy/merge.ts";
import type { Policy } from "../policy/schema.ts";
import { checkBus } from "./check-bus.ts";
import { checkDocument } from "./check-document.ts";
import { type Command, type CommandIo, EXIT_OK, EXIT_RUNTIME, UsageError } from "./command.ts";
import { plain } from "./plain-text.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect check [--json] [--bus FILE [--bus-root DIR]] PATH...

Validates graphs, services.json, run.json, args.json, state.json and policy files. Of a
directory, every *.json below it that is one of these. With graphs and policy together it
also tells which links the policy would refuse.

  --bus FILE      a D-Bus daemon's XML configuration: what the graph's roles can't do there
  --bus-root DIR  the root file system that FILE and its includes are in (default /)
  --json          the findings as JSON

Each line is "file: /json/pointer: what is wrong, what was expected". Exit status 1 with
errors; warnings alone are 0.
`;

/** Files looked at in all. A whole revision has some hundreds. */
const MAX_FILES = 10_000;
/** Directories below a given one. */
const MAX_DEPTH = 8;

class Findings {
  readonly errors: string[] = [];
  readonly warnings: string[] = [];
  readonly links: Link[] = [];
  readonly policies = new Map<string, PolicyFile[]>();
  files = 0;

  /** `named`: given by the user, so it must be one of ours. */
  file(path: string, named: boolean): void {
    if (++this.files > MAX_FILES) {
      if (this.files === MAX_FILES + 1)
        this.errors.push(`${path}: and what follows is left out, at most ${MAX_FILES} files are read`);
      return;
    }
    const read = readRegular(path, MAX_GRAPH_BYTES);
    if (!read.ok) {
      this.errors.push(`${path}: ${read.reason}`);
      return;
    }
    const checked = checkDocument(path, new TextDecoder().decode(read.bytes));
    if (checked.kind === undefined && !named) return;
    this.errors.push(...checked.errors);
    this.warnings.push(...checked.warnings);
    this.links.push(...(checked.links ?? []));
    if (checked.policy === undefined) return;
    const directory = dirname(path);
    this.policies.set(directory, [...(this.policies.get(directory) ?? []), checked.policy]);
  }

  path(path: string, depth: number): void {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) this.errors.push(`${path}: ENOENT`);
    else if (!stat.isDirectory()) this.file(path, depth === 0);
    else if (depth > MAX_DEPTH)
      this.errors.push(`${path}: is left out, at most ${MAX_DEPTH} directories deep are read`);
    else
      for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1)))
        if (entry.isDirectory() || (entry.isFile() && entry.name.endsWith(".json")))
          this.path(join(path, entry.name), depth + 1);
  }

  /** Files of one directory are one policy, as the daemon would read it. */
  policy(): Policy {
    const all: PolicyFile[] = [];
    for (const files of this.policies.values()) {
      const sorted = [...files].sort((a, b) => (a.fileName < b.fileName ? -1 : 1));
      const known = new Set(this.errors);
      this.errors.push(...mergePolicyFiles(sorted, new Map()).policy.errors.filter((error) => !known.has(error)));
      all.push(...sorted);
    }
    return mergePolicyFiles(all, new Map()).policy;
  }
}

function refusals(links: readonly Link[], policy: Policy): string[] {
  const found: string[] = [];
  for (const link of links) {
    const service = lookupService(policy, link.name);
    if (service.kind === "refused") continue;
    const access = linkAccess(link, service.kind === "policy" ? service.policy : undefined);
    if (!access.ok)
      found.push(
        `The link of ${JSON.stringify(link.consumer)} to ${JSON.stringify(link.name)} will be refused: ${access.reason}`,
      );
  }
  return found;
}

function report(findings: Findings, json: boolean, io: CommandIo): number {
  const { errors, warnings, files } = findings;
  if (json) io.out(`${JSON.stringify({ files, errors, warnings })}\n`);
  else {
    for (const error of errors) io.out(`${plain(error)}\n`);
    for (const warning of warnings) io.out(`warning: ${plain(warning)}\n`);
    if (errors.length === 0) io.out(`${files} ${files === 1 ? "file" : "files"}: no errors\n`);
  }
  return errors.length === 0 ? EXIT_OK : EXIT_RUNTIME;
}

export const command: Command = {
  name: "check",
  summary: "validates graphs, manifests and policy files",
  async run(argv, io) {
    const text = { type: "string" } as const;
    const flag = { type: "boolean" } as const;
    const options = { json: flag, bus: text, "bus-root": text, help: { ...flag, short: "h" } } as const;
    const { values, positionals } = usage(() => parseArgs({ args: argv, options, allowPositionals: true }));
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    if (positionals.length === 0 && values.bus === undefined)
      throw new UsageError("Cannot check nothing: expected at least one PATH");
    const findings = new Findings();
    for (const path of positionals) findings.path(path, 0);
    const policy = findings.policy();
    findings.warnings.push(...refusals(findings.links, policy));
    if (values.bus !== undefined) {
      const root = values["bus-root"] ?? "/";
      const bus = checkBus(values.bus, root, findings.links, (service) => policy.services.get(service));
      findings.errors.push(...bus.errors);
      findings.warnings.push(...bus.warnings);
    }
    return report(findings, values.json === true, io);
  },
};
