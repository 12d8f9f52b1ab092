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
