/** Policy of a raw unix service: who may reach which socket, and how the provider learns who it is. */
import * as v from "valibot";
import { knownKeys } from "../json/closed.ts";
import { AbsolutePath, rolesOf } from "./role-entry.ts";

/**
 * How the provider is told who is there. `none`: it sees the daemon. `greeting`: one line of JSON
 * before the consumer's first byte. `credentials`: SCM_CREDENTIALS of the consumer's process on the first message.
 */
export const UNIX_IDENTITIES = ["none", "greeting", "credentials"] as const;

const entries = {
  type: v.literal("unix"),
  identity: v.optional(v.picklist(UNIX_IDENTITIES), "none"),
  /** `socket`: this role reaches another socket of the provider than the graph's. */
  roles: rolesOf({ socket: v.optional(AbsolutePath) }),
};
export const UnixPolicySchema = v.strictObject(entries, knownKeys(entries));
export type UnixPolicy = v.InferOutput<typeof UnixPolicySchema>;
