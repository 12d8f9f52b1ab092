/** `pv-xconnect graph`: the graph, drawn. */
import { parseArgs } from "node:util";
import type { Graph } from "../graph/source.ts";
import { type Command, EXIT_OK, UsageError } from "./command.ts";
import { GRAPH_HELP, GRAPH_OPTIONS, readGraphOnce } from "./one-graph.ts";
import { dotOf } from "./picture/dot.ts";
import { mermaidOf } from "./picture/mermaid.ts";
import { svgOf } from "./picture/svg.ts";
import { tableOf } from "./picture/table.ts";
import { plain } from "./plain-text.ts";
import { usage } from "./usage.ts";

const FORMATS: Readonly<Record<string, (graph: Graph) => string>> = {
  table: ({ links }) => tableOf(links),
  json: ({ links, skipped }) => `${JSON.stringify({ links, skipped }, null, 2)}\n`,
  dot: ({ links }) => dotOf(links),
  mermaid: ({ links }) => mermaidOf(links),
  svg: ({ links }) => svgOf(links),
};

const HELP = `Usage: pv-xconnect graph [--format FORMAT] [--graph FILE | --ctrl PATH]

Shows the links that the graph wants, after validation and defaults.

  --format FORMAT  ${Object.keys(FORMATS).join(", ")} (default table)
  --json           the same as --format json
${GRAPH_HELP}
Entries that would be skipped are told on standard error, each with its reason.
`;

export const command: Command = {
  name: "graph",
  summary: "the graph, as a table, JSON or a picture",
  async run(argv, io) {
    const flag = { type: "boolean" } as const;
    const options = {
      ...GRAPH_OPTIONS,
      format: { type: "string" },
      json: flag,
      help: { ...flag, short: "h" },
    } as const;
    const { values } = usage(() => parseArgs({ args: argv, options }));
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const name = values.format ?? (values.json ? "json" : "table");
    const format = Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
    if (format === undefined)
      throw new UsageError(`Cannot draw as "${name}": expected one of ${Object.keys(FORMATS).join(", ")}`);
    const graph = await readGraphOnce(values, io.env);
    io.out(format(graph));
    for (const { pointer, reason } of graph.skipped) io.err(`skipped ${pointer}: ${plain(reason)}\n`);
    return EXIT_OK;
  },
};
