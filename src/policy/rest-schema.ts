/** Policy of a REST service: methods and path globs a role may use, protocols it may switch to, and the service's time limits. */
import * as v from "valibot";
import { closedObject, knownKeys } from "../json/closed.ts";
import { METHODS } from "../protocol/http/methods.ts";
import { normalisePath } from "./rest-path.ts";
import { UPGRADE_TOKEN } from "./rest-upgrade.ts";
import { listOf, rolesOf } from "./role-entry.ts";

/** Only methods that are served at all: a rule for another one would match nothing. */
const Method = v.picklist(METHODS, "an HTTP method in capitals, such as GET");

/** pchar of RFC 3986 section 3.3 (with `*` among it) and "/". */
const GLOB = /^(?:\/(?:[A-Za-z0-9._~!$&'()+,;=:@*|[\]^-]|%[0-9A-F]{2})*)+$/;
const GLOB_RULE = 'a path glob such as /v1/**: from "/", normalised, "**" only as a whole segment';
const PathGlobText = v.pipe(
  v.string(GLOB_RULE),
  // RFC 9110 section 4.1 recommends 8,000 octets for a whole target.
  v.maxLength(8000, GLOB_RULE),
  v.regex(GLOB, GLOB_RULE),
  v.check((glob) => {
    const segments = glob.split("/");
    const normal = normalisePath(glob);
    return normal.ok && normal.path === glob && segments.every((s) => s === "**" || !s.includes("**"));
  }, GLOB_RULE),
);

/** One rule: a request needs one whose methods and paths both take it. An absent list takes everything. */
const Rule = closedObject({ methods: v.optional(listOf(Method)), paths: v.optional(listOf(PathGlobText)) });

const UPGRADE_RULE = "a protocol of Upgrade in small letters, such as websocket, but none of h2c, http, tls";
const Upgrade = v.pipe(v.string(UPGRADE_RULE), v.maxLength(64, UPGRADE_RULE), v.regex(UPGRADE_TOKEN, UPGRADE_RULE));

const SECONDS_RULE = "seconds, from 1 to 86400";
const Seconds = v.pipe(v.number(SECONDS_RULE), v.minValue(1, SECONDS_RULE), v.maxValue(86_400, SECONDS_RULE));

const entries = {
  type: v.literal("rest"),
  /** `allow` absent: every request. Empty: none. `upgrade` absent: websocket. */
  roles: rolesOf({ allow: v.optional(listOf(Rule)), upgrade: v.optional(listOf(Upgrade)) }),
  /** How long to wait, in seconds: for a whole head, for the next request, for an answer to begin, for a body to go on. */
  timeouts: v.optional(
    closedObject({
      head: v.optional(Seconds),
      idle: v.optional(Seconds),
      answer: v.optional(Seconds),
      body: v.optional(Seconds),
    }),
  ),
};
export const RestPolicySchema = v.strictObject(entries, knownKeys(entries));
export type RestPolicy = v.InferOutput<typeof RestPolicySchema>;
/** What a role may do. */
export type RestRole = RestPolicy["roles"] extends ReadonlyMap<string, infer Role> ? Role : never;
export type RestRule = v.InferOutput<typeof Rule>;
