/** Policy of a D-Bus service: the uid of a role on the bus, and the names and calls it may use. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { listOf, rolesOf } from "./role-entry.ts";

/** D-Bus specification, "Valid Names"; a trailing `.*` takes the names below it too. */
const BusName = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+(\.\*)?$/,
    "a well-known bus name, such as org.example.Name",
  ),
  v.maxLength(255, "a bus name of at most 255 characters"),
);
/** `interface.member@/path/**`, each part also `*`. The path may be absent. */
const CallRule = v.pipe(
  v.string(),
  v.regex(
    /^(\*|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_*][A-Za-z0-9_]*)*)(@\/[A-Za-z0-9_/*]*)?$/,
    "a rule interface.member@/path, such as org.example.Name.Get@/org/example/**",
  ),
);
/** 2^32-1 is the kernel's "no uid" (setresuid(2)). */
const Uid = v.pipe(
  v.number(),
  v.integer("a whole number"),
  v.minValue(0, "at least 0"),
  v.maxValue(0xfffffffe, "below 4294967295"),
);

const entries = {
  type: v.literal("dbus"),
  roles: rolesOf({
    uid: v.optional(Uid),
    see: v.optional(listOf(BusName)),
    talk: v.optional(listOf(BusName)),
    own: v.optional(listOf(BusName)),
    call: v.optional(listOf(CallRule)),
    broadcast: v.optional(listOf(CallRule)),
  }),
};
export const DbusPolicySchema = v.strictObject(entries, knownKeys(entries));
export type DbusPolicy = v.InferOutput<typeof DbusPolicySchema>;
