/**
 * The audit stream: one record for each denial (rate-limited by the data plane), kept
 * for a while for those who ask later, and given live to those who listen.
 */
export interface AuditEvent {
  readonly time: string;
  readonly link: { readonly consumer: string; readonly name: string; readonly target: string };
  readonly type: string;
  readonly role: string;
  readonly action: string;
  readonly rule: string;
  readonly asked: Readonly<Record<string, string | number | boolean | null>>;
  /** Denials of the same link that were only counted since its record before. */
  readonly suppressed: number;
}

type Asked = AuditEvent["asked"];

/** Characters of a text that a consumer asked with: a D-Bus path may have 64 KiB, and records are kept. */
const ASKED_CHARS_MAX = 1024;

/** What was asked, with long texts cut. */
export function askedInShort(asked: Asked): Asked {
  const short = (value: Asked[string]) =>
    typeof value === "string" && value.length > ASKED_CHARS_MAX ? `${value.slice(0, ASKED_CHARS_MAX)}…` : value;
  return Object.fromEntries(Object.entries(asked).map(([key, value]) => [key, short(value)]));
}

/** The link's fields and what was asked, in one: the consumer's words never stand under a name of the link's. */
export function auditFields(link: Readonly<Record<string, string>>, asked: Asked): Asked {
  const words = Object.entries(asked)
    .filter(([key, value]) => link[key] !== value)
    .map(([key, value]) => [Object.hasOwn(link, key) ? `asked_${key}` : key, value]);
  return { ...link, ...Object.fromEntries(words) };
}

/** Records kept for late listeners: a screenful of history, not an archive. */
const HISTORY = 256;
/** Listeners at once; each is one open answer on the status socket. */
export const AUDIT_LISTENERS_MAX = 16;

export class AuditStream {
  private readonly history: AuditEvent[] = [];
  private readonly listeners = new Set<(event: AuditEvent) => void>();

  add(event: AuditEvent): void {
    this.history.push(event);
    if (this.history.length > HISTORY) this.history.shift();
    for (const listener of this.listeners) listener(event);
  }

  recent(): readonly AuditEvent[] {
    return this.history;
  }

  /** Calls `listener` for each record from now on; undefined when too many listen already. */
  listen(listener: (event: AuditEvent) => void): (() => void) | undefined {
    if (this.listeners.size >= AUDIT_LISTENERS_MAX) return undefined;
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
