/** What is drawn of a graph, whatever the form: containers, and the links between them in a steady order. */
import type { Link } from "../../graph/link.ts";

export interface Peer {
  /** "" for a provider that the graph does not name. */
  readonly name: string;
  /** What the graph says of its process. */
  readonly pid: number;
}

export interface Drawing {
  /** In the order of their first link below. */
  readonly consumers: readonly Peer[];
  readonly providers: readonly Peer[];
  /** By consumer, then provider, then name and target: neighbours in the picture are neighbours in meaning. */
  readonly links: readonly Link[];
}

export function drawingOf(links: readonly Link[]): Drawing {
  const sorted = [...links].sort(
    (a, b) =>
      compare(a.consumer, b.consumer) ||
      compare(a.provider, b.provider) ||
      compare(a.name, b.name) ||
      compare(a.target, b.target),
  );
  const consumers = new Map<string, Peer>();
  const providers = new Map<string, Peer>();
  for (const link of sorted) {
    if (!consumers.has(link.consumer)) consumers.set(link.consumer, { name: link.consumer, pid: link.consumerPid });
    if (!providers.has(link.provider)) providers.set(link.provider, { name: link.provider, pid: link.providerPid });
  }
  return { consumers: [...consumers.values()], providers: [...providers.values()], links: sorted };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What a person is told of a peer's process. */
export function processText(pid: number): string {
  return pid > 0 ? `pid ${pid}` : pid === 0 ? "the host" : "not up";
}

/** A peer's name for a person. */
export function peerText(name: string): string {
  return name === "" ? "(not named)" : name;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
const UNDRAWABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]/g;

/** XML takes no control characters but tab and newline; those and the direction overrides become U+FFFD. */
export function drawable(text: string): string {
  return text.toWellFormed().replace(UNDRAWABLE, "\uFFFD");
}
