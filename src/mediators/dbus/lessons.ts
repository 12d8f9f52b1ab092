/** Learn mode: what the consumer used, each thing once, to the control thread. */
import type { LinkIdentity, Session } from "../../relay/filter.ts";

/** Different things of one link. What is beyond is not learned; a policy of that size is not one. */
const LESSONS_MAX = 4096;
/** Longest path that is learned: a rule with a longer one is nobody's. */
const PATH_MAX = 1024;

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

/** By link and not by session: a consumer that connects again and again has the room of one. */
const seenOn = new WeakMap<LinkIdentity, Set<string>>();

export class Lessons {
  private readonly session: Session;

  constructor(session: Session) {
    this.session = session;
  }

  learn(kind: Lesson["kind"], name: string, iface = "", member = "", path = ""): void {
    if (path.length > PATH_MAX) return;
    const key = `${kind} ${name} ${iface} ${member} ${path}`;
    const seen = seenOn.get(this.session.link) ?? new Set();
    seenOn.set(this.session.link, seen);
    if (seen.has(key) || seen.size >= LESSONS_MAX) return;
    seen.add(key);
    const lesson: Lesson = { kind, name, interface: iface, member, path };
    this.session.report(LEARN_REPORT, lesson);
  }
}
