/** Policy of input devices: which roles exist, for whom, and which kinds of node they may get. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { listOf, rolesOf } from "./role-entry.ts";

/** What `nodes` of an input role may name. The meaning: device-class.ts. */
export const INPUT_NODES = ["event", "joystick", "mouse", "uinput", "tty"] as const;
const entries = {
  type: v.literal("input"),
  /** `nodes`: absent is event, joystick and mouse; uinput (which types for everybody) and tty must be listed. */
  roles: rolesOf({ nodes: v.optional(listOf(v.picklist(INPUT_NODES, `one of ${INPUT_NODES.join(", ")}`))) }),
};
export const InputPolicySchema = v.strictObject(entries, knownKeys(entries));
