/**
 * The authentication server that the consumer sees. Only EXTERNAL, and whatever identity
 * the consumer claims is ignored: who it is was settled by the link before the first byte.
 *
 * Lines may come all at once (sd-bus sends everything and BEGIN in one write) or byte by
 * byte. Stricter than dbus-daemon: BEGIN is that word and CRLF and nothing else, lines are
 * printable ASCII, and there is an end to rejections.
 * Source: D-Bus Specification, "Authentication Protocol".
 */
import { ascii } from "./intern.ts";

/** MAX_BUFFER of dbus-daemon's own server: "16 KiB, far more than any line needs". */
export const SASL_LINE_MAX = 16 * 1024;
/** MAX_FAILURES is 6 in dbus-daemon; a client tries a few mechanisms, not more. */
export const SASL_REJECTIONS_MAX = 8;
/** Lines in all: ERROR answers cost us bytes, so a client may not ask for them for ever. */
export const SASL_LINES_MAX = 64;

export type SaslError =
  | "no-nul"
  | "line-too-long"
  | "not-ascii"
  | "begin-too-early"
  | "too-many-rejections"
  | "too-many-lines";

export type SaslStep =
  /** `reply` is to be sent; more lines are awaited. */
  | { readonly state: "more"; readonly reply: string }
  /** BEGIN was read: messages start at `next` of the chunk. */
  | { readonly state: "done"; readonly reply: string; readonly next: number; readonly unixFds: boolean }
  | { readonly state: "failed"; readonly reply: string; readonly error: SaslError };

type State = "nul" | "auth" | "data" | "begin";

const REJECTED = "REJECTED EXTERNAL\r\n";

export class SaslServer {
  private readonly guid: string;
  private readonly fdsPossible: boolean;
  private state: State = "nul";
  private line = "";
  private lines = 0;
  private rejections = 0;
  private fds = false;

  /** `guid`: 32 hex digits of the bus; `fdsPossible`: the bus agreed to pass fds. */
  constructor(guid: string, fdsPossible: boolean) {
    this.guid = guid;
    this.fdsPossible = fdsPossible;
  }

  push(b: Uint8Array, length: number): SaslStep {
    let reply = "";
    let at = 0;
    const failed = (error: SaslError): SaslStep => ({ state: "failed", reply, error });
    if (this.state === "nul" && length > 0) {
      if (b[at++] !== 0) return failed("no-nul");
      this.state = "auth";
    }
    while (at < length) {
      const lf = b.indexOf(10, at);
      const stop = lf < 0 || lf >= length ? length : lf + 1;
      if (this.line.length + stop - at > SASL_LINE_MAX) return failed("line-too-long");
      // Pieces of 16 KiB at most: within what a function takes as arguments.
      this.line += ascii(b, at, stop);
      at = stop;
      if (!this.line.endsWith("\r\n")) continue;
      const line = this.line.slice(0, -2);
      this.line = "";
      if (!/^[ -~]*$/.test(line)) return failed("not-ascii");
      if (++this.lines > SASL_LINES_MAX) return failed("too-many-lines");
      if (line === "BEGIN") {
        if (this.state !== "begin") return failed("begin-too-early");
        return { state: "done", reply, next: at, unixFds: this.fds };
      }
      reply += this.answer(line);
      if (this.rejections === SASL_REJECTIONS_MAX) return failed("too-many-rejections");
    }
    return { state: "more", reply };
  }

  private answer(line: string): string {
    const [, command, argument] = /^(\S*) *(.*)$/.exec(line) as unknown as [string, string, string];
    if (command === "AUTH" && this.state === "auth") return this.auth(argument);
    // A client may change its mind at any point, and starts again with AUTH.
    if (command === "ERROR" || (command === "CANCEL" && this.state !== "auth")) return this.reject();
    if (command === "DATA" && this.state === "data") return this.accept(argument);
    if (command === "NEGOTIATE_UNIX_FD" && this.state === "begin" && this.fdsPossible) {
      this.fds = true;
      return "AGREE_UNIX_FD\r\n";
    }
    return "ERROR\r\n";
  }

  private auth(argument: string): string {
    const [mechanism, initial] = argument.split(/ +/, 2);
    if (mechanism !== "EXTERNAL") return this.reject();
    if (initial !== undefined && initial !== "") return this.accept(initial);
    this.state = "data";
    return "DATA\r\n";
  }

  /** The claimed identity must be hex, as it must be for every server; what it says does not matter. */
  private accept(claimed: string): string {
    if (!/^(?:[0-9a-fA-F]{2})*$/.test(claimed)) return this.reject();
    this.state = "begin";
    return `OK ${this.guid}\r\n`;
  }

  private reject(): string {
    this.state = "auth";
    this.fds = false;
    this.rejections++;
    return REJECTED;
  }
}
