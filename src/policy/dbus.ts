/**
 * D-Bus: who may do what. The contract that src/policy/dbus/ carries out.
 *
 * Two things narrow a link, and a message must pass both:
 * - `interface` of the graph: a comma-separated list of prefixes. `org.a.B` stands for the
 *   interfaces `org.a.B` and `org.a.B.*` and for the well-known names of the same form, and
 *   for nothing else. "dbus", "any", empty or an absolute path: no interface filter.
 * - the role's lists in policy, if it has any: `see`, `talk`, `own`, `call`, `broadcast`.
 * Where neither stands the bus's own policy decides, by the role's uid.
 *
 * Levels of a name, each with all before it:
 *   hidden  does not exist: ServiceUnknown or NameHasNoOwner, in no list, no signal about it.
 *   see     in lists, GetNameOwner, GetConnection*, NameOwnerChanged; calls are AccessDenied.
 *   talk    calls, Introspect, Peer, starting it; its signals come in. A name for which there are
 *           `call` or `broadcast` rules is limited to them.
 *   own     RequestName and everything on it; signals on interfaces named after it go out.
 *           Policy's alone: the graph's `interface` never grants it, and need not name it.
 *
 * A unique name has what the well-known names have that its owner holds now. A peer that has
 * called us is at `see`, so that its end can be noticed. Properties calls and PropertiesChanged
 * are decided on the interface that they name; ObjectManager answers and signals are stripped of
 * what the same question refuses. Calls without an interface are refused where a filter stands.
 */
import type { Link } from "../graph/link.ts";
import { isNamespace } from "../protocol/dbus/names.ts";
import type { RightsConfig } from "./dbus/rights.ts";
import type { RoleEntry } from "./role.ts";
import { roleRule } from "./role.ts";

/** Values of `interface` that name no interface. The type's own name is the graph's default. */
const NO_FILTER = new Set(["", "any", "dbus"]);
/** Prefixes of one link: real ones have one or two. */
const MAX_PREFIXES = 64;

export type RightsResult =
  | { readonly ok: true; readonly rights: RightsConfig }
  | { readonly ok: false; readonly reason: string };

/** The rights of a link. `entry` is its role's policy, undefined where the service has none. */
export function rightsOf(
  link: Pick<Link, "name" | "role" | "interface">,
  entry: RoleEntry<"dbus"> | undefined,
): RightsResult {
  const interfaces = prefixesOf(link.interface);
  if (typeof interfaces === "string") return { ok: false, reason: interfaces };
  const { see, talk, own, call, broadcast } = entry ?? {};
  const listed = [see, talk, own, call, broadcast].some((list) => list !== undefined);
  return {
    ok: true,
    rights: {
      interfaces,
      lists: listed
        ? { see: see ?? [], talk: talk ?? [], own: own ?? [], call: call ?? [], broadcast: broadcast ?? [] }
        : null,
      rule: roleRule(link.name, link.role),
      learn: entry?.learn ?? false,
    },
  };
}

function prefixesOf(text: string): string[] | null | string {
  if (NO_FILTER.has(text) || text.startsWith("/")) return null;
  const prefixes = text.split(",").map((part) => part.trim().replace(/\.\*$/, ""));
  if (prefixes.length > MAX_PREFIXES) return `Cannot filter by more than ${MAX_PREFIXES} interfaces`;
  const wrong = prefixes.find((prefix) => prefix.startsWith(":") || !isNamespace(prefix));
  if (wrong !== undefined) return `Cannot filter by interface ${JSON.stringify(wrong)}: not the form org.example.Name`;
  return prefixes;
}
