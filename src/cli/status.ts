/** `pv-xconnect status`: the live links of a running daemon. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Command, type CommandIo, EXIT_OK } from "./command.ts";
import { plain } from "./plain-text.ts";
import { setting } from "./settings.ts";
import { askStatus, type Status } from "./status-client.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect status [--json] [--watch] [--state-dir DIR]

Shows the links of the running daemon: state, sessions, bytes, denials, reasons.

  --json           the daemon's answer as it is
  --watch          again every second, until interrupted
  --state-dir DIR  where the daemon keeps its socket (default /run/pv-xconnect)
`;
const WATCH_MS = 1000;

const COLOURS: Readonly<Record<string, string>> = {
  established: "32",
  degraded: "33",
  pending: "36",
  establishing: "36",
  failed: "31",
};

/** 1536 -> "1.5K" */
export function shortBytes(bytes: number): string {
  const units = ["", "K", "M", "G", "T", "P"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? String(value) : `${value < 10 ? value.toFixed(1) : Math.round(value)}${units[unit]}`;
}

/** "3m" since an ISO time. */
export function shortAge(since: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(since)) / 1000));
  if (!Number.isFinite(seconds)) return "-";
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)}h` : `${Math.round(seconds / 86_400)}d`;
}

const HEAD = ["STATE", "CONSUMER", "NAME", "TYPE", "ROLE", "TARGET", "SESS", "IN", "OUT", "FDS", "DENIED", "SINCE"];

export function renderTable(status: Status, now: number, colour: boolean): string {
  const rows = status.links.map((l) => [
    l.state,
    plain(l.consumer),
    plain(l.name),
    l.type,
    plain(l.role),
    plain(l.target),
    String(l.sessions),
    shortBytes(l.bytes_in),
    shortBytes(l.bytes_out),
    String(l.fds),
    String(l.denied),
    shortAge(l.since, now),
  ]);
  const widths = HEAD.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]!.length)));
  const paint = (state: string, padded: string) =>
    colour && COLOURS[state] !== undefined ? `\u001b[${COLOURS[state]}m${padded}\u001b[0m` : padded;
  const line = (cells: readonly string[], painted: boolean) =>
    cells
      .map((cell, i) => (i === 0 && painted ? paint(cell, cell.padEnd(widths[i]!)) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd();
  let text = `${line(HEAD, false)}\n`;
  for (const [i, row] of rows.entries()) {
    text += `${line(row, true)}\n`;
    const { reason, bound = [] } = status.links[i]!;
    if (reason !== null && reason !== "") text += `  ${plain(reason)}\n`;
    if (bound.length > 0) text += `  bound: ${plain(bound.join(", "))}\n`;
  }
  if (rows.length === 0) text += "no links\n";
  for (const warning of status.warnings) text += `! ${plain(warning)}\n`;
  return text;
}

async function show(io: CommandIo, stateDir: string, json: boolean, clear: boolean): Promise<void> {
  const status = await askStatus(stateDir);
  if (json) io.out(`${JSON.stringify(status)}\n`);
  else {
    const colour = io.isTTY && (io.env["NO_COLOR"] ?? "") === "";
    io.out(`${clear ? "\u001b[H\u001b[2J" : ""}${renderTable(status, Date.now(), colour)}`);
  }
}

export const command: Command = {
  name: "status",
  summary: "the live links of a running daemon",
  async run(argv, io) {
    const text = { type: "string" } as const;
    const flag = { type: "boolean" } as const;
    const { values } = usage(() =>
      parseArgs({ args: argv, options: { json: flag, watch: flag, "state-dir": text, help: { ...flag, short: "h" } } }),
    );
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const stateDir = setting("state-dir", values, io.env);
    await show(io, stateDir, values.json === true, false);
    while (values.watch) {
      await sleep(WATCH_MS);
      await show(io, stateDir, values.json === true, io.isTTY);
    }
    return EXIT_OK;
  },
};
