/** Policy of DRM devices: which roles exist and for whom. What a role means for the node is in the type's decisions. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { rolesOf } from "./role-entry.ts";

const entries = { type: v.literal("drm"), roles: rolesOf({}) };
export const DrmPolicySchema = v.strictObject(entries, knownKeys(entries));
export type DrmPolicy = v.InferOutput<typeof DrmPolicySchema>;
