/**
 * Refusals in the consumer's order: a refused call is answered when the bus has answered a
 * small call of ours that took its place in the stream. So whatever was sent before it has
 * been seen to, as when the bus itself refuses. Refusals in a row share one such call.
 */
import { REFUSALS_MAX } from "./config.ts";
import { turnCall } from "./originate.ts";
import type { OutgoingCalls } from "./pending.ts";
import type { Pipe } from "./pipe.ts";

interface Waiting {
  readonly turn: number;
  readonly answer: () => Uint8Array;
}

export class Turns {
  private readonly calls: OutgoingCalls;
  private readonly upstream: Pipe;
  private readonly downstream: Pipe;
  private waiting: Waiting[] = [];
  /** The last message that went up was this turn's call; 0: something else was. */
  private open = 0;

  constructor(calls: OutgoingCalls, upstream: Pipe, downstream: Pipe) {
    this.calls = calls;
    this.upstream = upstream;
    this.downstream = downstream;
  }

  /** `answer` is marshalled and sent when its turn has come. False: the consumer can't be answered any more. */
  queue(answer: () => Uint8Array): boolean {
    if (this.waiting.length >= REFUSALS_MAX) return this.downstream.insert(answer());
    if (this.open === 0) {
      const serial = this.calls.nextSerial();
      if (!this.upstream.insert(turnCall(serial))) return false;
      this.calls.add(serial, { purpose: "turn", serial: 0, destination: "", owner: undefined, detail: "" });
      this.open = serial;
    }
    this.waiting.push({ turn: this.open, answer });
    return true;
  }

  /** A message of the consumer went up. */
  moved(): void {
    this.open = 0;
  }

  /** The bus has answered the call of `turn`. False: the consumer can't be answered any more. */
  come(turn: number): boolean {
    if (this.open === turn) this.open = 0;
    let n = 0;
    while (n < this.waiting.length && this.waiting[n]!.turn === turn)
      if (!this.downstream.insert(this.waiting[n++]!.answer())) return false;
    if (n > 0) this.waiting = this.waiting.slice(n);
    return true;
  }
}
