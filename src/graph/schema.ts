/**
 * The graph as pv-ctrl or a file gives it -> links. Foreign data enters here.
 *
 * Level of trust: the integrator wrote the names, so they are data of any shape, but
 * nobody hostile chose them. Newer Pantavisor versions add fields and whole new kinds of
 * entries. So each entry is judged alone: what can't be understood is skipped with its
 * index, a JSON pointer and a reason, and never takes another entry with it.
 */
import * as v from "valibot";
import { findingOf, pointerOf, shown } from "../json/finding.ts";
import { LINK_TYPES, type Link, type LinkType } from "./link.ts";
import { defaultTarget, isPathText, isSocketPath, MAX_PATH_BYTES, normaliseTarget } from "./target.ts";

/** A real graph has some tens of entries of 300 bytes. The cap bounds what one answer can make us hold. */
export const MAX_GRAPH_BYTES = 10 * 1024 * 1024;
/** Twice the 5,000 links that the daemon promises to plan. */
export const MAX_GRAPH_ENTRIES = 10_000;
/** Container, service and role names; NAME_MAX is 255, LXC's and D-Bus's limits are lower still. */
export const MAX_NAME_CHARS = 4096;
/** `interface` may be a comma-separated list of D-Bus interfaces (255 characters each). */
export const MAX_INTERFACE_CHARS = 65_536;
/** PID_MAX_LIMIT of 64-bit kernels (proc(5), pid_max). */
export const MAX_PID = 4_194_304;

export interface Skipped {
  readonly index: number;
  /** RFC 6901 pointer to what is wrong in the whole document, such as `/3/consumer_pid`. */
  readonly pointer: string;
  /** `unknown`: a newer Pantavisor's, to be expected. `invalid`: wrong. `duplicate`: of an earlier entry. `cap`: too many. */
  readonly kind: "unknown" | "invalid" | "duplicate" | "cap";
  readonly reason: string;
}

export type GraphParse =
  | { readonly ok: true; readonly links: readonly Link[]; readonly skipped: readonly Skipped[] }
  /** The document as a whole is no graph. */
  | { readonly ok: false; readonly reason: string };

const NAME_RULE = `a name of 1 to ${MAX_NAME_CHARS} characters without NUL`;
const PID_RULE = `a whole number: 0 for the host, -1 for not up, at most ${MAX_PID}`;
const UID_RULE = "a whole number from 0 to 4294967294";
const INTERFACE_RULE = `a text of at most ${MAX_INTERFACE_CHARS} characters without NUL`;

/** `isWellFormed`: a lone surrogate has no UTF-8 form, so no container can be called that. */
function isNameText(text: string): boolean {
  return text.length <= MAX_NAME_CHARS && !text.includes("\0") && text.isWellFormed();
}
const Name = v.pipe(
  v.string(NAME_RULE),
  v.check((text) => text !== "" && isNameText(text), NAME_RULE),
);
/** Null, missing and empty are one: not given. */
const OptionalName = v.nullish(v.pipe(v.string(NAME_RULE), v.check(isNameText, NAME_RULE)));
const OptionalInterface = v.nullish(
  v.pipe(
    v.string(INTERFACE_RULE),
    v.check(
      (text) => text.length <= MAX_INTERFACE_CHARS && !text.includes("\0") && text.isWellFormed(),
      INTERFACE_RULE,
    ),
  ),
);
const Pid = v.pipe(v.number(PID_RULE), v.integer(PID_RULE), v.maxValue(MAX_PID, PID_RULE));
/** 2^32-1 is the kernel's "no uid". */
const Uid = v.nullish(
  v.pipe(v.number(UID_RULE), v.integer(UID_RULE), v.minValue(0, UID_RULE), v.maxValue(0xfffffffe, UID_RULE)),
);

const EntrySchema = v.object({
  type: v.picklist(LINK_TYPES),
  name: Name,
  consumer: Name,
  consumer_pid: Pid,
  provider: OptionalName,
  provider_pid: Pid,
  role: OptionalName,
  interface: OptionalInterface,
  target: v.nullish(v.string()),
  socket: v.string(),
  uid: Uid,
});
type Entry = v.InferOutput<typeof EntrySchema>;

/** A link's identity over its whole life. A JSON array: no two triples share one spelling, whatever is in the names. */
export function linkKey(consumer: string, name: string, target: string): string {
  return JSON.stringify([consumer, name, target]);
}

/** Bytes of an answer or a file. Never throws. */
export function decodeGraph(bytes: Uint8Array): GraphParse {
  if (bytes.length > MAX_GRAPH_BYTES)
    return { ok: false, reason: `the graph has ${bytes.length} bytes, at most ${MAX_GRAPH_BYTES} are read` };
  let text: string;
  let lossy = false;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // One container with a name in another encoding must not cost the others their links.
    text = new TextDecoder("utf-8").decode(bytes);
    lossy = true;
  }
  return parseGraph(text, lossy);
}

/** `lossy`: the text has U+FFFD where the bytes were no UTF-8; entries with one are skipped, since two names may have become one. */
export function parseGraph(text: string, lossy = false): GraphParse {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // SyntaxError, or RangeError for nesting deeper than the stack.
    return { ok: false, reason: `the graph is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  return readGraph(value, lossy);
}

export function readGraph(value: unknown, lossy = false): GraphParse {
  if (!Array.isArray(value)) return { ok: false, reason: `the graph is ${shown(value)}, expected an array` };
  const links: Link[] = [];
  const skipped: Skipped[] = [];
  const taken = new Map<string, number>();
  const count = Math.min(value.length, MAX_GRAPH_ENTRIES);
  for (let index = 0; index < count; index++) {
    const read = readEntry(value[index], index, lossy);
    if ("reason" in read) {
      skipped.push(read);
      continue;
    }
    const clash = claim(taken, read, index);
    if (clash === undefined) links.push(read);
    else skipped.push({ index, pointer: pointerOf([index]), kind: "duplicate", reason: duplicateOf(read, clash) });
  }
  if (value.length > count) {
    const reason = `entries ${count} to ${value.length - 1} are left out, at most ${MAX_GRAPH_ENTRIES} are read`;
    skipped.push({ index: count, pointer: pointerOf([count]), kind: "cap", reason });
  }
  return { ok: true, links, skipped };
}

/**
 * One place, one link: two names at one target of one consumer would displace each other for ever.
 * The host is one place under every consumer's name. Pids above 0 say nothing here: a dead one
 * lingers in the graph and may be another container's by now. Returns the index of the entry that has it.
 */
function claim(taken: Map<string, number>, link: Link, index: number): number | undefined {
  const places = [JSON.stringify([link.consumer, link.target])];
  if (link.consumerPid === 0) places.push(JSON.stringify([0, link.target]));
  for (const place of places) {
    const clash = taken.get(place);
    if (clash !== undefined) return clash;
  }
  for (const place of places) taken.set(place, index);
  return undefined;
}

function duplicateOf(link: Link, clash: number): string {
  return `entry ${clash} has target ${shown(link.target)} of consumer ${shown(link.consumer)} already (provider ${shown(link.provider)} is left out)`;
}

function readEntry(value: unknown, index: number, lossy: boolean): Link | Skipped {
  const unknown = unknownShape(value);
  if (unknown !== undefined)
    return { index, kind: "unknown", ...unknown, pointer: pointerOf([index, ...unknown.path]) };
  const parsed = v.safeParse(EntrySchema, value);
  if (!parsed.success) {
    const finding = findingOf(parsed.issues[0]);
    return invalid(index, finding.pointer, `${finding.problem}, expected ${finding.expected}`);
  }
  const entry = parsed.output;
  if (lossy) {
    const key = Object.entries(entry).find(([, text]) => typeof text === "string" && text.includes("\ufffd"))?.[0];
    if (key !== undefined) return invalid(index, pointerOf([key]), "is not UTF-8, expected UTF-8");
  }
  return toLink(entry, index);
}

/** Newer versions add kinds of entries, told by having no type or no consumer, and new types. */
function unknownShape(value: unknown): { path: string[]; reason: string } | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { path: [], reason: `is ${shown(value)}, expected an object` };
  const entry = value as Record<string, unknown>;
  for (const key of ["type", "consumer"]) {
    if ((entry[key] ?? null) !== null) continue;
    if (entry[key] === null) return { path: [key], reason: `is null, expected a ${key}` };
    return {
      path: [],
      reason: `has no ${key}: an entry of another kind with the keys ${shown(Object.keys(entry).join(", "))}`,
    };
  }
  if (typeof entry["type"] === "string" && !LINK_TYPES.includes(entry["type"] as LinkType))
    return { path: ["type"], reason: `is ${shown(entry["type"])}, expected one of ${LINK_TYPES.join(", ")}` };
  return undefined;
}

function invalid(index: number, pointer: string, reason: string): Skipped {
  return { index, pointer: `${pointerOf([index])}${pointer}`, kind: "invalid", reason };
}

function toLink(entry: Entry, index: number): Link | Skipped {
  const iface = entry.interface || entry.type;
  const [from, wanted] = entry.target
    ? ["target", entry.target]
    : iface.startsWith("/")
      ? ["interface", iface]
      : ["name", defaultTarget(entry.name)];
  const target = normaliseTarget(wanted);
  if (!target.ok)
    return invalid(index, pointerOf([from]), `gives the target ${shown(wanted)}, expected ${target.expected}`);
  const device = entry.type === "drm" || entry.type === "input";
  if (!(device ? isPathText(entry.socket) : isSocketPath(entry.socket))) {
    const rule = `${device ? "a path or device selector" : "an absolute path"} of 1 to ${MAX_PATH_BYTES} bytes without NUL`;
    return invalid(index, pointerOf(["socket"]), `is ${shown(entry.socket)}, expected ${rule}`);
  }
  return {
    key: linkKey(entry.consumer, entry.name, target.path),
    type: entry.type,
    name: entry.name,
    consumer: entry.consumer,
    // One number for "not up", so that -1 and -7 are no change.
    consumerPid: Math.max(entry.consumer_pid, -1),
    provider: entry.provider ?? "",
    providerPid: Math.max(entry.provider_pid, -1),
    role: entry.role || "any",
    interface: iface,
    target: target.path,
    socket: entry.socket,
    uid: entry.uid ?? null,
  };
}
