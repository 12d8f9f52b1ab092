/** The bus's messages: replies to their caller, signals by the rights of their sender, calls with a note that one is owed an answer. */
import { isObjectManagerSignal, mayHear, needsArgument } from "../../policy/dbus/decide.ts";
import { BUS_INTERFACE, BUS_NAME } from "../../policy/dbus/driver.ts";
import { METHOD_CALL, METHOD_RETURN, NO_REPLY_EXPECTED, SIGNAL } from "../../protocol/dbus/constants.ts";
import { DROP, type Judge, PASS, STOP } from "../../protocol/dbus/framer.ts";
import type { Header, Span } from "../../protocol/dbus/header.ts";
import { writeU32 } from "../../protocol/dbus/integers.ts";
import { ascii } from "../../protocol/dbus/intern.ts";
import { matches } from "../../protocol/dbus/match-rule.ts";
import { BodyReader } from "../../protocol/dbus/peek.ts";
import { FDS_MAX, HELD_BODY_MAX } from "./config.ts";
import type { Conversation } from "./conversation.ts";
import { interfaceArgument, stripped, visibleNames } from "./look.ts";
import { Answers, errorTo, withBody } from "./originate.ts";
import type { Call } from "./pending.ts";

/** NameOwnerChanged and the replies that we read: three names of 255 bytes. */
const SHORT_BODY_MAX = 4096;
/** Names that our own ListNames may bring: far above what is tracked. */
const NAMES_MAX = 16_384;
/** Longest list of names that is filtered for the consumer: thousands of them. */
const NAMES_BODY_MAX = 256 * 1024;
const NO_FDS: readonly number[] = [];

export class ProviderJudge implements Judge {
  private readonly c: Conversation;
  /** Hello was answered, with our unique name. */
  private readonly onHello: (self: string) => void;
  private fds: readonly number[] = NO_FDS;

  constructor(conversation: Conversation, onHello: (self: string) => void) {
    this.c = conversation;
    this.onHello = onHello;
  }

  passChunk(start: number, end: number, first: boolean): void {
    this.c.down.range(start, end, first ? this.takeFds() : NO_FDS);
    this.c.down.busy = true;
  }
  passKept(bytes: Uint8Array, first: boolean): void {
    this.c.down.copy(bytes, first ? this.takeFds() : NO_FDS);
    this.c.down.busy = true;
  }
  boundary(): void {
    this.c.down.boundary();
  }
  skipping(): void {
    // How many fds are its own was not read: those that came so far.
    this.c.session.closeFds(this.c.providerFds.drain());
    this.c.session.log("debug", "a message with too long a header was dropped");
  }

  judge(b: Uint8Array, at: number, available: number, h: Header): number {
    const sender = this.name(b, at, h.sender);
    let verdict: number;
    if (h.type === SIGNAL) verdict = this.signal(b, at, available, h, sender);
    else if (h.type === METHOD_CALL) verdict = this.call(h, sender);
    else verdict = this.reply(b, at, available, h, sender);
    if (verdict > 0 || verdict === STOP) return verdict;
    const fds = this.c.providerFds.take(h.unixFds);
    if (fds === undefined) return this.stop("fewer fds than UNIX_FDS says");
    if (verdict === DROP) {
      this.c.session.closeFds(fds);
      return DROP;
    }
    this.fds = fds;
    return PASS;
  }

  /** fds that the consumer can't be given. */
  private unfit(h: Header): boolean {
    return h.unixFds > FDS_MAX || (h.unixFds > 0 && !this.c.fdsAgreed);
  }
  private stop(why: string): number {
    this.c.stop(`the bus sent ${why}`);
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
  private body(b: Uint8Array, at: number, h: Header): BodyReader {
    const from = at + h.headerLength;
    return new BodyReader(b, at, from, from + h.bodyLength, h.littleEndian);
  }
  private hasSignature(b: Uint8Array, at: number, h: Header, wanted: string): boolean {
    return h.signature.at !== 0 && ascii(b, at + h.signature.at, at + h.signature.end) === wanted;
  }

  // ---- replies ----

  private reply(b: Uint8Array, at: number, available: number, h: Header, sender: string): number {
    const { c } = this;
    const call = c.calls.get(h.replySerial);
    if (call === undefined || !this.isFrom(call, sender)) {
      c.session.log("debug", `a reply of ${sender} to no call was dropped`);
      return DROP;
    }
    if (call.serial === 0) return this.ownReply(b, at, available, h, call);
    const total = h.headerLength + h.bodyLength;
    const returned = h.type === METHOD_RETURN;
    const rewritten = returned && (call.purpose === "names" || call.purpose === "objects");
    const read = returned && (call.purpose === "owner" || call.purpose === "request");
    if ((rewritten && h.bodyLength <= HELD_BODY_MAX) || (read && h.bodyLength <= SHORT_BODY_MAX)) {
      if (available < total) return total;
    }
    c.calls.remove(h.replySerial);
    if (this.unfit(h)) {
      this.replace(call, "LimitsExceeded", "The reply has more file descriptors than this connection takes");
      return DROP;
    }
    if (call.purpose === "match" && !returned) this.forgetRule(call.detail);
    if (rewritten) {
      if (call.purpose === "names") return this.names(b, at, h, call);
      return this.objects(b, at, h, call, sender);
    }
    if (read && this.hasSignature(b, at, h, "s") && c.watch.covers(call.detail)) {
      const owner = this.body(b, at, h).string();
      if (owner !== undefined) c.view.owners.set(call.detail, owner);
    }
    writeU32(b, at + h.replySerialAt, h.littleEndian, call.serial);
    return PASS;
  }

  /** Only the callee's own reply counts, or the bus's on its behalf. */
  private isFrom(call: Call, sender: string): boolean {
    if (sender === BUS_NAME || call.serial === 0) return sender === BUS_NAME;
    if (sender === call.owner) return true;
    if (call.destination.startsWith(":") || !sender.startsWith(":")) return false;
    // The owner was not known then (started by the call, or not watched), or has changed since.
    if (!this.c.watch.covers(call.destination)) return true;
    return this.c.view.owners.owner(call.destination) === sender;
  }

  private replace(call: Call, error: string, text: string): void {
    if (!this.c.down.insert(this.c.answers!.error(call.serial, error, text)))
      this.c.stop("answers pile up while one message streams");
  }
  private forgetRule(id: string): void {
    const index = this.c.matchRules.findLastIndex((rule) => rule.id === id);
    if (index >= 0) this.c.matchRules.splice(index, 1);
  }

  /** ListNames: what is hidden is not there. */
  private names(b: Uint8Array, at: number, h: Header, call: Call): number {
    const { c } = this;
    const held = h.bodyLength <= NAMES_BODY_MAX && h.unixFds === 0;
    const body = held ? visibleNames(b, at, h, (name) => c.view.visible(name)) : undefined;
    return this.rewritten(b, at, h, call, body, "The list of names can't be filtered");
  }

  /** GetManagedObjects: what a GetAll would be refused for is not there. */
  private objects(b: Uint8Array, at: number, h: Header, call: Call, sender: string): number {
    const { c } = this;
    const keep = (path: string, iface: string): boolean => {
      const kept = c.view.some(call.destination, (name) => c.view.rights.mayCall(name, iface, "GetAll", path));
      if (kept && c.view.rights.learn) c.lessons.learn("call", c.view.nameFor(sender), iface, "GetAll", path);
      return kept;
    };
    const held = h.bodyLength <= HELD_BODY_MAX && h.unixFds === 0;
    const body = held ? stripped(b, at, h, "GetManagedObjects", keep) : undefined;
    return this.rewritten(b, at, h, call, body, "The list of objects can't be filtered");
  }

  /** The reply with another body, or an error where there is none. */
  private rewritten(
    b: Uint8Array,
    at: number,
    h: Header,
    call: Call,
    body: Uint8Array | undefined,
    why: string,
  ): number {
    if (body === undefined) {
      this.replace(call, "LimitsExceeded", why);
      return DROP;
    }
    writeU32(b, at + h.replySerialAt, h.littleEndian, call.serial);
    if (body.length === h.bodyLength) return PASS;
    this.c.down.insert(withBody(b, at, h, body));
    return DROP;
  }

  private ownReply(b: Uint8Array, at: number, available: number, h: Header, call: Call): number {
    const { c } = this;
    const total = h.headerLength + h.bodyLength;
    const returned = h.type === METHOD_RETURN;
    if (returned && h.bodyLength > HELD_BODY_MAX) return this.stop("too long an answer to a call of ours");
    if (available < total) return total;
    c.calls.remove(h.replySerial);
    const first = returned && this.hasSignature(b, at, h, "s") ? this.body(b, at, h).string() : undefined;
    switch (call.purpose) {
      case "hello":
        if (first === undefined || !first.startsWith(":")) return this.stop("no unique name");
        c.view.self = first;
        c.answers = new Answers(first);
        this.onHello(first);
        break;
      case "turn":
        if (!c.turns.come(h.replySerial)) return this.stop("answers pile up while one message streams");
        break;
      case "watched-owner":
        c.watch.ownerIs(call, first ?? "");
        break;
      case "watched-names": {
        const names =
          returned && this.hasSignature(b, at, h, "as") ? this.body(b, at, h).strings(NAMES_MAX) : undefined;
        if (!c.watch.namesAre(names ?? [])) return this.stop("names faster than they can be asked for");
        break;
      }
      default:
        c.watch.answered();
        if (!returned) c.session.log("warn", `the bus refuses to report owners: ${call.detail}`);
    }
    return c.over ? STOP : DROP;
  }

  // ---- calls ----

  private call(h: Header, sender: string): number {
    const { c } = this;
    if (sender === "") return DROP;
    const replies = (h.flags & NO_REPLY_EXPECTED) === 0;
    const deaf = !c.greeted || this.unfit(h);
    if (deaf || (replies && !c.incoming.add(sender, h.serial))) {
      const error = deaf ? "Failed" : "LimitsExceeded";
      const text = deaf ? "The callee can't take this call" : "The callee has too many calls to answer";
      // Too many of them while a message streams up: the caller has no answer, which is its own doing.
      if (replies) c.up.insert(errorTo(c.calls.nextSerial(), sender, h.serial, error, text));
      return DROP;
    }
    c.view.meet(sender);
    return PASS;
  }

  // ---- signals ----

  private signal(b: Uint8Array, at: number, available: number, h: Header, sender: string): number {
    const { c } = this;
    const { view } = c;
    const iface = this.name(b, at, h.interface);
    const member = this.name(b, at, h.member);
    if (sender === BUS_NAME) return this.driverSignal(b, at, available, h, iface, member);
    if (!c.greeted || this.unfit(h)) return DROP;
    const path = this.name(b, at, h.path);
    if (view.rights.filtered && sender !== view.self && isObjectManagerSignal(iface, member))
      return this.objectsChanged(b, at, available, h, sender, member);
    let argument: string | undefined;
    if (needsArgument(view, iface)) {
      const found = interfaceArgument(b, at, available, h, member);
      if (typeof found === "number") return found;
      argument = found.text;
    }
    if (!mayHear(view, sender, iface, member, path, argument, h.destination.at !== 0)) {
      c.audit(
        "receive",
        { name: view.nameFor(sender), path, interface: iface, member, argument },
        "signal not allowed",
      );
      return DROP;
    }
    if (view.rights.learn) c.lessons.learn("broadcast", view.nameFor(sender), argument ?? iface, member, path);
    return PASS;
  }

  /** InterfacesAdded and InterfacesRemoved: without the interfaces that are not to be known. */
  private objectsChanged(
    b: Uint8Array,
    at: number,
    available: number,
    h: Header,
    sender: string,
    member: string,
  ): number {
    const { c } = this;
    const total = h.headerLength + h.bodyLength;
    if (h.bodyLength <= HELD_BODY_MAX && h.unixFds === 0) {
      if (available < total) return total;
      const unicast = h.destination.at !== 0;
      const keep = (path: string, iface: string): boolean =>
        mayHear(c.view, sender, iface, member, path, undefined, unicast);
      const body = stripped(b, at, h, member, keep);
      if (body?.length === h.bodyLength) return PASS;
      if (body !== undefined) {
        c.down.insert(withBody(b, at, h, body));
        return DROP;
      }
    }
    const name = c.view.nameFor(sender);
    const asked = { name, path: this.name(b, at, h.path), interface: this.name(b, at, h.interface), member };
    c.audit("receive", { ...asked, argument: undefined }, "no interface of it is allowed");
    return DROP;
  }

  private driverSignal(b: Uint8Array, at: number, available: number, h: Header, iface: string, member: string): number {
    const { c } = this;
    const changed = iface === BUS_INTERFACE && member === "NameOwnerChanged" && h.destination.at === 0;
    // Without a watch of ours every one that comes was asked for by the consumer; with a filter it may still be about a hidden name.
    if (!changed || !(c.watch.active || c.view.rights.filtered)) {
      // The one for Hello was told with our answer to the consumer's own.
      return c.greeted ? PASS : DROP;
    }
    if (h.bodyLength > SHORT_BODY_MAX || !this.hasSignature(b, at, h, "sss"))
      return this.stop("a NameOwnerChanged of another form");
    const total = h.headerLength + h.bodyLength;
    if (available < total) return total;
    const body = this.body(b, at, h);
    const [name, before, after] = [body.string(), body.string(), body.string()];
    if (name === undefined || before === undefined || after === undefined)
      return this.stop("a malformed NameOwnerChanged");
    return this.ownerChanged(name, before, after, this.name(b, at, h.path)) ? PASS : DROP;
  }

  /** Takes note; true when the consumer may and would have been told by the bus itself. */
  private ownerChanged(name: string, before: string, after: string, path: string): boolean {
    const { c } = this;
    const { view } = c;
    const seen = view.visible(name);
    if (c.watch.covers(name) && !view.owners.set(name, after))
      c.session.log("warn", `more names than can be tracked: ${name} has no rights through its owner`);
    const unique = name.startsWith(":");
    // Names are lost before the connection: its end is told to who could see it until then.
    if (!unique && seen && before !== "" && before !== after) view.departs(before);
    const visible = seen || view.visible(name) || (unique && after === "" && view.departed(name));
    if (unique && after === "") {
      view.forget(name);
      c.incoming.drop(name);
    }
    if (!c.greeted || !visible) return false;
    const signal = { sender: BUS_NAME, path, interface: BUS_INTERFACE, member: "NameOwnerChanged" };
    return c.matchRules.some((rule) => matches(rule, { ...signal, args: [name, before, after] }));
  }
}
