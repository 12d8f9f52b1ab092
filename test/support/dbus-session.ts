/**
 * A filter between a consumer and a bus that a test plays: MemorySession with a bus that
 * answers what the filter itself asks (SASL, Hello, matches, owners, GetId) and hands
 * everything else to the test.
 */
import type { WireMessage } from "dbus-next/lib/message.js";
import { type DbusConfig, MESSAGE_MAX } from "../../src/mediators/dbus/config.ts";
import { DbusFilter } from "../../src/mediators/dbus/filter.ts";
import type { RightsConfig } from "../../src/policy/dbus/rights.ts";
import { CALL, ERROR, message, messagesIn, RETURN, read, SIGNAL } from "./dbus-wire.ts";
import { MemorySession } from "./memory-session.ts";

export const GUID = "0123456789abcdef0123456789abcdef";
export const SELF = ":1.5";
const BUS = "org.freedesktop.DBus";

export function rights(part: Partial<RightsConfig> = {}): RightsConfig {
  return { interfaces: null, lists: null, rule: "policy", learn: false, ...part };
}
export const lists = (part: Partial<NonNullable<RightsConfig["lists"]>> = {}): NonNullable<RightsConfig["lists"]> => ({
  see: [],
  talk: [],
  own: [],
  call: [],
  broadcast: [],
  ...part,
});
export function config(part: Partial<RightsConfig> = {}, maxMessage = MESSAGE_MAX): DbusConfig {
  return {
    provider: { pid: 0, path: "/bus", seqpacket: false },
    identity: { uid: 0, gid: 0 },
    rights: rights(part),
    maxMessage,
  };
}

export interface Fields extends Partial<WireMessage> {
  readonly type: number;
}

export class DbusSession {
  readonly session = new MemorySession({ type: "dbus", role: "operator" });
  readonly filter: DbusFilter;
  /** Owners of the names on the bus. */
  readonly owners = new Map<string, string>();
  /** Match rules that the bus holds. */
  readonly rules: string[] = [];
  /** What reached the bus and was not the filter's own. */
  readonly atBus: WireMessage[] = [];
  /** fds that came with it. */
  readonly bytesAtBus: Uint8Array[] = [];
  /** Calls that the bus keeps for later. */
  holdOwnReplies = false;
  private upstreamRead = 0;
  private downstreamRead = 0;
  private busSerial = 1000;
  private saslSeen = false;
  private helloSeen = false;
  private readonly fdPassing: boolean;

  constructor(
    configuration: DbusConfig,
    options: { owners?: Record<string, string>; fds?: boolean; state?: { halfOpen: number; heldFds: number } } = {},
  ) {
    for (const [name, owner] of Object.entries(options.owners ?? {})) this.owners.set(name, owner);
    this.fdPassing = options.fds ?? true;
    this.filter = new DbusFilter(this.session, configuration, options.state ?? { halfOpen: 0, heldFds: 0 });
    this.session.filter = this.filter;
  }

  /** Up to an answered Hello. */
  static open(
    configuration: DbusConfig,
    options: { owners?: Record<string, string>; fds?: boolean; state?: { halfOpen: number; heldFds: number } } = {},
  ): DbusSession {
    const s = new DbusSession(configuration, options);
    s.session.consumerSends("\0AUTH EXTERNAL\r\n");
    s.filter.onUpstreamConnected();
    s.pump();
    s.session.consumerSends("DATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n");
    s.skipHandshake();
    s.call({ destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member: "Hello", serial: 1 });
    s.received();
    return s;
  }

  /** The bus reads what there is and answers the filter's own calls. */
  pump(): void {
    for (;;) {
      const all = this.session.upstream.bytes;
      let fresh = all.subarray(this.upstreamRead);
      if (fresh.length === 0) return;
      this.upstreamRead = all.length;
      if (!this.helloSeen) {
        const text = Buffer.from(fresh).toString("latin1");
        if (!this.saslSeen) {
          this.saslSeen = true;
          this.session.providerSends(`DATA\r\nOK ${GUID}\r\n${this.fdPassing ? "AGREE_UNIX_FD" : "ERROR"}\r\n`);
          continue;
        }
        if (!text.startsWith("BEGIN\r\n")) throw new Error("no BEGIN");
        fresh = fresh.subarray(7);
        this.helloSeen = true;
      }
      for (const bytes of messagesIn(fresh)) this.atTheBus(bytes);
    }
  }

  private atTheBus(bytes: Uint8Array): void {
    const m = read(bytes);
    const own = m.type === CALL && m.destination === BUS && this.isOwn(m);
    if (!own) {
      this.atBus.push(m);
      this.bytesAtBus.push(bytes);
      return;
    }
    if (this.holdOwnReplies) return;
    const arg = m.body?.[0] as string;
    const reply = (signature: string, body: unknown[]): void =>
      this.bus({ type: RETURN, replySerial: m.serial, ...(signature === "" ? {} : { signature, body }) });
    if (m.member === "Hello") reply("s", [SELF]);
    else if (m.member === "GetId") reply("s", ["id"]);
    else if (m.member === "ListNames")
      reply("as", [[BUS, SELF, ...this.owners.keys(), ...new Set(this.owners.values())]]);
    else if (m.member === "GetNameOwner") {
      const owner = this.owners.get(arg);
      if (owner !== undefined) reply("s", [owner]);
      else
        this.bus({
          type: ERROR,
          replySerial: m.serial,
          errorName: "org.freedesktop.DBus.Error.NameHasNoOwner",
          signature: "s",
          body: ["no"],
        });
    } else {
      if (m.member === "AddMatch") this.rules.push(arg);
      else this.rules.splice(this.rules.indexOf(arg), 1);
      reply("", []);
    }
  }
  /** The test's own calls of the same members carry this flag so that they are told apart. */
  private isOwn(m: WireMessage): boolean {
    return (
      ((m.flags ?? 0) & 0x80) === 0 &&
      ["Hello", "GetId", "ListNames", "GetNameOwner", "AddMatch", "RemoveMatch"].includes(m.member ?? "")
    );
  }

  /** The consumer calls. Flag 0x80 (unknown flags are ignored) marks it as the consumer's. */
  call(fields: Partial<WireMessage>, fds: readonly number[] = []): void {
    this.send({ type: CALL, path: "/", ...fields, flags: (fields.flags ?? 0) | 0x80 }, fds);
  }
  send(fields: Fields, fds: readonly number[] = [], split = 0): void {
    this.session.consumerSends(message(fields), fds, split);
    this.pump();
  }
  /** The bus itself speaks. */
  bus(fields: Fields, fds: readonly number[] = [], split = 0): void {
    this.from(BUS, fields, fds, split);
  }
  from(sender: string, fields: Fields, fds: readonly number[] = [], split = 0): void {
    const broadcast = fields.type === SIGNAL && fields.destination === undefined;
    const m = { serial: this.busSerial++, sender, ...(broadcast ? {} : { destination: SELF }), ...fields };
    this.session.providerSends(message(m), fds, split);
    this.pump();
  }
  nameOwnerChanged(name: string, before: string, after: string): void {
    if (after === "") this.owners.delete(name);
    else if (!name.startsWith(":")) this.owners.set(name, after);
    this.bus({
      type: SIGNAL,
      path: "/org/freedesktop/DBus",
      interface: BUS,
      member: "NameOwnerChanged",
      signature: "sss",
      body: [name, before, after],
    });
  }
  skipHandshake(): void {
    this.downstreamRead = this.session.downstream.bytes.length;
  }
  /** Messages that the consumer got since the last time. */
  received(): WireMessage[] {
    const all = this.session.downstream.bytes;
    const fresh = all.subarray(this.downstreamRead);
    this.downstreamRead = all.length;
    return messagesIn(fresh).map(read);
  }
  /** The only message received, as "type error-or-first-argument". */
  answer(): string {
    const got = this.received();
    if (got.length !== 1) throw new Error(`${got.length} messages`);
    const [m] = got;
    return m!.type === ERROR
      ? m!.errorName!.replace("org.freedesktop.DBus.Error.", "")
      : JSON.stringify(m!.body?.[0] ?? null);
  }
}
