/**
 * One consumer's conversation with its bus. Both handshakes end here: upstream we are a
 * client under the role's uid, downstream a server that knows who is there already.
 *
 *   waiting   nothing but the consumer's first NUL is of interest; it makes us dial
 *   sasl      the bus authenticates us
 *   joining   our Hello, then the owners of the names that the rights speak of
 *   open      the consumer is answered, authenticates, says Hello, and is filtered
 *
 * Until `open` what the consumer has sent is kept and it is not read on: a client that writes
 * its whole handshake at once has sent a few hundred bytes.
 */

import { Rights } from "../../policy/dbus/rights.ts";
import { MAX_MESSAGE } from "../../protocol/dbus/constants.ts";
import { Framer } from "../../protocol/dbus/framer.ts";
import type { HeaderLimits } from "../../protocol/dbus/header.ts";
import { SASL_BEGIN, SASL_HELLO, SaslClient } from "../../protocol/dbus/sasl-client.ts";
import { SaslServer } from "../../protocol/dbus/sasl-server.ts";
import type { Filter, Session } from "../../relay/filter.ts";
import { AUTH_MS, type DbusConfig, EARLY_MAX, FIELDS_MAX, HALF_OPEN_MAX, MESSAGE_MS } from "./config.ts";
import { ConsumerJudge } from "./consumer.ts";
import { Conversation } from "./conversation.ts";
import type { HeldFds } from "./fds.ts";
import { driverCall } from "./originate.ts";
import { ProviderJudge } from "./provider.ts";

/** What the sessions of one link share. */
export interface LinkState extends HeldFds {
  /** Sessions that have not said Hello. */
  halfOpen: number;
}

/** When the message that one direction keeps must be whole: each has its own time. */
class KeptMessage {
  by = 0;
  private message = 0;
  look(framer: Framer, now: number): void {
    if (!framer.keeping) this.by = 0;
    else if (this.by === 0 || framer.messages !== this.message) this.by = now + MESSAGE_MS;
    this.message = framer.messages;
  }
}

/** What a bus sends is any peer's to choose within the bus's own limits: nothing of it that is legal ends the session. */
const PROVIDER_LIMITS: HeaderLimits = {
  maxMessage: MAX_MESSAGE,
  maxFields: FIELDS_MAX,
  unknownFields: true,
  skipLongFields: true,
};

type Phase = "waiting" | "sasl" | "joining" | "open";

export class DbusFilter implements Filter {
  private readonly session: Session;
  private readonly link: LinkState;
  private config: DbusConfig;
  private readonly c: Conversation;
  /** Of the consumer's messages. */
  private readonly limits: HeaderLimits & { maxMessage: number };
  private readonly fromConsumerFramer: Framer;
  private readonly fromProviderFramer: Framer;
  private phase: Phase = "waiting";
  private early = new Uint8Array(0);
  private readonly saslClient = new SaslClient();
  private saslServer: SaslServer | undefined;
  private authenticated = false;
  private guid = "";
  private busPassesFds = false;
  private countedHalfOpen = true;
  private messageDeadline = 0;
  private readonly keptUp = new KeptMessage();
  private readonly keptDown = new KeptMessage();

  constructor(session: Session, config: DbusConfig, link: LinkState) {
    this.session = session;
    this.config = config;
    this.link = link;
    this.c = new Conversation(session, config.rights, link);
    this.limits = { maxMessage: config.maxMessage, maxFields: FIELDS_MAX, unknownFields: false };
    this.fromConsumerFramer = new Framer(this.limits, new ConsumerJudge(this.c));
    const provider = new ProviderJudge(this.c, () => this.joined());
    this.fromProviderFramer = new Framer(PROVIDER_LIMITS, provider);
    if (link.halfOpen >= HALF_OPEN_MAX) {
      this.countedHalfOpen = false;
      this.c.stop(`more than ${HALF_OPEN_MAX} connections without Hello`);
      return;
    }
    link.halfOpen++;
    session.setDeadline(session.now() + AUTH_MS);
  }

  // ---- consumer ----

  fromConsumer(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    const { c } = this;
    if (c.over) {
      this.session.closeFds(fds);
      return;
    }
    if (!c.consumerFds.add(fds)) {
      c.stop("the consumer sent more fds than a message may have");
      return;
    }
    if (fds.length > 0 && !c.fdsAgreed) {
      c.stop("the consumer sent fds that were not agreed on");
      return;
    }
    if (this.phase !== "open") {
      this.keepEarly(buffer, length);
      return;
    }
    this.consumerBytes(buffer, length, true);
  }

  private keepEarly(buffer: Uint8Array, length: number): void {
    if (this.early.length === 0 && buffer[0] !== 0) {
      this.c.stop("the consumer does not begin with NUL");
      return;
    }
    if (this.early.length + length > EARLY_MAX) {
      this.c.stop("the consumer sends before it is authenticated");
      return;
    }
    const grown = new Uint8Array(this.early.length + length);
    grown.set(this.early);
    grown.set(buffer.subarray(0, length), this.early.length);
    this.early = grown;
    if (this.phase === "waiting") this.session.connectUpstream();
    else this.session.pauseConsumer(true);
  }

  private consumerBytes(b: Uint8Array, length: number, inChunk: boolean): void {
    let from = 0;
    if (!this.authenticated) {
      from = this.authenticate(b, length);
      if (!this.authenticated || this.c.over) return;
    }
    const { c } = this;
    c.up.begin(b, inChunk);
    const wrong = this.fromConsumerFramer.push(b, length, from);
    if (!c.over) c.up.end();
    if (wrong !== undefined) {
      if (wrong !== "stopped") c.stop(`the consumer sent a malformed message: ${wrong}`);
      return;
    }
    if (this.fromConsumerFramer.atBoundary && c.consumerFds.waiting > 0) {
      c.stop("the consumer sent fds without a message");
      return;
    }
    this.greeted();
    this.watchMessages();
  }

  /** Returns where messages begin. */
  private authenticate(b: Uint8Array, length: number): number {
    this.saslServer ??= new SaslServer(this.guid, this.busPassesFds);
    const step = this.saslServer.push(b, length);
    if (step.reply !== "") this.session.downstream.write(latin1(step.reply));
    if (step.state === "failed") this.c.stop(`the consumer's handshake failed: ${step.error}`);
    if (step.state !== "done") return length;
    this.authenticated = true;
    this.c.fdsAgreed = step.unixFds;
    return step.next;
  }

  private greeted(): void {
    if (!this.c.greeted || !this.countedHalfOpen) return;
    this.countedHalfOpen = false;
    this.link.halfOpen--;
    this.session.setDeadline(0);
  }

  /** A message that is kept must become whole in time. The deadline is moved only to make it earlier; it is looked at again when it fires. */
  private watchMessages(): void {
    if (this.countedHalfOpen) return;
    const now = this.session.now();
    this.keptUp.look(this.fromConsumerFramer, now);
    this.keptDown.look(this.fromProviderFramer, now);
    const { messageDeadline } = this;
    const due = this.messageDue();
    if (due === messageDeadline || (due > messageDeadline && messageDeadline !== 0)) return;
    this.messageDeadline = due;
    this.session.setDeadline(due);
  }
  /** The earlier of the two; 0: nothing is kept. */
  private messageDue(): number {
    const [up, down] = [this.keptUp.by, this.keptDown.by];
    return up === 0 || down === 0 ? up + down : Math.min(up, down);
  }

  // ---- bus ----

  onUpstreamConnected(): void {
    if (this.c.over || this.phase !== "waiting") return;
    this.phase = "sasl";
    this.session.upstream.write(latin1(SASL_HELLO));
  }
  onUpstreamFailed(reason: string): void {
    this.c.stop(reason);
  }

  fromProvider(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    const { c } = this;
    if (c.over) {
      this.session.closeFds(fds);
      return;
    }
    if (!c.providerFds.add(fds)) {
      c.stop("the bus sent more fds than a message may have");
      return;
    }
    if (this.phase === "sasl") {
      if (fds.length > 0) c.stop("the bus sent fds in its handshake");
      else this.saslAnswer(buffer, length);
      return;
    }
    c.down.begin(buffer, true);
    const wrong = this.fromProviderFramer.push(buffer, length);
    if (!c.over) c.down.end();
    if (wrong !== undefined) {
      if (wrong !== "stopped") c.stop(`the bus sent a malformed message: ${wrong}`);
      return;
    }
    if (this.fromProviderFramer.atBoundary && c.providerFds.waiting > 0) {
      c.stop("the bus sent fds without a message");
      return;
    }
    if (this.phase === "joining" && c.answers !== undefined && c.watch.settled) this.open();
    this.watchMessages();
  }

  private saslAnswer(b: Uint8Array, length: number): void {
    const { c } = this;
    const step = this.saslClient.push(b, length);
    if (step.state === "failed") {
      c.stop(`the bus refuses role ${JSON.stringify(this.session.link.role)}: ${step.reason}`);
      return;
    }
    if (step.state === "more") return;
    this.guid = step.guid;
    this.busPassesFds = step.unixFds;
    this.phase = "joining";
    const serial = c.calls.nextSerial();
    c.calls.add(serial, { purpose: "hello", serial: 0, destination: "", owner: undefined, detail: "" });
    this.session.upstream.write(latin1(SASL_BEGIN));
    this.session.upstream.write(driverCall(serial, "Hello", "", []));
  }

  /** The bus has told us our name. */
  private joined(): void {
    if (!this.c.watch.align()) this.c.stop("Cannot ask the bus for owners");
  }

  private open(): void {
    this.phase = "open";
    this.session.pauseConsumer(false);
    const { early } = this;
    this.early = new Uint8Array(0);
    this.consumerBytes(early, early.length, false);
  }

  // ---- ends ----

  consumerEnded(): void {
    // A bus takes the end of a connection's writing for its end.
    if (this.phase !== "open") this.c.stop("the consumer left before it was authenticated");
    else this.session.upstream.end();
  }
  providerEnded(): void {
    if (this.phase !== "open")
      this.c.stop(`the bus closed the connection of role ${JSON.stringify(this.session.link.role)}`);
    else this.session.downstream.end();
  }
  onDeadline(): void {
    if (this.countedHalfOpen) {
      this.c.stop("no Hello in time");
      return;
    }
    const due = this.messageDue();
    if (due !== 0 && due <= this.session.now()) this.c.stop("a message did not arrive whole in time");
    this.messageDeadline = due;
    if (due !== 0) this.session.setDeadline(due);
  }

  onConfig(config: unknown): void {
    const { c } = this;
    if (c.over) return;
    const next = config as DbusConfig;
    // The bus knows us as who we were: a connection can't change its uid.
    if (JSON.stringify(next.identity) !== JSON.stringify(this.config.identity)) {
      c.stop("the role's identity has changed");
      return;
    }
    this.config = next;
    this.limits.maxMessage = next.maxMessage;
    c.view.rights = new Rights(next.rights);
    if (c.answers !== undefined && !c.watch.align()) c.stop("Cannot ask the bus for owners");
  }

  onClosed(): void {
    this.c.over = true;
    if (this.countedHalfOpen) this.link.halfOpen--;
    this.countedHalfOpen = false;
    this.session.closeFds(this.c.consumerFds.drain());
    this.session.closeFds(this.c.providerFds.drain());
  }
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}
