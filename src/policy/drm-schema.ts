/** Policy of DRM devices: which roles exist, for whom, and which kinds of node they may get. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { listOf, rolesOf } from "./role-entry.ts";

/** What `nodes` of a drm role may name. The meaning: device-class.ts. */
export const DRM_NODES = ["card", "render", "accel", "nvidia", "nvidia-modeset", "other"] as const;
const entries = {
  type: v.literal("drm"),
  /**
   * `nodes` narrows what the role stands for (`master`, `render`), and says what `any`
   * and roles of the integrator's own get: render nodes alone where it is absent.
   */
  roles: rolesOf({ nodes: v.optional(listOf(v.picklist(DRM_NODES, `one of ${DRM_NODES.join(", ")}`))) }),
};
export const DrmPolicySchema = v.strictObject(entries, knownKeys(entries));
