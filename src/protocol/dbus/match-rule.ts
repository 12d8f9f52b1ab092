/**
 * Match rules: parsed with the daemon's grammar, compared and applied to signals.
 * Source: D-Bus Specification, "Match Rules", and the quoting of bus/signals.c
 * (a backslash outside quotes escapes a quote and nothing else).
 *
 * Stricter than the daemon, so that no other parser can read a rule differently:
 * keys are lower-case words, an empty key is an error anywhere but at the end (the
 * daemon silently ignores the rest of the rule after one), and so is a 17th key.
 */
import { isBusName, isInterface, isMember, isNamespace, isPath } from "./names.ts";

/** DBUS_MAXIMUM_MATCH_RULE_LENGTH, in bytes; counted in characters here, which is never more. */
const MAX_RULE = 1024;
/** MAX_RULE_TOKENS of the daemon. */
const MAX_KEYS = 16;
/** DBUS_MAXIMUM_MATCH_RULE_ARG_NUMBER */
const MAX_ARG = 63;

export interface MatchRule {
  /** Keys and values, sorted: two rules that mean the same have the same `id`. */
  readonly id: string;
  readonly keys: ReadonlyMap<string, string>;
}

export type ParsedRule =
  | { readonly ok: true; readonly rule: MatchRule }
  | {
      readonly ok: false;
      readonly error: "MatchRuleInvalid" | "LimitsExceeded" | "AccessDenied";
      readonly why: string;
    };

const invalid = (why: string): ParsedRule => ({ ok: false, error: "MatchRuleInvalid", why });

export function parseMatchRule(text: string): ParsedRule {
  if (text.length > MAX_RULE) return { ok: false, error: "LimitsExceeded", why: "rule longer than 1024 bytes" };
  const keys = new Map<string, string>();
  let at = 0;
  while (at < text.length) {
    const found = /[ \t\n\r]*([a-z0-9_]*)[ \t\n\r]*/y;
    found.lastIndex = at;
    const key = found.exec(text)?.[1] ?? "";
    at = found.lastIndex;
    if (key === "") {
      if (at === text.length) break;
      return invalid("a value without a key");
    }
    if (text[at] !== "=") return invalid(`key ${key} without a value`);
    const value = readValue(text, at + 1);
    if (value === undefined) return invalid("unbalanced quotes");
    at = value.next;
    if (key === "eavesdrop") return { ok: false, error: "AccessDenied", why: "eavesdrop" };
    if (keys.has(key)) return invalid(`key ${key} twice`);
    if (keys.size === MAX_KEYS) return invalid("more than 16 keys");
    const wrong = check(key, value.text);
    if (wrong !== undefined) return invalid(wrong);
    keys.set(key, value.text);
  }
  if (keys.has("path") && keys.has("path_namespace")) return invalid("path and path_namespace");
  const id = JSON.stringify([...keys].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { ok: true, rule: { id, keys } };
}

/** The value from `at` to the next comma outside quotes. Undefined: a quote is left open. */
function readValue(text: string, at: number): { text: string; next: number } | undefined {
  let out = "";
  let quoted = false;
  for (let i = at; i < text.length; i++) {
    const c = text[i]!;
    if (quoted) {
      if (c === "'") quoted = false;
      else out += c;
    } else if (c === "'") quoted = true;
    else if (c === ",") return { text: out, next: i + 1 };
    else if (c === "\\") {
      // Escapes a quote; before anything else both characters stand for themselves.
      if (text[i + 1] === "'") out += text[++i];
      else if (i + 1 < text.length) out += c + text[++i]!;
      else out += c;
    } else out += c;
  }
  return quoted ? undefined : { text: out, next: text.length };
}

const TYPES = ["signal", "method_call", "method_return", "error"];

function check(key: string, value: string): string | undefined {
  let sound: boolean;
  if (key === "type") sound = TYPES.includes(value);
  else if (key === "sender" || key === "destination") sound = isBusName(value);
  else if (key === "interface") sound = isInterface(value);
  else if (key === "member") sound = isMember(value);
  else if (key === "path" || key === "path_namespace") sound = isPath(value);
  else if (key === "arg0namespace") sound = isNamespace(value);
  else {
    const n = /^arg(0|[1-9][0-9]?)(path)?$/.exec(key)?.[1];
    if (n === undefined) return `unknown key ${key}`;
    sound = Number(n) <= MAX_ARG;
  }
  return sound ? undefined : `${key} '${value}' is not valid`;
}

/** What a rule is held against: a broadcast signal with string arguments only. */
export interface SignalFacts {
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly args: readonly string[];
}

/** Whether the bus would deliver `signal` because of `rule`. */
export function matches(rule: MatchRule, signal: SignalFacts): boolean {
  for (const [key, value] of rule.keys) if (!keyMatches(key, value, signal)) return false;
  return true;
}

function keyMatches(key: string, value: string, signal: SignalFacts): boolean {
  switch (key) {
    case "type":
      return value === "signal";
    case "sender":
      return value === signal.sender;
    case "interface":
      return value === signal.interface;
    case "member":
      return value === signal.member;
    case "path":
      return value === signal.path;
    case "path_namespace":
      return value === "/" || within(signal.path, value, "/");
    case "arg0namespace":
      return signal.args[0] !== undefined && within(signal.args[0], value, ".");
    case "destination":
      return false; // A broadcast has none.
    default: {
      const [, n, path] = /^arg(\d+)(path)?$/.exec(key) ?? [];
      const arg = signal.args[Number(n)];
      if (arg === undefined) return false;
      if (path === undefined) return arg === value;
      return (
        arg === value || (value.endsWith("/") && arg.startsWith(value)) || (arg.endsWith("/") && value.startsWith(arg))
      );
    }
  }
}

/** Equal, or below it in whole elements. */
function within(name: string, namespace: string, separator: string): boolean {
  return name.startsWith(namespace) && (name.length === namespace.length || name[namespace.length] === separator);
}
