/** Policy of input devices: which roles exist and for whom. What a role means for the node is in the type's decisions. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { rolesOf } from "./role-entry.ts";

const entries = { type: v.literal("input"), roles: rolesOf({}) };
export const InputPolicySchema = v.strictObject(entries, knownKeys(entries));
export type InputPolicy = v.InferOutput<typeof InputPolicySchema>;
