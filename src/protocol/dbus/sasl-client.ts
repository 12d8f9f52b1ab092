/**
 * Our own authentication towards the bus: EXTERNAL without naming an identity, so that the
 * bus takes the one that the kernel vouches for (SO_PEERCRED), which is the role's. That also
 * holds where the provider's user namespace gives the same user another number.
 * Source: D-Bus Specification, "Authentication Protocol".
 */
import { ascii } from "./intern.ts";

/** Longest line that a bus has reason to send. */
const LINE_MAX = 1024;

/** Everything up to BEGIN in one write: a bus answers in order, and BEGIN waits for its OK. */
export const SASL_HELLO = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\n";
export const SASL_BEGIN = "BEGIN\r\n";

export type SaslClientStep =
  | { readonly state: "more" }
  /** Send BEGIN and go on. */
  | { readonly state: "done"; readonly guid: string; readonly unixFds: boolean }
  | { readonly state: "failed"; readonly reason: string };

export class SaslClient {
  private line = "";
  private state: "data" | "ok" | "fds" = "data";
  private guid = "";

  /** Nothing may follow the last answer: the bus speaks only when spoken to, and BEGIN was not sent yet. */
  push(b: Uint8Array, length: number): SaslClientStep {
    for (let at = 0; at < length; ) {
      const lf = b.indexOf(10, at);
      const stop = lf < 0 || lf >= length ? length : lf + 1;
      if (this.line.length + stop - at > LINE_MAX) return { state: "failed", reason: "a line of more than 1 KiB" };
      this.line += ascii(b, at, stop);
      at = stop;
      if (!this.line.endsWith("\r\n")) continue;
      const line = this.line.slice(0, -2);
      this.line = "";
      const step = this.answer(line);
      if (step.state === "more") continue;
      return at === length || step.state === "failed" ? step : { state: "failed", reason: "bytes before BEGIN" };
    }
    return { state: "more" };
  }

  private answer(line: string): SaslClientStep {
    const [command, argument] = line.split(" ", 2);
    if (this.state === "data" && command === "DATA") {
      this.state = "ok";
      return { state: "more" };
    }
    if (this.state === "ok" && command === "OK" && argument !== undefined && /^[0-9a-f]{32}$/i.test(argument)) {
      this.guid = argument;
      this.state = "fds";
      return { state: "more" };
    }
    if (this.state === "fds" && (command === "AGREE_UNIX_FD" || command === "ERROR"))
      return { state: "done", guid: this.guid, unixFds: command === "AGREE_UNIX_FD" };
    return { state: "failed", reason: JSON.stringify(line.slice(0, 80)) };
  }
}
