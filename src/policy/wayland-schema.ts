/** Policy of a Wayland compositor: the profile of globals a role sees, and more of them by name. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { listOf, rolesOf } from "./role-entry.ts";

export const WAYLAND_PROFILES = ["app", "shell", "kiosk", "capture"] as const;

/** `interface<=version`: the version is the highest one shown. */
const Global = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z_][A-Za-z0-9_]*<=[1-9][0-9]{0,9}$/,
    "a global with its highest version, such as zwlr_layer_shell_v1<=4",
  ),
);

const entries = {
  type: v.literal("wayland"),
  roles: rolesOf({ profile: v.optional(v.picklist(WAYLAND_PROFILES)), globals: v.optional(listOf(Global)) }),
};
export const WaylandPolicySchema = v.strictObject(entries, knownKeys(entries));
export type WaylandPolicy = v.InferOutput<typeof WaylandPolicySchema>;
