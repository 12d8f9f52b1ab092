/**
 * The log: whole lines to stdout, in one of three formats, never blocking.
 *
 * Pantavisor's log server detects exactly `level=`, `src=` and `message=` in logfmt;
 * everything else stands inside the quoted message. Its pipe may be full, or gone late
 * in a shutdown: lines are then dropped and counted, the daemon goes on.
 */
import { closeSync, fstatSync, openSync, writeSync } from "node:fs";

export const LOG_FORMATS = ["logfmt", "json", "kmsg"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface Log {
  log(level: LogLevel, source: string, message: string, fields?: LogFields): void;
}

/** PIPE_BUF (pipe(7)): up to here a write to a pipe is whole or not at all. */
const LINE_MAX = 4096;
/** syslog severities (RFC 5424 section 6.2.1) behind the kernel log's `<N>` prefix. */
const SEVERITY: Readonly<Record<LogLevel, number>> = { debug: 7, info: 6, warn: 4, error: 3 };

/** `key=value` pairs as they stand inside a message: quoted only where needed. */
function pairs(fields: LogFields): string {
  return Object.entries(fields)
    .map(([key, value]) => {
      const text = String(value);
      return `${key}=${/^[\w./:@+-]+$/.test(text) ? text : JSON.stringify(text)}`;
    })
    .join(" ");
}

/** Control characters, also those that JSON leaves alone (C1, line separators): a name must not start a line of its own. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;
const printable = (text: string): string =>
  text.replace(CONTROL, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** One line without its newline. */
export function formatLine(
  format: LogFormat,
  level: LogLevel,
  source: string,
  message: string,
  fields: LogFields | undefined,
  time: Date,
): string {
  if (format === "json")
    return printable(JSON.stringify({ time: time.toISOString(), level, src: source, message, ...fields }));
  const whole = printable(fields === undefined ? message : `${message} (${pairs(fields)})`);
  if (format === "kmsg") return `<${SEVERITY[level]}>pv-xconnect[${source}]: ${whole}`;
  return `level=${level} src=${source} message="${whole.replace(/[\\"]/g, "\\$&")}"`;
}

/** Cuts a line to what a pipe takes whole, never inside a character or an escape. */
function bounded(line: string): Buffer {
  const bytes = Buffer.from(`${line}\n`);
  if (bytes.length <= LINE_MAX) return bytes;
  const end = line.endsWith('"') ? '..."\n' : line.endsWith("}") ? '..."}\n' : "...\n";
  let cut = bytes
    .subarray(0, LINE_MAX - end.length)
    .toString("utf8")
    .replace(/\uFFFD+$/, "");
  cut = cut.replace(/\\+$/, "");
  return Buffer.concat([Buffer.from(cut).subarray(0, LINE_MAX - end.length), Buffer.from(end)]);
}

/** A description of its own, so that O_NONBLOCK is ours alone and not the log server's. */
function nonBlocking(fd: number): number {
  try {
    if (!fstatSync(fd).isFIFO()) return fd;
    return openSync(`/proc/self/fd/${fd}`, 0o1 | 0o4000 /* O_WRONLY | O_NONBLOCK */);
  } catch {
    return fd;
  }
}

export class LineLog implements Log {
  private readonly fd: number;
  private readonly own: boolean;
  private readonly format: LogFormat;
  private readonly threshold: number;
  private dropped = 0;

  constructor(fd: number, format: LogFormat, level: LogLevel) {
    this.fd = nonBlocking(fd);
    this.own = this.fd !== fd;
    this.format = format;
    this.threshold = LOG_LEVELS.indexOf(level);
  }

  log(level: LogLevel, source: string, message: string, fields?: LogFields): void {
    if (LOG_LEVELS.indexOf(level) < this.threshold) return;
    if (this.dropped > 0) {
      const notice = formatLine(
        this.format,
        "warn",
        "log",
        `${this.dropped} lines were dropped: nobody read them`,
        undefined,
        new Date(),
      );
      if (!this.write(bounded(notice))) {
        this.dropped++;
        return;
      }
      this.dropped = 0;
    }
    if (!this.write(bounded(formatLine(this.format, level, source, message, fields, new Date())))) this.dropped++;
  }

  private write(line: Buffer): boolean {
    try {
      for (let at = 0; at < line.length; ) at += writeSync(this.fd, line, at);
      return true;
    } catch {
      // EAGAIN: full. EPIPE: the log server is gone. Neither is worth more than the line.
      return false;
    }
  }

  close(): void {
    if (this.own) closeSync(this.fd);
  }
}
