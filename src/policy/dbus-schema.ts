/** Policy of a D-Bus service: the uid of a role on the bus, and the names and calls it may use. Meanings: dbus.ts. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { MAX_MESSAGE } from "../protocol/dbus/constants.ts";
import { parseNamePattern, parseRule } from "./dbus/rule.ts";
import { listOf, rolesOf } from "./role-entry.ts";

/** D-Bus specification, "Valid Names"; a trailing `.*` takes the names below it too, `*` alone all. */
const BusName = v.pipe(
  v.string(),
  v.maxLength(257, "a bus name of at most 255 characters"),
  v.check((text) => parseNamePattern(text) !== undefined, "a well-known bus name, such as org.example.Name"),
);
const OwnName = v.pipe(
  BusName,
  v.check((text) => text !== "*", "the names to own, not all of them"),
);
/** `[NAME=]interface.member@/path/**`, each part also `*`. The path may be absent. */
const CallRule = v.pipe(
  v.string(),
  v.maxLength(2048, "a rule of at most 2048 characters"),
  v.check(
    (text) => parseRule(text) !== undefined,
    "a rule interface.member@/path, such as org.example.Name.Get@/org/example/**",
  ),
);
/** 2^32-1 is the kernel's "no uid" (setresuid(2)). */
const Id = v.pipe(
  v.number(),
  v.integer("a whole number"),
  v.minValue(0, "at least 0"),
  v.maxValue(0xfffffffe, "below 4294967295"),
);

const entries = {
  type: v.literal("dbus"),
  roles: rolesOf({
    /** Who the role is on the bus, in the provider's user namespace. */
    uid: v.optional(Id),
    /** Absent: the primary group of the uid in the provider's passwd, else the uid's number. */
    gid: v.optional(Id),
    see: v.optional(listOf(BusName)),
    talk: v.optional(listOf(BusName)),
    own: v.optional(listOf(OwnName)),
    call: v.optional(listOf(CallRule)),
    broadcast: v.optional(listOf(CallRule)),
    /** Longest message in bytes; absent: the system bus's own 32 MiB. More only where the bus allows more. */
    max_message: v.optional(
      v.pipe(
        v.number(),
        v.integer("a whole number"),
        v.minValue(4096, "at least 4096"),
        v.maxValue(MAX_MESSAGE, `at most ${MAX_MESSAGE}`),
      ),
    ),
    /** Allow what the lists would refuse, and record what is used: `pv-xconnect learn` prints the policy for it. */
    learn: v.optional(v.boolean()),
  }),
};
export const DbusPolicySchema = v.strictObject(entries, knownKeys(entries));
