/**
 * What a bus's own policy allows, as dbus-daemon decides it (dbus-daemon(1), "policy"):
 * the default policies, then those of the groups, of the user, at_console, then the mandatory
 * ones; within that the last rule that applies wins, and where none does the answer is no.
 */
import type { BusPolicy, BusRule } from "../../protocol/dbus/busconfig.ts";

export interface BusUser {
  /** Undefined where the role's uid is not known: then its name stands for it. */
  readonly uid: number | undefined;
  readonly name: string;
  /** Names and numbers of its groups. */
  readonly groups: readonly string[];
}

/** A decision with the rule that made it; undefined: no rule applies, which is a no. */
export interface BusDecision {
  readonly allowed: boolean;
  readonly rule: BusRule | undefined;
}

export interface BusCall {
  readonly destination: string;
  readonly interface: string;
  readonly member?: string;
  readonly path?: string;
}

const ORDER = ["default", "group", "user", "at_console", "mandatory"] as const;

/** The rules for a user, in the order in which they are applied. */
export function rulesFor(policies: readonly BusPolicy[], user: BusUser): BusRule[] {
  return ORDER.flatMap((kind) =>
    policies.filter((p) => p.scope.kind === kind && appliesTo(p, user)).flatMap((p) => p.rules),
  );
}

function appliesTo({ scope }: BusPolicy, user: BusUser): boolean {
  switch (scope.kind) {
    case "user":
      return (
        scope.name === "*" ||
        scope.name === user.name ||
        (user.uid !== undefined && scope.name === String(user.uid)) ||
        (scope.name === "root" && user.uid === 0)
      );
    case "group":
      return scope.name === "*" || user.groups.includes(scope.name);
    case "at_console":
      return false; // A container's consumer has no console.
    default:
      return true;
  }
}

function last(rules: readonly BusRule[], applies: (a: Readonly<Record<string, string>>) => boolean): BusDecision {
  const rule = rules.findLast((r) => applies(r.attributes));
  return { allowed: rule?.allow ?? false, rule };
}

export function mayOwn(rules: readonly BusRule[], name: string): BusDecision {
  return last(rules, (a) => {
    if (a["own"] !== undefined) return a["own"] === "*" || a["own"] === name;
    const prefix = a["own_prefix"];
    return prefix !== undefined && (name === prefix || name.startsWith(`${prefix}.`));
  });
}

export function mayCall(rules: readonly BusRule[], call: BusCall): BusDecision {
  return last(rules, (a) => isSendRule(a) && matchesCall(a, call));
}

const isSendRule = (a: Readonly<Record<string, string>>): boolean =>
  Object.keys(a).some((key) => key.startsWith("send_"));

function matchesCall(a: Readonly<Record<string, string>>, call: BusCall): boolean {
  const is = (key: string, value: string | undefined): boolean =>
    a[key] === undefined || a[key] === "*" || value === undefined || a[key] === value;
  if (!is("send_type", "method_call") || a["send_broadcast"] === "true") return false;
  // Rules on errors are about other messages, whatever else they say.
  if (a["send_error"] !== undefined && a["send_error"] !== "*") return false;
  const prefix = a["send_destination_prefix"];
  if (prefix !== undefined && call.destination !== prefix && !call.destination.startsWith(`${prefix}.`)) return false;
  return (
    is("send_destination", call.destination) &&
    is("send_interface", call.interface) &&
    is("send_member", call.member) &&
    is("send_path", call.path)
  );
}
