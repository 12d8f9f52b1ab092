/**
 * Keeps the owners of the names that the rights speak of: asks for their changes
 * (NameOwnerChanged) first and for their owners then, so that nothing falls between.
 * Replies and signals come in the bus's order, so the last word is the right one.
 */

import type { View } from "../../policy/dbus/decide.ts";
import { BUS_INTERFACE, BUS_NAME, BUS_PATH } from "../../policy/dbus/driver.ts";
import { TRACKED_NAMES_MAX } from "../../policy/dbus/owners.ts";
import { under } from "../../policy/dbus/rule.ts";
import { driverCall } from "./originate.ts";
import type { Call, OutgoingCalls } from "./pending.ts";
import type { Pipe } from "./pipe.ts";

const RULE = `type='signal',sender='${BUS_NAME}',path='${BUS_PATH}',interface='${BUS_INTERFACE}',member='NameOwnerChanged'`;

/** Above, one rule for all names: the bus allows a connection 512, and they are the consumer's. */
const RULES_MAX = 32;

export class Watch {
  private readonly view: View;
  private readonly calls: OutgoingCalls;
  private readonly upstream: Pipe;
  private names: ReadonlySet<string> = new Set();
  private namespaces: readonly string[] = [];
  private everything = false;
  /** Match rules of ours on the bus. */
  private rules: ReadonlySet<string> = new Set();
  private outstanding = 0;

  constructor(view: View, calls: OutgoingCalls, upstream: Pipe) {
    this.view = view;
    this.calls = calls;
    this.upstream = upstream;
  }

  /** All that was asked has been answered. */
  get settled(): boolean {
    return this.outstanding === 0;
  }
  /** Whether the bus sends NameOwnerChanged for our own sake. */
  get active(): boolean {
    return this.rules.size > 0;
  }
  covers(name: string): boolean {
    if (name.startsWith(":") || name === BUS_NAME) return false;
    return this.everything || this.names.has(name) || this.namespaces.some((ns) => under(name, ns));
  }

  /** Brings the watches in line with the rights: at the start, and when they change. False: can't be sent. */
  align(): boolean {
    const wanted = this.view.rights.watched();
    this.everything = wanted === null;
    this.names = new Set(wanted?.names);
    this.namespaces = wanted?.namespaces ?? [];
    const rules = new Set<string>();
    if (this.everything) rules.add(RULE);
    for (const name of this.names) rules.add(`${RULE},arg0='${name}'`);
    for (const ns of this.namespaces) rules.add(`${RULE},arg0namespace='${ns}'`);
    if (rules.size > RULES_MAX) {
      rules.clear();
      rules.add(RULE);
    }
    const added = [...rules].filter((rule) => !this.rules.has(rule));
    const removed = [...this.rules].filter((rule) => !rules.has(rule));
    this.rules = rules;
    this.view.owners.keepOnly((name) => this.covers(name));
    let sent = true;
    for (const rule of added) sent = this.ask("watch", "AddMatch", "s", [rule], rule) && sent;
    for (const rule of removed) sent = this.ask("watch", "RemoveMatch", "s", [rule], "") && sent;
    if (added.length === 0) return sent;
    for (const name of this.names) sent = this.askOwner(name) && sent;
    if (this.everything || this.namespaces.length > 0)
      sent = this.ask("watched-names", "ListNames", "", [], "") && sent;
    return sent;
  }

  /** A reply to a call of ours. `text`: the owner, "" for an error. */
  ownerIs(call: Call, owner: string): void {
    this.outstanding--;
    if (this.covers(call.detail)) this.view.owners.set(call.detail, owner);
  }
  answered(): void {
    this.outstanding--;
  }
  namesAre(names: readonly string[]): boolean {
    this.outstanding--;
    let asked = 0;
    for (const name of names) {
      if (!this.covers(name) || this.names.has(name)) continue;
      if (++asked > TRACKED_NAMES_MAX) break;
      if (!this.askOwner(name)) return false;
    }
    return true;
  }

  private askOwner(name: string): boolean {
    return this.ask("watched-owner", "GetNameOwner", "s", [name], name);
  }
  private ask(purpose: Call["purpose"], member: string, signature: string, body: unknown[], detail: string): boolean {
    const serial = this.calls.nextSerial();
    if (!this.upstream.insert(driverCall(serial, member, signature, body))) return false;
    this.calls.add(serial, { purpose, serial: 0, destination: BUS_NAME, owner: undefined, detail });
    this.outstanding++;
    return true;
  }
}
