/**
 * One `call` or `broadcast` rule: `[NAME=]interface.member[@path]`.
 *
 * - `*` alone: every member of every interface.
 * - the member may be `*`; the interface may end in `.*`, which takes it and those below it.
 * - the path may be absent (every path), exact, or contain `*` for one element and a last
 *   `**` for everything from there on, the place itself included: `/a/**` takes `/a` and `/a/b/c`.
 * - `NAME=` ties the rule to one bus name. Without it the rule belongs to the `talk` names
 *   that its interface is named after, or else to the name that is written like its interface.
 */
import { isInterface, isMember, isPath, isWellKnownName } from "../../protocol/dbus/names.ts";

export interface Rule {
  readonly text: string;
  /** The name it is tied to, or undefined. */
  readonly name: string | undefined;
  /** Interface, without a last `.*`; "" for every interface. */
  readonly interface: string;
  readonly below: boolean;
  /** Member; "" for every one. */
  readonly member: string;
  /** Elements of the path; undefined: every path. */
  readonly path: readonly string[] | undefined;
}

/** Undefined: `text` is no rule. */
export function parseRule(text: string): Rule | undefined {
  const [, name, method, path] = /^(?:([^=@]*)=)?([^=@]*)(?:@(.*))?$/.exec(text) ?? [];
  if (method === undefined || (name !== undefined && !isWellKnownName(name))) return undefined;
  const elements = path === undefined ? undefined : parsePath(path);
  if (path !== undefined && elements === undefined) return undefined;
  if (method === "*") return { text, name, interface: "", below: true, member: "", path: elements };
  const dot = method.lastIndexOf(".");
  const member = method.slice(dot + 1);
  const written = method.slice(0, Math.max(dot, 0));
  const below = written.endsWith(".*");
  const iface = below ? written.slice(0, -2) : written;
  if (!isInterface(iface) || (member !== "*" && !isMember(member))) return undefined;
  return { text, name, interface: iface, below, member: member === "*" ? "" : member, path: elements };
}

function parsePath(path: string): string[] | undefined {
  if (!isPath(path.replaceAll("*", "x"))) return undefined;
  const elements = path === "/" ? [] : path.slice(1).split("/");
  const sound = elements.every((e, i) => !e.includes("*") || e === "*" || (e === "**" && i === elements.length - 1));
  return sound ? elements : undefined;
}

/** `prefix` itself or something below it, in whole elements. */
export function under(name: string, prefix: string): boolean {
  return name.startsWith(prefix) && (name.length === prefix.length || name[prefix.length] === ".");
}

export function ruleMatches(rule: Rule, iface: string, member: string, path: string): boolean {
  if (rule.interface !== "" && !(rule.below ? under(iface, rule.interface) : iface === rule.interface)) return false;
  if (rule.member !== "" && rule.member !== member) return false;
  return rule.path === undefined || pathMatches(rule.path, path);
}

function pathMatches(wanted: readonly string[], path: string): boolean {
  const elements = path === "/" ? [] : path.slice(1).split("/");
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === "**") return true;
    if (elements[i] === undefined || (wanted[i] !== "*" && wanted[i] !== elements[i])) return false;
  }
  return elements.length === wanted.length;
}

/** A name of a list: `org.a.B` is that name, `org.a.B.*` it and those below, `*` all. */
export interface NamePattern {
  readonly text: string;
  readonly base: string;
  readonly below: boolean;
}

export function parseNamePattern(text: string): NamePattern | undefined {
  if (text === "*") return { text, base: "", below: true };
  const below = text.endsWith(".*");
  const base = below ? text.slice(0, -2) : text;
  return isWellKnownName(base) ? { text, base, below } : undefined;
}

export function nameMatches(pattern: NamePattern, name: string): boolean {
  if (!pattern.below) return name === pattern.base;
  return pattern.base === "" || under(name, pattern.base);
}

/** Whether a rule without a name of its own belongs to the `talk` entry `pattern`. */
export function belongsTo(rule: Rule, pattern: NamePattern): boolean {
  if (rule.name !== undefined) return nameMatches(pattern, rule.name);
  return rule.interface === "" || pattern.base === "" || under(rule.interface, pattern.base);
}
