/** The graph, read once for a command that only looks at it: from a file, from pv-ctrl. */
import { FileSource } from "../graph/file-source.ts";
import { PvCtrlSource } from "../graph/pv-ctrl-source.ts";
import type { Graph } from "../graph/source.ts";
import type { CommandIo } from "./command.ts";
import { fromEnvironment, setting } from "./settings.ts";

/** A person waits for this command; pv-ctrl needs 5 s at boot. */
const DEADLINE_MS = 10_000;

export const GRAPH_OPTIONS = { graph: { type: "string" }, ctrl: { type: "string" } } as const;
export const GRAPH_HELP = `  --graph FILE     the graph from a file
  --ctrl PATH      Pantavisor's control socket, where no file is given
                   (default /run/pantavisor/pv/pv-ctrl)
`;

/** Flags over `PV_XCONNECT_GRAPH` and `PV_XCONNECT_CTRL`. Throws an Error that says what could not be read and why. */
export async function readGraphOnce(
  values: { readonly graph?: string | undefined; readonly ctrl?: string | undefined },
  env: CommandIo["env"],
): Promise<Graph> {
  const file = values.graph ?? (values.ctrl === undefined ? fromEnvironment("graph", env) : undefined);
  const source =
    file === undefined ? new PvCtrlSource(setting("ctrl", values, env), DEADLINE_MS) : new FileSource(file);
  try {
    const result = await source.fetch(new AbortController().signal);
    if (result.kind === "graph") return result.graph;
    throw new Error(result.kind === "unavailable" ? result.message : "Cannot read the graph: interrupted");
  } finally {
    source.close();
  }
}
