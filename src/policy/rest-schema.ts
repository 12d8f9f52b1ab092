/** Policy of a REST service: methods and path globs a role may use. */
import * as v from "valibot";
import { closedObject, knownKeys } from "../json/closed.ts";
import { listOf, rolesOf } from "./role-entry.ts";

/** RFC 9110 section 5.6.2 `token`; methods are case-sensitive (section 9.1), so "get" would match nothing: refused. */
const Method = v.pipe(v.string(), v.regex(/^[A-Z0-9!#$%&'*+.^_`|~-]+$/, "an HTTP method in capitals, such as GET"));
const PathGlob = v.pipe(
  v.string(),
  v.regex(/^\/[\x21-\x7e]*$/, 'a path glob of printable ASCII that begins with "/", such as /v1/**'),
);

/** One rule: a request needs one whose methods and paths both take it. An absent list takes everything. */
const Rule = closedObject({ methods: v.optional(listOf(Method)), paths: v.optional(listOf(PathGlob)) });

const entries = {
  type: v.literal("rest"),
  /** Absent `allow`: every request. Empty: none. */
  roles: rolesOf({ allow: v.optional(listOf(Rule)) }),
};
export const RestPolicySchema = v.strictObject(entries, knownKeys(entries));
export type RestPolicy = v.InferOutput<typeof RestPolicySchema>;
