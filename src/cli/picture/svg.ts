/**
 * The graph as a picture: consumers on the left, the daemon with one chip a link in the
 * middle, providers on the right. Plain SVG 1.1 without scripts, fonts or references, so that any
 * viewer shows it and a web page may embed it.
 */
import type { Link, LinkType } from "../../graph/link.ts";
import { TYPE_COLOURS } from "./colours.ts";
import { drawable, drawingOf, type Peer, peerText, processText } from "./nodes.ts";

const MARGIN = 28;
const PEER = { width: 210, height: 52, gap: 20 };
const CHIP = { width: 340, height: 46, gap: 10 };
/** Room for the curves between two columns. */
const GUTTER = 96;
/** Inside of the daemon's frame: around the chips, and above them for its name. */
const FRAME = { pad: 16, head: 36 };
/** Between two curves that end at one box. */
const PORT = 14;

const CONSUMER_X = MARGIN;
const FRAME_X = CONSUMER_X + PEER.width + GUTTER;
const CHIP_X = FRAME_X + FRAME.pad;
const FRAME_WIDTH = CHIP.width + 2 * FRAME.pad;
const PROVIDER_X = FRAME_X + FRAME_WIDTH + GUTTER;
const WIDTH = PROVIDER_X + PEER.width + MARGIN;

interface Box {
  readonly peer: Peer;
  readonly top: number;
  readonly height: number;
  /** Rows of its links, in the order of the chips. */
  readonly rows: readonly number[];
}

export function svgOf(links: readonly Link[]): string {
  const drawing = drawingOf(links);
  const frameTop = MARGIN;
  const chipTops = chipRows(drawing.links, frameTop + FRAME.head);
  const chipsEnd = (chipTops.at(-1) ?? frameTop + FRAME.head) + (drawing.links.length > 0 ? CHIP.height : 20);
  const rowsOf = (side: "consumer" | "provider", name: string) =>
    drawing.links.flatMap((link, row) => (link[side] === name ? [row] : []));
  const consumers = stack(
    drawing.consumers.map((peer) => ({ peer, rows: rowsOf("consumer", peer.name) })),
    chipTops,
    frameTop,
  );
  const providers = stack(
    drawing.providers.map((peer) => ({ peer, rows: rowsOf("provider", peer.name) })),
    chipTops,
    frameTop,
  );
  const frameEnd = chipsEnd + FRAME.pad;
  const bottom = Math.max(frameEnd, ...[...consumers, ...providers].map(({ top, height }) => top + height));
  const height = bottom + 54;
  const body = [
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    frame(frameTop, frameEnd - frameTop),
    ...consumers.flatMap((box) => box.rows.map((row, port) => curveIn(box, port, drawing.links[row]!, chipTops[row]!))),
    ...providers.flatMap((box) =>
      box.rows.map((row, port) => curveOut(box, port, drawing.links[row]!, chipTops[row]!)),
    ),
    ...drawing.links.map((link, row) => chip(link, chipTops[row]!)),
    ...consumers.map((box) => peerBox(box, CONSUMER_X)),
    ...providers.map((box) => peerBox(box, PROVIDER_X)),
    legend([...new Set(drawing.links.map((link) => link.type))], bottom + 30),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif" role="img" aria-label="${drawing.links.length} links">
<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0.5 L7.5 4 L0 7.5 z" fill="#475569"/></marker></defs>
${body.join("\n")}
</svg>
`;
}

/** Tops of the chips; a little more room where the consumer changes. */
function chipRows(links: readonly Link[], top: number): number[] {
  const tops: number[] = [];
  let y = top;
  for (const [i, link] of links.entries()) {
    if (i > 0) y += CHIP.height + CHIP.gap + (links[i - 1]?.consumer === link.consumer ? 0 : PEER.gap);
    tops.push(y);
  }
  return tops;
}

/** Each box as near to the middle of its chips as the boxes above it allow. */
function stack(
  peers: readonly { peer: Peer; rows: readonly number[] }[],
  chipTops: readonly number[],
  top: number,
): Box[] {
  const wanted = peers.map(({ peer, rows }) => {
    const middle = rows.reduce((sum, row) => sum + chipTops[row]! + CHIP.height / 2, 0) / rows.length;
    const height = Math.max(PEER.height, (rows.length + 1) * PORT);
    return { peer, rows, height, top: middle - height / 2 };
  });
  wanted.sort((a, b) => a.top + a.height / 2 - (b.top + b.height / 2));
  let y = top;
  return wanted.map((box) => {
    const placed = { ...box, top: Math.max(box.top, y) };
    y = placed.top + placed.height + PEER.gap;
    return placed;
  });
}

function portY({ top, height, rows }: Box, port: number): number {
  return top + height / 2 + (port - (rows.length - 1) / 2) * PORT;
}

function curveIn(box: Box, port: number, link: Link, chipTop: number): string {
  return curve(CONSUMER_X + PEER.width, portY(box, port), CHIP_X - 1, chipTop + CHIP.height / 2, link);
}
function curveOut(box: Box, port: number, link: Link, chipTop: number): string {
  return curve(CHIP_X + CHIP.width, chipTop + CHIP.height / 2, PROVIDER_X - 1, portY(box, port), link);
}

function curve(x1: number, y1: number, x2: number, y2: number, { type, consumerPid, providerPid }: Link): string {
  const bend = (x2 - x1) * 0.55;
  const up = consumerPid >= 0 && providerPid >= 0;
  const path = `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  return `<path d="${path}" fill="none" stroke="${TYPE_COLOURS[type]}" stroke-width="1.6"${up ? "" : ' stroke-dasharray="5 4" stroke-opacity="0.6"'} marker-end="url(#end)"/>`;
}

function frame(top: number, height: number): string {
  return [
    `<rect x="${FRAME_X}" y="${top}" width="${FRAME_WIDTH}" height="${height}" rx="12" fill="#f1f5f9" stroke="#cbd5e1"/>`,
    text(FRAME_X + FRAME_WIDTH / 2, top + 23, "pv-xconnect", 13, '#334155" font-weight="bold" text-anchor="middle'),
  ].join("\n");
}

function chip(link: Link, top: number): string {
  const colour = TYPE_COLOURS[link.type];
  const x = CHIP_X;
  const badge = `${link.type} · ${link.role}`;
  const badgeWidth = Math.min(150, Math.round(columnsOf(badge) * 6.2) + 14);
  const nameColumns = Math.floor((CHIP.width - badgeWidth - 34) / 7.8);
  const whole = `${link.name} (${link.type}, role ${link.role}): ${link.target} of ${link.consumer} -> ${link.socket} of ${peerText(link.provider)}`;
  return [
    `<g><title>${escaped(whole)}</title>`,
    `<rect x="${x}" y="${top}" width="${CHIP.width}" height="${CHIP.height}" rx="7" fill="#ffffff" stroke="#cbd5e1"/>`,
    `<rect x="${x}" y="${top}" width="5" height="${CHIP.height}" rx="2.5" fill="${colour}"/>`,
    text(x + 16, top + 19, cut(link.name, nameColumns), 12.5, '#0f172a" font-weight="bold'),
    `<rect x="${x + CHIP.width - badgeWidth - 8}" y="${top + 7}" width="${badgeWidth}" height="17" rx="8.5" fill="${colour}"/>`,
    text(
      x + CHIP.width - badgeWidth / 2 - 8,
      top + 19,
      cut(badge, Math.floor((badgeWidth - 12) / 6)),
      10,
      '#ffffff" text-anchor="middle',
    ),
    text(
      x + 16,
      top + 36,
      cut(link.target, 49),
      10.5,
      `#475569" font-family="'DejaVu Sans Mono', Menlo, Consolas, monospace`,
    ),
    "</g>",
  ].join("\n");
}

function peerBox({ peer, top, height }: Box, x: number): string {
  const { name, pid } = peer;
  const middle = top + height / 2;
  const style =
    pid < 0
      ? 'fill="#ffffff" stroke="#94a3b8" stroke-dasharray="5 4"'
      : pid === 0
        ? 'fill="#fefce8" stroke="#a16207"'
        : 'fill="#eff6ff" stroke="#3b82f6"';
  return [
    `<g><title>${escaped(`${peerText(name)}, ${processText(pid)}`)}</title>`,
    `<rect x="${x}" y="${top}" width="${PEER.width}" height="${height}" rx="8" ${style}/>`,
    text(
      x + PEER.width / 2,
      middle - 2,
      cut(peerText(name), 25),
      12.5,
      '#0f172a" font-weight="bold" text-anchor="middle',
    ),
    text(x + PEER.width / 2, middle + 15, processText(pid), 10.5, '#64748b" text-anchor="middle'),
    "</g>",
  ].join("\n");
}

function legend(types: readonly LinkType[], y: number): string {
  const parts: string[] = [];
  let x = MARGIN;
  for (const type of types) {
    parts.push(
      `<rect x="${x}" y="${y - 9}" width="18" height="6" rx="3" fill="${TYPE_COLOURS[type]}"/>`,
      text(x + 25, y - 2, type, 11, "#334155"),
    );
    x += 43 + type.length * 7;
  }
  parts.push(text(x + 8, y - 2, types.length === 0 ? "no links" : "dashed: a peer is not up", 11, "#64748b"));
  return parts.join("\n");
}

/** `fill`: the colour, and whatever attributes are written after it. */
function text(x: number, y: number, content: string, size: number, fill: string): string {
  return `<text x="${x}" y="${y}" font-size="${size}" fill="${fill}">${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return drawable(content).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

/** Half-width columns that a text takes: East Asian and emoji code points are two wide. */
function columnsOf(content: string): number {
  let width = 0;
  for (const char of content) width += (char.codePointAt(0) ?? 0) >= 0x1100 ? 2 : 1;
  return width;
}

function cut(content: string, room: number): string {
  if (columnsOf(content) <= room) return content;
  let kept = "";
  let width = 1;
  for (const char of content) {
    width += columnsOf(char);
    if (width > room) break;
    kept += char;
  }
  return `${kept}…`;
}
