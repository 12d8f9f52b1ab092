/** The consumer's messages: greeted, decided, given a serial of our own, sent up or refused. */
import {
  decideCall,
  decideDriver,
  decideDriverName,
  decideOutgoingSignal,
  isObjectManagerSignal,
  needsArgument,
  type Refusal,
} from "../../policy/dbus/decide.ts";
import { BUS_INTERFACE, BUS_NAME, type DriverMethod, OBJECT_MANAGER, PEER } from "../../policy/dbus/driver.ts";
import { validBody } from "../../protocol/dbus/body.ts";
import { METHOD_CALL, NO_AUTO_START, NO_REPLY_EXPECTED, SIGNAL } from "../../protocol/dbus/constants.ts";
import { DROP, type Judge, PASS, STOP } from "../../protocol/dbus/framer.ts";
import { type Header, SERIAL_AT, type Span } from "../../protocol/dbus/header.ts";
import { writeU32 } from "../../protocol/dbus/integers.ts";
import { ascii } from "../../protocol/dbus/intern.ts";
import { parseMatchRule } from "../../protocol/dbus/match-rule.ts";
import { BodyReader } from "../../protocol/dbus/peek.ts";
import { FDS_MAX, HELD_BODY_MAX, MATCH_RULES_MAX, VALIDATED_BODY_MAX } from "./config.ts";
import type { Asked, Conversation } from "./conversation.ts";
import { interfaceArgument, stripped } from "./look.ts";
import { withBody } from "./originate.ts";
import type { Purpose } from "./pending.ts";

/** Longest body of a call to the bus driver: a match rule has 1 KiB, names 255 bytes. */
const DRIVER_BODY_MAX = 4096;
const NO_FDS: readonly number[] = [];

/** Refuses the driver call at hand; always DROP. */
type Refuse = (refusal: Refusal, argument?: string) => number;

export class ConsumerJudge implements Judge {
  private readonly c: Conversation;
  /** fds of the message that is being passed; they leave with its first byte. */
  private fds: readonly number[] = NO_FDS;

  constructor(conversation: Conversation) {
    this.c = conversation;
  }

  passChunk(start: number, end: number, first: boolean): void {
    this.c.up.range(start, end, first ? this.takeFds() : NO_FDS);
    this.c.up.busy = true;
  }
  passKept(bytes: Uint8Array, first: boolean): void {
    this.c.up.copy(bytes, first ? this.takeFds() : NO_FDS);
    this.c.up.busy = true;
  }
  boundary(): void {
    this.c.up.boundary();
  }

  judge(b: Uint8Array, at: number, available: number, h: Header): number {
    const total = h.headerLength + h.bodyLength;
    if (h.unixFds > FDS_MAX) return this.stop(`a message with ${h.unixFds} fds`);
    if (h.bodyLength <= VALIDATED_BODY_MAX) {
      // However it is cut: a message of ordinary size is decided on, and sent, whole.
      if (available < total) return total;
      const { at: sig, end: sigEnd } = h.signature;
      if (!validBody(b, at, at + sig, at + sigEnd, at + h.headerLength, at + total, h.littleEndian))
        return this.stop("malformed body");
    }
    const verdict =
      h.type === METHOD_CALL
        ? this.call(b, at, available, h)
        : h.type === SIGNAL
          ? this.signal(b, at, available, h)
          : this.reply(b, at, h);
    if (verdict > 0 || verdict === STOP) return verdict;
    const fds = this.c.consumerFds.take(h.unixFds);
    if (fds === undefined) return this.stop("fewer fds than UNIX_FDS says");
    if (verdict === DROP) {
      this.c.session.closeFds(fds);
      return DROP;
    }
    this.fds = fds;
    this.c.turns.moved();
    return PASS;
  }

  private stop(why: string): number {
    this.c.stop(`the consumer sent ${why}`);
    return STOP;
  }
  private takeFds(): readonly number[] {
    const { fds } = this;
    this.fds = NO_FDS;
    return fds;
  }
  private name(b: Uint8Array, at: number, span: Span): string {
    return span.at === 0 ? "" : this.c.names.get(b, at + span.at, at + span.end);
  }
  private asked(b: Uint8Array, at: number, h: Header, name: string, argument?: string): Asked {
    return {
      name,
      path: this.name(b, at, h.path),
      interface: this.name(b, at, h.interface),
      member: this.name(b, at, h.member),
      argument,
    };
  }

  // ---- calls ----

  private call(b: Uint8Array, at: number, available: number, h: Header): number {
    const { c } = this;
    const { view } = c;
    const destination = this.name(b, at, h.destination);
    if (!c.greeted) return this.greet(b, at, h, destination);
    if (destination === BUS_NAME) return this.driver(b, at, available, h);
    const iface = this.name(b, at, h.interface);
    const member = this.name(b, at, h.member);
    const path = this.name(b, at, h.path);
    let argument: string | undefined;
    if (needsArgument(view, iface)) {
      const found = interfaceArgument(b, at, available, h, member);
      if (typeof found === "number") return found;
      argument = found.text;
    }
    const refusal = decideCall(view, destination, iface, member, path, argument, (h.flags & NO_AUTO_START) !== 0);
    if (refusal !== undefined) {
      c.refuse(h, this.asked(b, at, h, destination, argument), refusal);
      return DROP;
    }
    if (view.rights.learn) c.lessons.learn("call", view.nameFor(destination), argument ?? iface, member, path);
    const strip = iface === OBJECT_MANAGER && member === "GetManagedObjects" && view.rights.filtered;
    return this.send(b, at, h, destination, strip ? "objects" : "call", "");
  }

  /** Gives a decided call its serial and remembers it. */
  private send(b: Uint8Array, at: number, h: Header, destination: string, purpose: Purpose, detail: string): number {
    const { calls, view } = this.c;
    if ((h.flags & NO_REPLY_EXPECTED) === 0) {
      if (calls.full) {
        const asked = this.asked(b, at, h, destination);
        this.c.refuse(h, asked, { error: "LimitsExceeded", rule: "calls without a reply" });
        return DROP;
      }
      const serial = calls.nextSerial();
      const owner = destination.startsWith(":") ? destination : view.owners.owner(destination);
      calls.add(serial, { purpose, serial: h.serial, destination, owner, detail });
      writeU32(b, at + SERIAL_AT, h.littleEndian, serial);
    } else writeU32(b, at + SERIAL_AT, h.littleEndian, calls.nextSerial());
    return PASS;
  }

  /** Hello comes first; before it a bus disconnects for anything to others and denies the rest. */
  private greet(b: Uint8Array, at: number, h: Header, destination: string): number {
    const { c } = this;
    const asked = this.asked(b, at, h, destination);
    if (destination !== BUS_NAME) return this.stop("a call before Hello");
    const sound = asked.member === "Hello" && (asked.interface === "" || asked.interface === BUS_INTERFACE);
    if (!sound || h.bodyLength > 0) {
      c.refuse(h, asked, { error: "AccessDenied", rule: "bus driver: Hello comes first" });
      return DROP;
    }
    c.greeted = true;
    if ((h.flags & NO_REPLY_EXPECTED) === 0) c.down.insert(c.answers!.hello(h.serial));
    return DROP;
  }

  private driver(b: Uint8Array, at: number, available: number, h: Header): number {
    const { c } = this;
    const { view } = c;
    const member = this.name(b, at, h.member);
    const signature = h.signature.at === 0 ? "" : ascii(b, at + h.signature.at, at + h.signature.end);
    const decision = decideDriver(view, this.name(b, at, h.interface), member, signature);
    const refuse: Refuse = (refusal, argument) => {
      c.refuse(h, { ...this.asked(b, at, h, BUS_NAME), argument }, refusal);
      return DROP;
    };
    if (!decision.ok) return refuse(decision.refusal);
    const { method } = decision;
    if (method.rule === "free") return this.send(b, at, h, BUS_NAME, "call", "");
    if (method.rule === "list") return this.send(b, at, h, BUS_NAME, view.rights.filtered ? "names" : "call", "");
    if (h.bodyLength > DRIVER_BODY_MAX)
      return refuse({ error: "LimitsExceeded", rule: "bus driver: argument too long" });
    const total = h.headerLength + h.bodyLength;
    if (available < total) return total;
    const argument = new BodyReader(b, at, at + h.headerLength, at + total, h.littleEndian).string() ?? "";
    if (method.rule === "add-match") return this.addMatch(b, at, h, argument, refuse);
    if (method.rule === "remove-match") return this.removeMatch(b, at, h, argument, refuse);
    return this.aboutName(b, at, h, method, member, argument, refuse);
  }

  private aboutName(
    b: Uint8Array,
    at: number,
    h: Header,
    method: DriverMethod,
    member: string,
    name: string,
    refuse: Refuse,
  ): number {
    const { c } = this;
    const { view } = c;
    if (method.rule === "has-owner" && !view.visible(name)) {
      c.audit("call", this.asked(b, at, h, BUS_NAME, name), view.rights.why(name));
      const { serial } = h;
      if ((h.flags & NO_REPLY_EXPECTED) === 0) c.answer(() => c.answers!.boolean(serial, false));
      return DROP;
    }
    const refusal = decideDriverName(view, method, name);
    if (refusal !== undefined) return refuse(refusal, name);
    if (view.rights.learn && !name.startsWith(":")) {
      // A name that is started must be one that may be called; Ping is the least of calls.
      if (method.rule === "start") c.lessons.learn("call", name, PEER, "Ping", "/");
      else c.lessons.learn(method.rule === "own" ? "own" : "see", name);
    }
    return this.send(b, at, h, BUS_NAME, member === "GetNameOwner" ? "owner" : "call", name);
  }

  private addMatch(b: Uint8Array, at: number, h: Header, text: string, refuse: Refuse): number {
    const parsed = parseMatchRule(text);
    if (!parsed.ok) return refuse({ error: parsed.error, rule: `match rule: ${parsed.why}` });
    const { matchRules } = this.c;
    if (matchRules.length >= MATCH_RULES_MAX)
      return refuse({ error: "LimitsExceeded", rule: `match rule: more than ${MATCH_RULES_MAX}` });
    const verdict = this.send(b, at, h, BUS_NAME, "match", parsed.rule.id);
    if (verdict === PASS) matchRules.push(parsed.rule);
    return verdict;
  }

  /** Only a rule that the consumer added: the same text may be a watch of ours. */
  private removeMatch(b: Uint8Array, at: number, h: Header, text: string, refuse: Refuse): number {
    const parsed = parseMatchRule(text);
    if (!parsed.ok) return refuse({ error: parsed.error, rule: `match rule: ${parsed.why}` });
    const { matchRules } = this.c;
    const index = matchRules.findLastIndex((rule) => rule.id === parsed.rule.id);
    if (index < 0) return refuse({ error: "MatchRuleNotFound", rule: "match rule: not there" });
    const verdict = this.send(b, at, h, BUS_NAME, "call", "");
    if (verdict === PASS) matchRules.splice(index, 1);
    return verdict;
  }

  // ---- replies and signals ----

  private reply(b: Uint8Array, at: number, h: Header): number {
    const { c } = this;
    const destination = this.name(b, at, h.destination);
    if (!c.greeted) return this.stop("a reply before Hello");
    if (!c.incoming.take(destination, h.replySerial)) {
      c.audit("reply", this.asked(b, at, h, destination), "reply to no call");
      return DROP;
    }
    writeU32(b, at + SERIAL_AT, h.littleEndian, c.calls.nextSerial());
    return PASS;
  }

  private signal(b: Uint8Array, at: number, available: number, h: Header): number {
    const { c } = this;
    const { view } = c;
    if (!c.greeted) return this.stop("a signal before Hello");
    const destination = this.name(b, at, h.destination);
    const iface = this.name(b, at, h.interface);
    const member = this.name(b, at, h.member);
    const path = this.name(b, at, h.path);
    if (view.rights.filtered && isObjectManagerSignal(iface, member))
      return this.objects(b, at, available, h, destination);
    let argument: string | undefined;
    if (needsArgument(view, iface)) {
      const found = interfaceArgument(b, at, available, h, member);
      if (typeof found === "number") return found;
      argument = found.text;
    }
    const refusal = decideOutgoingSignal(view, destination, iface, member, path, argument);
    if (refusal !== undefined) {
      c.audit("signal", this.asked(b, at, h, destination, argument), refusal.rule);
      return DROP;
    }
    writeU32(b, at + SERIAL_AT, h.littleEndian, c.calls.nextSerial());
    return PASS;
  }

  /** InterfacesAdded and InterfacesRemoved: without the interfaces that may not go out. */
  private objects(b: Uint8Array, at: number, available: number, h: Header, destination: string): number {
    const { c } = this;
    const member = this.name(b, at, h.member);
    const total = h.headerLength + h.bodyLength;
    if (h.bodyLength <= HELD_BODY_MAX && h.unixFds === 0) {
      if (available < total) return total;
      const keep = (path: string, iface: string): boolean =>
        decideOutgoingSignal(c.view, destination, iface, member, path, undefined) === undefined;
      const body = stripped(b, at, h, member, keep);
      if (body !== undefined) {
        writeU32(b, at + SERIAL_AT, h.littleEndian, c.calls.nextSerial());
        if (body.length === h.bodyLength) return PASS;
        c.turns.moved();
        c.up.insert(withBody(b, at, h, body));
        return DROP;
      }
    }
    c.audit("signal", this.asked(b, at, h, destination), "no interface of it may go out");
    return DROP;
  }
}
