/**
 * One consumer's HTTP connection and its provider's.
 *
 * The contract:
 * - A request goes on only when its whole head has been read and judged, with exactly one
 *   identity. A refused head reaches the provider with no byte; a refused body ends short.
 * - Answers keep the order of their requests, ours among them: a refusal waits until what
 *   was asked before has been answered. Behind a refusal nothing is read any more.
 * - An answer goes on as it came, once its head has been read. What ends before its framing
 *   says so ends for the consumer too, with nothing added: a cut.
 * - One provider connection for one consumer connection: no request of one consumer ever
 *   shares a connection with another's.
 */

import { ascii } from "../../protocol/http/characters.ts";
import { EVENT } from "../../protocol/http/message-reader.ts";
import { HEAD as HEAD_METHOD, METHODS } from "../../protocol/http/methods.ts";
import type { Refusal } from "../../protocol/http/refusal.ts";
import { RequestReader } from "../../protocol/http/request.ts";
import type { Filter, Session } from "../../relay/filter.ts";
import { AnswerRelay } from "./answer-relay.ts";
import { ANSWER, answerBytes } from "./answers.ts";
import { Held } from "./held.ts";
import { latin1 } from "./latin1.ts";
import { type Asked, PendingRequests } from "./pending.ts";
import type { RestService } from "./service.ts";
import { allowedProtocols } from "./upgrade.ts";

/** Requests are read and sent on. */
const OPEN = 0;
/** The last request has been read: what the consumer sends further is dropped. */
const LAST = 1;
/** As LAST, and a refusal waits for its turn. */
const REFUSING = 2;
/** The last word has been said: `session.finish` was called. */
const ENDED = 3;

interface Judged {
  readonly refused?: Refusal;
  readonly rule?: string;
  readonly path?: Uint8Array;
}
const AS_IT_IS: Judged = {};

export class RestFilter implements Filter {
  readonly session: Session;
  readonly service: RestService;
  readonly pending = new PendingRequests();
  /** The protocols of an Upgrade that waits for the provider's word. Nothing is read behind it meanwhile. */
  offered: readonly string[] | undefined;
  private phase = OPEN;
  private refusal: Refusal | undefined;
  /** What the refused request asked, if that is known. */
  private refused: Asked | undefined;
  private readonly requests: RequestReader;
  private readonly answers: AnswerRelay;
  private readonly held: Held;
  /** The request under way has not ended. */
  private bodyOpen = false;
  /** The request under way is the connection's last. */
  private lastRequest = false;
  private consumerDone = false;
  private dialled = false;
  private lastBytes: number;
  private headSince = 0;
  private armed = 0;
  /** Closed or switched. */
  private over = false;

  constructor(session: Session, service: RestService) {
    this.session = session;
    this.service = service;
    this.requests = new RequestReader(service.budget, service.limits, service.scanner);
    this.answers = new AnswerRelay(this);
    this.held = new Held(service.budget);
    this.lastBytes = session.now();
    this.arm();
  }

  // ---- the consumer ----

  fromConsumer(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    this.lastBytes = this.session.now();
    if (fds.length > 0) {
      this.refuseFds(fds, "consumer");
      this.refuse(ANSWER.fds);
    } else if (this.phase === OPEN) {
      if (this.held.length === 0) this.readRequests(buffer, length, false);
      else this.hold(buffer, 0, length);
    }
    this.arm();
  }

  /** `own`: the bytes are not the relay's chunk but held ones. */
  private readRequests(bytes: Uint8Array, length: number, own: boolean): void {
    const { requests, session } = this;
    requests.give(bytes, 0, length);
    while (this.phase === OPEN) {
      if (requests.idle && (this.pending.full || this.offered !== undefined)) {
        this.hold(bytes, requests.at, length);
        return;
      }
      const event = requests.next();
      if (requests.spanEnd > requests.spanStart) {
        if (own) session.upstream.write(bytes.subarray(requests.spanStart, requests.spanEnd));
        else session.upstream.forward(requests.spanStart, requests.spanEnd);
      }
      switch (event) {
        case EVENT.MORE:
          return;
        case EVENT.HEAD:
          this.onHead();
          break;
        case EVENT.TRAILERS:
          session.upstream.write(requests.trailers);
          break;
        case EVENT.END:
          this.bodyOpen = false;
          if (this.lastRequest) this.phase = LAST;
          break;
        case EVENT.REFUSED:
          this.refuse(requests.refusal!);
          break;
      }
    }
  }

  /** A complete, well-formed head: may it go on, and as what? */
  private onHead(): void {
    const { service, session } = this;
    const { head } = this.requests;
    this.headSince = 0;
    let path: Uint8Array | undefined;
    let asked: Asked | undefined;
    if (!service.unrestricted || service.accessLog || head.upgradeField >= 0) asked = this.whatIsAsked();
    if (asked !== undefined && !service.unrestricted) {
      const judged = this.judge(asked);
      if (judged.refused !== undefined) {
        this.refuse(judged.refused, judged.rule, asked);
        return;
      }
      path = judged.path;
    }
    const upgrade = head.upgradeField < 0 ? undefined : this.offer();
    session.upstream.write(service.writer.write(head, service.identity, path, upgrade));
    this.pending.push(head.method, head.minor, head.persists, asked);
    this.bodyOpen = true;
    this.lastRequest = !head.persists;
    if (this.dialled) return;
    // Last: a dial that fails at once answers the request.
    this.dialled = true;
    session.connectUpstream();
  }

  /** Held against the rules: refused, or with the path that the provider is to get for the consumer's. */
  private judge(asked: Asked): Judged {
    const decision = this.service.judge(asked);
    if (decision.kind === "deny") {
      const refused = decision.status === 403 ? ANSWER.forbidden : { ...ANSWER.path, detail: decision.detail };
      return { refused, rule: decision.rule };
    }
    if (this.requests.head.overrides) return { refused: ANSWER.override, rule: `http.${ANSWER.override.code}` };
    return decision.path === asked.path ? AS_IT_IS : { path: ascii(decision.path) };
  }

  private whatIsAsked(): Asked {
    const { bytes, method, target } = this.requests.head;
    const path = target.pathStart === target.pathEnd ? "/" : latin1(bytes, target.pathStart, target.pathEnd);
    return { method: METHODS[method]!, path, at: this.session.now() };
  }

  /** What of the consumer's Upgrade the provider is offered. Only of a request that is nothing but the offer. */
  private offer(): Uint8Array | undefined {
    const { head } = this.requests;
    if (!head.connection.upgrade || head.minor === 0 || head.hasBody || !head.persists) return undefined;
    const { bytes, base, fields } = head;
    const protocols = allowedProtocols(bytes, base, fields, head.upgradeField, this.service.upgrade);
    if (protocols.length === 0) return undefined;
    this.offered = protocols;
    return ascii(protocols.join(", "));
  }

  private hold(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) return;
    this.session.pauseConsumer(true);
    if (!this.held.append(bytes, start, end)) this.refuse(ANSWER.pipeline);
  }

  /** An answer is complete: requests that had to wait go on. */
  resume(): void {
    if (this.held.length === 0 || this.pending.full || this.offered !== undefined) return;
    const bytes = this.held.take();
    if (this.phase === OPEN) this.readRequests(bytes, bytes.length, true);
    if (this.held.length > 0) return;
    this.session.pauseConsumer(false);
    if (this.consumerDone) this.afterConsumer();
  }

  consumerEnded(): void {
    this.consumerDone = true;
    if (this.held.length === 0) this.afterConsumer();
    this.arm();
  }

  /** No further byte of the consumer will come. Its answers are still wanted: `nc -N`, shutdown(2). */
  private afterConsumer(): void {
    if (this.phase === REFUSING) return;
    if (this.requests.inBody) this.session.upstream.end();
    else if (this.requests.inHead) this.refuse(ANSWER.incomplete);
    else if (this.pending.count === 0) this.end("the consumer is done");
  }

  // ---- the provider ----

  fromProvider(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    this.lastBytes = this.session.now();
    if (fds.length > 0) {
      this.refuseFds(fds, "provider");
      this.providerFailed(ANSWER.badAnswer, "the provider sent fds");
    } else this.answers.read(buffer, length);
    this.arm();
  }

  providerEnded(): void {
    this.answers.ended();
    this.arm();
  }

  onUpstreamFailed(reason: string): void {
    this.session.log("debug", `Cannot reach the provider: ${reason}`);
    this.answerOldest(ANSWER.unreachable);
  }

  /**
   * The oldest request has been answered in full; `persists`: the connection goes on behind it.
   * Called by the answers; false: none of the provider's bytes matters any more.
   */
  answered(persists: boolean): boolean {
    this.pending.shift();
    if (!persists) this.end("answered");
    else if (this.phase === REFUSING) this.sendRefusal();
    else if (this.consumerDone && this.pending.count === 0 && this.held.length === 0 && !this.requests.inBody)
      this.end("answered");
    return this.phase !== ENDED;
  }

  /** The provider can't be used any more. Its answer under way is cut; if there is none, the oldest request gets `answer`. */
  providerFailed(answer: Refusal, reason: string): void {
    this.session.log("info", `The connection to the provider ended: ${reason}`);
    if (this.answers.begun || this.pending.count === 0) this.end(reason);
    else this.answerOldest(answer);
  }

  /** Whether the consumer is still owed its refusal: then nothing else may be the last word. */
  get refusing(): boolean {
    return this.phase === REFUSING;
  }

  // ---- our own answers ----

  /** The request under way is refused; nothing behind it is read. `asked`: where it is known. */
  private refuse(refusal: Refusal, rule = `http.${refusal.code}`, asked?: Asked): void {
    if (this.phase === REFUSING || this.phase === ENDED) return;
    const { method = null, path = null } = asked ?? {};
    this.session.deny({ action: "request", rule, asked: { refused: refusal.code, method, path } });
    this.phase = REFUSING;
    this.refusal = refusal;
    this.refused = asked;
    this.held.take();
    this.session.pauseConsumer(false);
    this.sendRefusal();
  }

  /** Sends the refusal if everything before it has been answered. */
  private sendRefusal(): void {
    // A request refused in its body is itself among the pending ones: its head has gone on.
    if (this.bodyOpen) {
      if (this.pending.count > 1) return;
      if (this.pending.count === 0) this.end("refused behind its answer");
      else if (this.answers.begun) this.end("refused behind the beginning of its answer");
      else this.answerOldest(this.refusal!);
      return;
    }
    if (this.pending.count > 0) return;
    this.reportAccess(this.refused, this.refusal!.status, 0);
    this.answerLast(this.refusal!, this.refused?.method === "HEAD");
  }

  /** Our word in place of the provider's. */
  private answerOldest(answer: Refusal): void {
    const bodyless = this.pending.count > 0 && this.pending.method === HEAD_METHOD;
    if (this.pending.count > 0) {
      this.reportAccess(this.pending.oldest, answer.status, 0);
      this.pending.shift();
    }
    this.answerLast(answer, bodyless);
  }

  private answerLast(answer: Refusal, bodyless: boolean): void {
    this.session.downstream.write(answerBytes(answer, bodyless));
    this.end(`${answer.status} ${answer.code}`);
  }

  /** Nothing more is read or sent. The provider of a request whose body is under way sees it end short. */
  end(reason: string): void {
    this.phase = ENDED;
    this.session.finish(reason);
  }

  private refuseFds(fds: readonly number[], side: string): void {
    this.session.closeFds(fds);
    this.session.deny({ action: "fds", rule: "http.file-descriptors", asked: { from: side, count: fds.length } });
  }

  // ---- time ----

  /** When what is being waited for has taken too long. */
  private due(): number {
    const { timeouts } = this.service;
    if (this.answers.begun) return this.lastBytes + timeouts.body;
    if (this.pending.count > 0) return this.lastBytes + timeouts.answer;
    if (this.requests.inHead) {
      if (this.headSince === 0) this.headSince = this.lastBytes;
      return this.headSince + timeouts.head;
    }
    this.headSince = 0;
    return this.lastBytes + (this.requests.inBody ? timeouts.answer : timeouts.idle);
  }

  /** Moves the deadline only to make it earlier: it is looked at again when it fires, so most calls cost one comparison. */
  private arm(): void {
    if (this.over || this.phase === ENDED) return;
    const due = this.due();
    if (this.armed !== 0 && this.armed <= due) return;
    this.armed = due;
    this.session.setDeadline(due);
  }

  onDeadline(): void {
    this.armed = 0;
    if (this.due() <= this.session.now()) this.expire();
    this.arm();
  }

  private expire(): void {
    if (this.answers.begun) this.end("the answer stood still for too long");
    else if (this.waitsForBody()) this.refuse(ANSWER.slowBody);
    else if (this.pending.count > 0) this.providerFailed(ANSWER.slowAnswer, "no answer in time");
    else if (this.requests.inHead) this.refuse(ANSWER.slowHead);
    else this.end("idle");
  }

  /** Whose turn is it? The consumer's, if all it sent has gone on and its body has not ended. */
  private waitsForBody(): boolean {
    const { pending, session } = this;
    return this.phase === OPEN && this.bodyOpen && pending.count <= 1 && session.upstream.queued === 0;
  }

  // ---- the rest of a life ----

  /** One record of the access log. */
  reportAccess(asked: Asked | undefined, status: number, bytes: number, cut = false): void {
    if (!this.service.accessLog) return;
    const { method = null, path = null } = asked ?? {};
    const ms = asked === undefined ? 0 : Math.round((this.session.now() - asked.at) * 1000) / 1000;
    this.session.report("access", { method, path, status, bytes, ms, cut });
  }

  /** The service has the new configuration already: what is under way must be allowed by it too. */
  onConfig(): void {
    // Without rules before, nobody noted what was asked: it can't be judged now, so it can't go on.
    const allowed = (asked: Asked | undefined) => asked !== undefined && this.service.allows(asked);
    if (!this.service.unrestricted && ![...this.pending.all()].every(allowed))
      this.end("the policy no longer allows it");
    this.arm();
  }

  /** The provider has switched protocols: held bytes are the new protocol's, and from here on nobody looks. */
  switched(protocols: readonly string[]): void {
    const bytes = this.held.take();
    if (bytes.length > 0) this.session.upstream.write(bytes);
    const asked = this.pending.oldest;
    if (asked !== undefined) this.service.keepSwitched({ session: this.session, asked, protocols });
    this.pending.shift();
    if (this.consumerDone) this.session.upstream.end();
    this.onClosed();
    this.session.passThrough();
  }

  onClosed(): void {
    this.over = true;
    for (; this.service.accessLog && this.pending.count > 0; this.pending.shift()) this.answers.recordCut();
    this.held.take();
    this.requests.close();
    this.answers.close();
  }
}
