/** The graph in Graphviz's language (graphviz.org/doc/info/lang.html): only its quoted strings carry foreign text. */
import type { Link } from "../../graph/link.ts";
import { TYPE_COLOURS } from "./colours.ts";
import { type Drawing, drawable, drawingOf, type Peer, peerText, processText } from "./nodes.ts";

export function dotOf(links: readonly Link[]): string {
  const drawing = drawingOf(links);
  const { consumers, providers } = indexes(drawing);
  const lines = [
    "digraph xconnect {",
    '  rankdir=LR; node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"]; edge [fontname="sans-serif", fontsize=10];',
    ...drawing.consumers.map((peer, i) => `  c${i} [${peerAttributes(peer)}];`),
    ...drawing.providers.map((peer, i) => `  p${i} [${peerAttributes(peer)}];`),
    "  subgraph cluster_daemon {",
    '    label="pv-xconnect"; style="rounded,filled"; fillcolor="#f1f5f9"; fontname="sans-serif";',
    ...drawing.links.map(
      (link, i) =>
        `    l${i} [label=${quoted(`${link.name}\n${link.type}, role ${link.role}`)}, color="${TYPE_COLOURS[link.type]}"];`,
    ),
    "  }",
    ...drawing.links.flatMap((link, i) => {
      const colour = `color="${TYPE_COLOURS[link.type]}"`;
      return [
        `  c${consumers.get(link.consumer)} -> l${i} [label=${quoted(link.target)}, ${colour}];`,
        `  l${i} -> p${providers.get(link.provider)} [label=${quoted(link.socket)}, ${colour}];`,
      ];
    }),
    "}",
  ];
  return `${lines.join("\n")}\n`;
}

function peerAttributes({ name, pid }: Peer): string {
  const dashed = pid < 0 ? ', style="rounded,dashed"' : "";
  return `label=${quoted(`${peerText(name)}\n${processText(pid)}`)}${dashed}`;
}

/** In a quoted string the backslash begins escapes such as \N and \G, so it is doubled; a newline is `\n`. */
function quoted(text: string): string {
  const lines = text.split("\n").map((line) => drawable(line).replace(/[\\"]/g, "\\$&"));
  return `"${lines.join("\\n")}"`;
}

export function indexes(drawing: Drawing): { consumers: Map<string, number>; providers: Map<string, number> } {
  return {
    consumers: new Map(drawing.consumers.map(({ name }, i) => [name, i])),
    providers: new Map(drawing.providers.map(({ name }, i) => [name, i])),
  };
}
