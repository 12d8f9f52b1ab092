/** `pv-xconnect resolve`: the manifests of a revision -> the graph that Pantavisor will give for them, offline. */
import { parseArgs } from "node:util";
import { resolveGraph } from "../graph/resolve.ts";
import { readRevision } from "../graph/revision.ts";
import { type Command, EXIT_OK, EXIT_RUNTIME, UsageError } from "./command.ts";
import { plain } from "./plain-text.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect resolve [--hosted-bus] DIR...

Prints, as JSON, the graph that Pantavisor will give for a revision: every requirement of
a run.json met with every export of its name in a services.json. A DIR has one directory
a container, or is one container's own; several are one revision. A state.json is taken too.
Containers of a manifest are not started, so their pids are -1.

  --hosted-bus  Pantavisor hosts the system bus (xconnect.dbus.systembus.enabled)

Exit status 1 when a requirement is not met or a manifest is wrong: Pantavisor would refuse
or misread such a revision. What could be resolved is printed all the same.
`;

export const command: Command = {
  name: "resolve",
  summary: "the graph of a revision's manifests, offline",
  async run(argv, io) {
    const options = { "hosted-bus": { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;
    const { values, positionals } = usage(() => parseArgs({ args: argv, options, allowPositionals: true }));
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    if (positionals.length === 0) throw new UsageError("Cannot resolve nothing: expected at least one DIR");
    const revision = readRevision(positionals);
    const resolved = resolveGraph(revision.containers, values["hosted-bus"] === true);
    io.out(`${JSON.stringify(resolved.entries, null, 2)}\n`);
    for (const warning of [...revision.warnings, ...resolved.warnings]) io.err(`warning: ${plain(warning)}\n`);
    const errors = [...revision.errors, ...resolved.errors];
    for (const error of errors) io.err(`error: ${plain(error)}\n`);
    return errors.length === 0 ? EXIT_OK : EXIT_RUNTIME;
  },
};
