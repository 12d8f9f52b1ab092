/** Learn mode: what the consumer used, each thing once, to the control thread. */
import type { Session } from "../../relay/filter.ts";

/** Different things of one session. What is beyond is not learned; a policy of that size is not one. */
const LESSONS_MAX = 4096;

/** The record of a "dbus-learn" report. */
export interface Lesson extends Readonly<Record<string, unknown>> {
  readonly kind: "call" | "broadcast" | "own" | "see";
  /** A well-known name. */
  readonly name: string;
  readonly interface: string;
  readonly member: string;
  readonly path: string;
}

export const LEARN_REPORT = "dbus-learn";

export class Lessons {
  private readonly session: Session;
  private readonly seen = new Set<string>();

  constructor(session: Session) {
    this.session = session;
  }

  learn(kind: Lesson["kind"], name: string, iface = "", member = "", path = ""): void {
    const key = `${kind} ${name} ${iface} ${member} ${path}`;
    if (this.seen.has(key)) return;
    if (this.seen.size >= LESSONS_MAX) return;
    this.seen.add(key);
    const lesson: Lesson = { kind, name, interface: iface, member, path };
    this.session.report(LEARN_REPORT, lesson);
  }
}
