/**
 * What one link may do on its bus, compiled from the graph's `interface` and the role's
 * policy. Pure: owners are passed in. The semantics are in ../dbus.ts.
 */
import type { Owners } from "./owners.ts";
import {
  belongsTo,
  type NamePattern,
  nameMatches,
  parseNamePattern,
  parseRule,
  type Rule,
  ruleMatches,
  under,
} from "./rule.ts";

/** The lists of a role in a policy file. */
export interface NameLists {
  readonly see: readonly string[];
  readonly talk: readonly string[];
  readonly own: readonly string[];
  readonly call: readonly string[];
  readonly broadcast: readonly string[];
}

/** Plain data: crosses to the data plane. */
export interface RightsConfig {
  /** Prefixes of the graph's `interface`; null: no interface filter. */
  readonly interfaces: readonly string[] | null;
  /** The role's lists; null: policy adds no filter. */
  readonly lists: NameLists | null;
  /** Where the lists stand in the policy, for the audit. */
  readonly rule: string;
  /** Allow what policy would refuse and record what is used. The graph's `interface` still stands. */
  readonly learn: boolean;
}

export const HIDDEN = 0;
export const SEE = 1;
export const TALK = 2;
export const OWN = 3;
export type Level = 0 | 1 | 2 | 3;

/** Names and interfaces decided lately; dropped whole when full. */
const MEMO_MAX = 1024;

interface NameRights {
  readonly level: Level;
  /** Rules that narrow it; undefined: everything. */
  readonly rules: { readonly call: readonly Rule[]; readonly broadcast: readonly Rule[] } | undefined;
  readonly why: string;
}

export class Rights {
  readonly learn: boolean;
  /** False: nothing is hidden and nobody's owner matters; the bus's own policy decides. */
  readonly filtered: boolean;
  private readonly prefixes: readonly string[] | undefined;
  private readonly see: readonly NamePattern[];
  private readonly talk: readonly NamePattern[];
  private readonly own: readonly NamePattern[];
  private readonly call: readonly Rule[];
  private readonly broadcast: readonly Rule[];
  private readonly listed: boolean;
  private readonly ruleName: string;
  private readonly names = new Map<string, NameRights>();
  private readonly interfaces = new Map<string, boolean>();

  constructor(config: RightsConfig) {
    this.prefixes = config.interfaces ?? undefined;
    this.learn = config.learn;
    this.listed = config.lists !== null && !config.learn;
    this.filtered = this.prefixes !== undefined || this.listed;
    this.ruleName = config.rule;
    const lists = config.learn ? null : config.lists;
    this.see = patterns(lists?.see);
    this.talk = patterns(lists?.talk);
    this.own = patterns(lists?.own);
    this.call = rules(lists?.call);
    this.broadcast = rules(lists?.broadcast);
  }

  /** What stands against (or for) a well-known name, in the words of the configuration. */
  why(name: string): string {
    return this.of(name).why;
  }
  level(name: string): Level {
    return this.of(name).level;
  }
  /** The most that the names which `unique` owns now allow. */
  levelOfOwner(unique: string, owners: Owners): Level {
    let most: Level = HIDDEN;
    for (const name of owners.namesOf(unique)) {
      const level = this.of(name).level;
      if (level > most) most = level;
    }
    return most;
  }
  mayOwn(name: string): boolean {
    // Learning: the bus decides, and what it granted is recorded.
    return !this.filtered || this.learn || this.own.some((p) => nameMatches(p, name));
  }
  mayCall(name: string, iface: string, member: string, path: string): boolean {
    return this.may("call", name, iface, member, path);
  }
  /** Whether a signal from the owner of `name` may come in. */
  mayHear(name: string, iface: string, member: string, path: string): boolean {
    return this.may("broadcast", name, iface, member, path);
  }

  /** Whether a broadcast of our own may go out: on an interface of the graph, of a name that may be owned or talked to, or by rule. */
  maySignal(iface: string, member: string, path: string): boolean {
    if (!this.filtered) return true;
    if (this.ownsInterface(iface)) return true;
    if (!this.interfaceInGraph(iface)) return false;
    if (!this.listed) return true;
    if (this.broadcast.some((r) => ruleMatches(r, iface, member, path))) return true;
    const narrowed = (p: NamePattern) => [...this.call, ...this.broadcast].some((r) => belongsTo(r, p));
    return this.talk.some((p) => (p.base === "" || under(iface, p.base)) && !narrowed(p));
  }
  /** Interfaces that are named after a name which may be owned are this side's own. */
  ownsInterface(iface: string): boolean {
    return this.own.some((p) => p.base === "" || under(iface, p.base));
  }
  /** Whether the interface is within the graph's list (true without one). */
  interfaceInGraph(iface: string): boolean {
    if (this.prefixes === undefined) return true;
    let known = this.interfaces.get(iface);
    if (known === undefined) {
      known = this.prefixes.some((p) => under(iface, p));
      if (this.interfaces.size >= MEMO_MAX) this.interfaces.clear();
      this.interfaces.set(iface, known);
    }
    return known;
  }

  /**
   * Names whose owners must be known: exact ones and namespaces; null: all of them;
   * empty: none (no filter stands).
   */
  watched(): { readonly names: readonly string[]; readonly namespaces: readonly string[] } | null {
    if (this.learn && this.prefixes === undefined) return null;
    if (!this.filtered) return { names: [], namespaces: [] };
    const names = new Set<string>();
    const namespaces = new Set<string>();
    if (this.listed) {
      for (const p of [...this.see, ...this.talk, ...this.own]) {
        if (p.base === "") return null;
        (p.below ? namespaces : names).add(p.base);
      }
      for (const r of [...this.call, ...this.broadcast])
        if (r.name !== undefined) names.add(r.name);
        else if (r.interface !== "") names.add(r.interface);
    } else for (const prefix of this.prefixes ?? []) namespaces.add(prefix);
    return { names: [...names], namespaces: [...namespaces] };
  }

  private may(kind: "call" | "broadcast", name: string, iface: string, member: string, path: string): boolean {
    if (!this.filtered) return true;
    const rights = this.of(name);
    if (rights.level === OWN) return true;
    if (rights.level !== TALK || !this.interfaceInGraph(iface)) return false;
    return rights.rules === undefined || rights.rules[kind].some((r) => ruleMatches(r, iface, member, path));
  }

  private of(name: string): NameRights {
    let known = this.names.get(name);
    if (known === undefined) {
      known = this.decide(name);
      if (this.names.size >= MEMO_MAX) this.names.clear();
      this.names.set(name, known);
    }
    return known;
  }

  private decide(name: string): NameRights {
    if (!this.filtered) return { level: TALK, rules: undefined, why: "no filter" };
    const own = this.own.find((p) => nameMatches(p, name));
    if (own !== undefined) return { level: OWN, rules: undefined, why: `${this.ruleName}.own ${own.text}` };
    const seen = this.see.find((p) => nameMatches(p, name));
    const lesser = (why: string): NameRights =>
      seen === undefined
        ? { level: HIDDEN, rules: undefined, why }
        : { level: SEE, rules: undefined, why: `${this.ruleName}.see ${seen.text}` };
    if (this.prefixes !== undefined && !this.prefixes.some((p) => under(name, p))) return lesser("graph interface");
    if (!this.listed) return { level: TALK, rules: undefined, why: "graph interface" };
    const entries = this.talk.filter((p) => nameMatches(p, name));
    const mine = (r: Rule) => this.isFor(r, name, entries);
    const call = this.call.filter(mine);
    const broadcast = this.broadcast.filter(mine);
    if (call.length + broadcast.length > 0)
      return { level: TALK, rules: { call, broadcast }, why: `${this.ruleName}.call/broadcast` };
    if (entries[0] === undefined) return lesser(`${this.ruleName}.talk`);
    return { level: TALK, rules: undefined, why: `${this.ruleName}.talk ${entries[0].text}` };
  }

  /** Whether rule `r` speaks of `name`, which the `talk` entries `entries` cover. */
  private isFor(r: Rule, name: string, entries: readonly NamePattern[]): boolean {
    if (r.name !== undefined) return r.name === name;
    if (entries.some((p) => belongsTo(r, p))) return true;
    return r.interface === name && !this.talk.some((p) => belongsTo(r, p));
  }
}

function patterns(texts: readonly string[] | undefined): NamePattern[] {
  return (texts ?? []).map(parseNamePattern).filter((p) => p !== undefined);
}
function rules(texts: readonly string[] | undefined): Rule[] {
  return (texts ?? []).map(parseRule).filter((r) => r !== undefined);
}
