/** The graph as a table for a terminal. */
import type { Link } from "../../graph/link.ts";
import { columns } from "../plain-text.ts";
import { drawingOf, peerText, processText } from "./nodes.ts";

const HEAD = ["CONSUMER", "PID", "NAME", "TYPE", "ROLE", "TARGET", "PROVIDER", "PID", "SOCKET"];

export function tableOf(links: readonly Link[]): string {
  if (links.length === 0) return "no links\n";
  const rows = drawingOf(links).links.map((link) => [
    link.consumer,
    pidText(link.consumerPid),
    link.name,
    link.type,
    link.role,
    link.target,
    peerText(link.provider),
    pidText(link.providerPid),
    link.socket,
  ]);
  return columns([HEAD, ...rows]);
}

function pidText(pid: number): string {
  return pid > 0 ? String(pid) : processText(pid).replace("the ", "");
}
