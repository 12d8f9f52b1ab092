/** Policy of a Wayland compositor: the profile of globals a role sees, more of them by name, and fewer. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { listOf, rolesOf } from "./role-entry.ts";
import { NEVER_GRANTED, WAYLAND_PROFILES } from "./wayland-profiles.ts";

const INTERFACE = "[A-Za-z_][A-Za-z0-9_]*";
/** Names are far shorter; this bounds what is kept and compared. */
const MAX_INTERFACE = 128;
/** Versions are u32 on the wire; libwayland keeps them in an int. */
const MAX_VERSION = 0x7fffffff;

const InterfaceName = v.pipe(
  v.string(),
  v.regex(new RegExp(`^${INTERFACE}$`), "the name of an interface, such as wl_data_device_manager"),
  v.maxLength(MAX_INTERFACE, `a name of at most ${MAX_INTERFACE} characters`),
);

const nameOf = (text: string): string => text.slice(0, text.indexOf("<="));
const versionOf = (text: string): number => Number(text.slice(text.indexOf("<=") + 2));

/** `interface<=version`: the version is the highest one shown. */
const Global = v.pipe(
  v.string(),
  v.regex(
    new RegExp(`^${INTERFACE}<=[1-9][0-9]{0,9}$`),
    "a global with its highest version, such as zwlr_layer_shell_v1<=4",
  ),
  v.check((text) => nameOf(text).length <= MAX_INTERFACE, `a name of at most ${MAX_INTERFACE} characters`),
  v.check((text) => versionOf(text) <= MAX_VERSION, `a version of at most ${MAX_VERSION}`),
  v.check(
    (text) => !NEVER_GRANTED.has(nameOf(text)),
    (issue) => `another global: ${NEVER_GRANTED.get(nameOf(issue.input))}`,
  ),
  v.transform((text) => ({ interface: nameOf(text), version: versionOf(text) })),
);

const Globals = v.pipe(
  listOf(Global),
  v.check((globals) => new Set(globals.map((g) => g.interface)).size === globals.length, "each interface once"),
);

const entries = {
  type: v.literal("wayland"),
  roles: rolesOf({
    /** Where the role begins. Absent: "app". */
    profile: v.optional(v.picklist(WAYLAND_PROFILES)),
    /** Shown too, or up to another version than the profile's. */
    globals: v.optional(Globals),
    /** Taken from the profile. */
    hide: v.optional(listOf(InterfaceName)),
  }),
};
export const WaylandPolicySchema = v.strictObject(entries, knownKeys(entries));
