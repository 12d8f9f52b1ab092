/**
 * Warnings on a bus's own policy, held against the links of a graph: roles that can't do
 * there what their links are for, and policies that are open to everybody. Pure.
 */
import type { BusPolicy, BusRule } from "../../protocol/dbus/busconfig.ts";
import { type BusUser, mayCall, mayOwn, rulesFor } from "./bus-policy.ts";
import { under } from "./rule.ts";

/** A D-Bus link, as far as its bus is concerned. */
export interface BusLink {
  readonly consumer: string;
  readonly name: string;
  readonly role: string;
  /** Prefixes of its `interface`; null: no filter, so nothing is known of what it needs. */
  readonly interfaces: readonly string[] | null;
  /** Names that policy lets the role own. */
  readonly own: readonly string[];
  readonly user: BusUser;
}

const place = (rule: BusRule): string => `${rule.file}:${rule.line}`;
const by = (rule: BusRule | undefined): string =>
  rule === undefined ? "no rule allows it" : `denied at ${place(rule)}`;

/** `place: what is wrong`, one for each thing; the same thing is said once. */
export function checkBusPolicy(policies: readonly BusPolicy[], links: readonly BusLink[]): string[] {
  const warnings = new Set<string>();
  for (const link of links) for (const warning of unable(policies, link)) warnings.add(warning);
  for (const warning of openToAll(policies)) warnings.add(warning);
  return [...warnings];
}

function unable(policies: readonly BusPolicy[], link: BusLink): string[] {
  const rules = rulesFor(policies, link.user);
  const { uid } = link.user;
  const who = `consumer ${JSON.stringify(link.consumer)} with role ${JSON.stringify(link.role)}${uid === undefined ? "" : ` (uid ${uid})`}`;
  const out: string[] = [];
  for (const prefix of link.interfaces ?? []) {
    const named = (key: string): string[] =>
      [...new Set([prefix, ...rules.map((r) => r.attributes[key] ?? "")])].filter((n) => under(n, prefix));
    const destinations = named("send_destination");
    const interfaces = named("send_interface");
    const possible = destinations.some((destination) =>
      interfaces.some((iface) => mayCall(rules, { destination, interface: iface }).allowed),
    );
    if (possible) continue;
    const { rule } = mayCall(rules, { destination: prefix, interface: prefix });
    out.push(`service ${JSON.stringify(link.name)}: ${who} can't call ${prefix} on its bus: ${by(rule)}`);
  }
  for (const name of link.own) {
    const plain = name.replace(/\.\*$/, "");
    const decision = mayOwn(rules, plain);
    if (!decision.allowed)
      out.push(`service ${JSON.stringify(link.name)}: ${who} can't own ${plain} on its bus: ${by(decision.rule)}`);
  }
  return out;
}

/** Rules for everybody that give away what the bus is there to keep apart. */
function openToAll(policies: readonly BusPolicy[]): string[] {
  const out: string[] = [];
  for (const { scope, rules } of policies) {
    const everybody =
      scope.kind === "default" ||
      scope.kind === "mandatory" ||
      ((scope.kind === "user" || scope.kind === "group") && scope.name === "*");
    if (!everybody) continue;
    for (const rule of rules) {
      const what = rule.allow && !takenBack(rule, rules) ? givesAway(rule) : undefined;
      if (what !== undefined) out.push(`${place(rule)}: open to all: ${what}`);
    }
  }
  return out;
}

/** A later rule of the same policy that says the opposite in the same words. */
function takenBack(rule: BusRule, rules: readonly BusRule[]): boolean {
  const words = JSON.stringify(Object.entries(rule.attributes).sort());
  const later = rules.slice(rules.indexOf(rule) + 1);
  return later.some((r) => !r.allow && JSON.stringify(Object.entries(r.attributes).sort()) === words);
}

function givesAway({ attributes: a }: BusRule): string | undefined {
  if (a["own"] === "*") return "every role may own every name";
  if (a["own"] !== undefined) return `every role may own ${a["own"]}`;
  if (a["own_prefix"] !== undefined) return `every role may own ${a["own_prefix"]} and the names below it`;
  if (a["eavesdrop"] === "true") return "every role may read what is sent to others";
  const calls = (a["send_type"] ?? "method_call") === "method_call" || a["send_type"] === "*";
  const limits = Object.keys(a).filter((key) => key.startsWith("send_") && !(key === "send_type" || a[key] === "*"));
  if (
    calls &&
    limits.length === 0 &&
    Object.keys(a).some((key) => key.startsWith("send_")) &&
    a["send_requested_reply"] === undefined
  )
    return "every role may call everything";
  if (
    calls &&
    limits.length === 1 &&
    limits[0] === "send_destination" &&
    a["send_destination"] !== "org.freedesktop.DBus"
  )
    return `every role may call all of ${a["send_destination"]}`;
  return undefined;
}
