/**
 * Learn mode: out of what was used, the smallest policy that allows it. Pure.
 *
 * Names that were owned get `own`; calls and signals become rules tied to their name, so that
 * nothing else on the name is granted; names that were only asked about get `see`. Where one
 * method was used on many paths they become their common parent and all below it.
 */
import { BUS_NAME } from "./driver.ts";

export interface Lesson {
  readonly kind: "call" | "broadcast" | "own" | "see";
  readonly name: string;
  readonly interface: string;
  readonly member: string;
  readonly path: string;
}

/** Things learned in all. Beyond, nothing new is taken in and `full` says so. */
export const LEARNED_MAX = 20_000;
/** Paths of one method that are listed one by one; more are objects that come and go. */
export const PATHS_MAX = 16;

export interface LearnedRole {
  readonly see: readonly string[];
  readonly talk: readonly string[];
  readonly own: readonly string[];
  readonly call: readonly string[];
  readonly broadcast: readonly string[];
}

class RoleLessons {
  readonly own = new Set<string>();
  readonly see = new Set<string>();
  /** kind, name, interface, member -> paths */
  readonly uses = new Map<string, Set<string>>();

  /** False: it was known. */
  add(lesson: Lesson): boolean {
    const { kind, name } = lesson;
    if (kind === "own" || kind === "see") {
      const set = this[kind];
      const fresh = !set.has(name);
      set.add(name);
      return fresh;
    }
    const key = JSON.stringify([kind, name, lesson.interface, lesson.member]);
    const paths = this.uses.get(key);
    if (paths === undefined) this.uses.set(key, new Set([lesson.path]));
    else if (paths.has(lesson.path)) return false;
    else paths.add(lesson.path);
    return true;
  }

  lists(): LearnedRole {
    const call: string[] = [];
    const broadcast: string[] = [];
    const talked = new Set<string>();
    for (const [key, paths] of this.uses) {
      const [kind, name, iface, member] = JSON.parse(key) as [Lesson["kind"], string, string, string];
      // A call or signal that has no well-known name needs none: it was to ourselves, or the bus's own.
      if (name.startsWith(":") || name === "" || this.own.has(name) || iface === "") continue;
      talked.add(name);
      const method = `${name === iface ? "" : `${name}=`}${iface}.${member}`;
      for (const place of places(paths)) (kind === "call" ? call : broadcast).push(`${method}${place}`);
    }
    const see = [...this.see].filter((name) => !talked.has(name) && !this.own.has(name) && name !== BUS_NAME);
    return { see: see.sort(), talk: [], own: [...this.own].sort(), call: call.sort(), broadcast: broadcast.sort() };
  }
}

function places(paths: ReadonlySet<string>): string[] {
  if (paths.size <= PATHS_MAX) return [...paths].map((path) => `@${path}`);
  let common: string[] | undefined;
  for (const path of paths) {
    const elements = path === "/" ? [] : path.slice(1).split("/");
    const before: string[] = common ?? elements;
    const apart = before.findIndex((element, i) => element !== elements[i]);
    common = apart < 0 ? before : before.slice(0, apart);
  }
  return [common!.length === 0 ? "@/**" : `@/${common!.join("/")}/**`];
}

export class Learned {
  private readonly roles = new Map<string, RoleLessons>();
  private count = 0;

  get full(): boolean {
    return this.count >= LEARNED_MAX;
  }

  add(service: string, role: string, lesson: Lesson): void {
    if (this.full) return;
    const key = JSON.stringify([service, role]);
    let lessons = this.roles.get(key);
    if (lessons === undefined) {
      lessons = new RoleLessons();
      this.roles.set(key, lessons);
    }
    if (lessons.add(lesson)) this.count++;
  }

  /** Service -> role -> lists. */
  services(): Map<string, Map<string, LearnedRole>> {
    const out = new Map<string, Map<string, LearnedRole>>();
    for (const [key, lessons] of this.roles) {
      const [service, role] = JSON.parse(key) as [string, string];
      const roles = out.get(service) ?? new Map<string, LearnedRole>();
      roles.set(role, lessons.lists());
      out.set(service, roles);
    }
    return out;
  }
}

/** What a policy file says of a role besides its lists. */
export interface RoleRest {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly consumers?: readonly string[] | undefined;
}

/** The learned lists as a policy file; `rest` keeps what is in force besides them. */
export function learnedPolicy(learned: Learned, rest: (service: string, role: string) => RoleRest | undefined): object {
  const services: Record<string, object> = {};
  for (const [service, roles] of learned.services()) {
    const entries: Record<string, object> = {};
    for (const [role, lists] of roles) {
      const { uid, gid, consumers } = rest(service, role) ?? {};
      entries[role] = {
        ...(consumers === undefined ? {} : { consumers }),
        ...(uid === undefined ? {} : { uid }),
        ...(gid === undefined ? {} : { gid }),
        ...lists,
      };
    }
    services[service] = { type: "dbus", roles: entries };
  }
  return { "#spec": "xconnect-policy@1", services };
}
