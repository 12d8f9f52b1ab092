/**
 * The way of the answers: read just far enough to know where each ends, and sent on as
 * they came. Heads are held back until they are complete and well-formed; what is sent
 * on lies in one piece of the chunk as far as it can, so that it costs one send.
 */
import { EVENT } from "../../protocol/http/message-reader.ts";
import { HEAD as HEAD_METHOD } from "../../protocol/http/methods.ts";
import type { Refusal } from "../../protocol/http/refusal.ts";
import { ResponseReader } from "../../protocol/http/response.ts";
import { ANSWER } from "./answers.ts";
import type { RestFilter } from "./filter.ts";
import { switchesTo } from "./upgrade.ts";

const SWITCHING_PROTOCOLS = 101;

export class AnswerRelay {
  /** Some of the oldest request's final answer has been sent on. */
  begun = false;
  private readonly filter: RestFilter;
  private readonly reader: ResponseReader;
  /** The connection can't go on behind the answer under way. */
  private closes = false;
  private status = 0;
  /** An answer has been completed on this connection. */
  private used = false;
  /** What of the chunk goes on next: `[from, to)`. */
  private from = 0;
  private to = 0;

  constructor(filter: RestFilter) {
    this.filter = filter;
    const { budget, limits, scanner } = filter.service;
    this.reader = new ResponseReader(budget, limits, scanner);
  }

  read(buffer: Uint8Array, length: number): void {
    const { reader, filter } = this;
    const { pending } = filter;
    this.from = this.to = 0;
    reader.give(buffer, 0, length);
    for (;;) {
      if (reader.idle) {
        if (reader.left === 0) break;
        if (pending.count === 0) {
          this.unasked();
          return;
        }
        reader.answersHead = pending.method === HEAD_METHOD;
      }
      const event = reader.next();
      if (reader.spanEnd > reader.spanStart) this.send(reader.spanStart, reader.spanEnd);
      if (event === EVENT.MORE) break;
      if (event === EVENT.HEAD) {
        if (!this.onHead(buffer, length)) return;
      } else if (event === EVENT.TRAILERS) this.write(reader.trailers);
      else if (event === EVENT.END) {
        if (!this.onEnd()) return;
      } else if (event === EVENT.REFUSED) {
        this.fail(reader.refusal!);
        return;
      }
    }
    this.flush();
    filter.resume();
  }

  /** Queues a range of the chunk; what follows directly joins it. */
  private send(start: number, end: number): void {
    if (this.to !== start) {
      this.flush();
      this.from = start;
    }
    this.to = end;
  }
  private flush(): void {
    if (this.to > this.from) this.filter.session.downstream.forward(this.from, this.to);
    this.from = this.to = 0;
  }
  private write(bytes: Uint8Array): void {
    this.flush();
    this.filter.session.downstream.write(bytes);
  }

  /** False: nothing further of this chunk is to be read. */
  private onHead(buffer: Uint8Array, length: number): boolean {
    const { head } = this.reader;
    const { pending } = this.filter;
    if (head.status === SWITCHING_PROTOCOLS) return this.onSwitch(buffer, length);
    if (head.interim) {
      // RFC 9110 section 15.2: HTTP/1.0 has no 1xx.
      if (!pending.oldVersion) this.sendHead(buffer);
      return true;
    }
    this.status = head.status;
    this.closes = !head.persists || !pending.persists || this.reader.endsAtClose;
    this.begun = true;
    this.sendHead(buffer);
    return true;
  }

  private sendHead(buffer: Uint8Array): void {
    const { bytes, base, end } = this.reader.head;
    if (bytes === buffer) this.send(base, base + end);
    else this.write(bytes.slice(base, base + end));
  }

  private onSwitch(buffer: Uint8Array, length: number): boolean {
    const { filter, reader } = this;
    const { bytes, base, fields, upgradeField } = reader.head;
    const { offered } = filter;
    // Behind an offer nothing has been sent on, so the last pending request is the one that made it.
    const waits = offered !== undefined && filter.pending.count === 1;
    const chosen = waits ? switchesTo(bytes, base, fields, upgradeField, offered) : undefined;
    if (chosen === undefined) {
      this.flush();
      filter.providerFailed(ANSWER.badAnswer, "the provider switched to a protocol that was not offered");
      return false;
    }
    this.sendHead(buffer);
    if (reader.at < length) this.send(reader.at, length);
    this.flush();
    filter.reportAccess(filter.pending.oldest, SWITCHING_PROTOCOLS, 0);
    filter.switched(chosen);
    return false;
  }

  private onEnd(): boolean {
    const { filter } = this;
    this.flush();
    filter.reportAccess(filter.pending.oldest, this.status, this.reader.body.contentBytes);
    this.begun = false;
    this.used = true;
    // Behind an offer no request was sent on: this was its answer, and it was declined.
    if (filter.pending.count === 1) filter.offered = undefined;
    return filter.answered(!this.closes);
  }

  /** Something came that no request asked for: whoever reads it might take it for the next answer. */
  private unasked(): void {
    this.flush();
    const { filter } = this;
    filter.session.log("info", "The provider sent bytes that answer no request");
    filter.end("the provider sent bytes that answer no request");
  }

  private fail(refusal: Refusal): void {
    this.flush();
    this.filter.providerFailed(ANSWER.badAnswer, `the provider's answer is malformed: ${refusal.code}`);
  }

  /** The provider has shut its writing half, or is gone: a unix socket does not tell which. */
  ended(): void {
    const { filter, reader } = this;
    if (this.begun && reader.endsAtClose) {
      filter.reportAccess(filter.pending.oldest, this.status, reader.body.contentBytes);
      filter.pending.shift();
      this.begun = false;
      filter.end("the answer ended with the connection");
    } else if (filter.pending.count === 0) filter.end("the provider closed the connection");
    else if (this.begun) filter.providerFailed(ANSWER.noAnswer, "the provider closed the connection within an answer");
    // A kept connection that the provider closed just as it was used again: the client knows how to
    // repeat a request on a connection that closed on it, and does not for a 502 (RFC 9112 section 9.3.1).
    else if (this.used && !reader.inHead && !filter.refusing) filter.end("the provider closed a kept connection");
    else filter.providerFailed(ANSWER.noAnswer, "the provider closed the connection without an answer");
  }

  /** The connection ends before the oldest request's answer does. */
  recordCut(): void {
    const { pending } = this.filter;
    const status = this.begun ? this.status : 0;
    this.filter.reportAccess(pending.oldest, status, this.begun ? this.reader.body.contentBytes : 0, true);
    this.begun = false;
  }

  close(): void {
    this.reader.close();
  }
}
