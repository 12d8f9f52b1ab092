/** What every role entry of every type may say, and the field kinds that several types share. */
import * as v from "valibot";
import { closedObject, Name, namedEntries } from "../json/closed.ts";

/** Roles of one service. Real ones have a handful; the cap bounds what one file can make us hold. */
export const MAX_ROLES = 1000;
/** Items of any one list in a role (consumers, rules, names). */
export const MAX_LIST = 1000;

/** `consumers`: the role is only for these containers. Absent: for every one the graph links. Empty: for none. */
const common = { consumers: v.optional(v.pipe(v.array(Name), v.maxLength(MAX_LIST, `at most ${MAX_LIST} items`))) };

/** The `roles` of a service: name -> entry with the given fields beside the common ones. */
export function rolesOf<const E extends v.ObjectEntries>(entries: E) {
  return namedEntries(closedObject({ ...common, ...entries }), MAX_ROLES);
}

/** A list with the shared cap. */
export function listOf<T>(item: v.GenericSchema<unknown, T>) {
  return v.pipe(v.array(item), v.maxLength(MAX_LIST, `at most ${MAX_LIST} items`));
}

/** PATH_MAX of Linux less its NUL (limits.h). */
const MAX_PATH_BYTES = 4095;
const PATH_RULE = `an absolute path of at most ${MAX_PATH_BYTES} bytes without ".." and NUL`;

/** Kept as written: it is resolved by the kernel inside a container's root, not here. */
export const AbsolutePath = v.pipe(
  v.string(PATH_RULE),
  v.check((path) => path.startsWith("/") && !path.includes("\0") && !path.split("/").includes(".."), PATH_RULE),
  // Lengths of paths are counted in bytes; a UTF-16 unit is at most three of them in UTF-8.
  v.maxBytes(MAX_PATH_BYTES, PATH_RULE),
);
