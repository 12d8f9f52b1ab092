/** The graph as a Mermaid flowchart, for Markdown pages. */
import type { Link } from "../../graph/link.ts";
import { TYPE_COLOURS } from "./colours.ts";
import { indexes } from "./dot.ts";
import { drawable, drawingOf, type Peer, peerText, processText } from "./nodes.ts";

export function mermaidOf(links: readonly Link[]): string {
  const drawing = drawingOf(links);
  const { consumers, providers } = indexes(drawing);
  const types = [...new Set(drawing.links.map((link) => link.type))];
  const lines = [
    "flowchart LR",
    ...drawing.consumers.map((peer, i) => `  c${i}[${peerLabel(peer)}]`),
    '  subgraph daemon["pv-xconnect"]',
    ...drawing.links.map(({ name, type, role }, i) => `    l${i}(${label([name, `${type}, role ${role}`])}):::${type}`),
    "  end",
    ...drawing.providers.map((peer, i) => `  p${i}[${peerLabel(peer)}]`),
    ...drawing.links.flatMap((link, i) => [
      `  c${consumers.get(link.consumer)} -->|${label([link.target])}| l${i}`,
      `  l${i} -->|${label([link.socket])}| p${providers.get(link.provider)}`,
    ]),
    ...types.map((type) => `  classDef ${type} stroke:${TYPE_COLOURS[type]}`),
  ];
  return `${lines.join("\n")}\n`;
}

function peerLabel({ name, pid }: Peer): string {
  return label([peerText(name), processText(pid)]);
}

/** Mermaid reads entities `#NN;` in quoted labels; whatever is not plainly harmless becomes one. */
function label(lines: readonly string[]): string {
  const escaped = lines.map((line) =>
    drawable(line).replace(/[^A-Za-z0-9 .,/_:-]/gu, (char) => `#${char.codePointAt(0)};`),
  );
  return `"${escaped.join("<br>")}"`;
}
