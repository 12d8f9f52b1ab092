/** The lines of the journal, and what is believed of one that is read back. */
import * as v from "valibot";
import type { ObjectIdentity } from "./object-id.ts";

export type PlantedKind = "socket" | "node" | "mount";

export interface JournalEntry {
  readonly id: number;
  readonly kind: PlantedKind;
  /** 0: the host. */
  readonly pid: number;
  /** Field 22 of /proc/PID/stat; "" for the host. */
  readonly startTime: string;
  /** For messages, e.g. `consumer "app"`. */
  readonly who: string;
  /** Where it stands, or will, as the container sees it. */
  readonly path: string;
  /** Its name beside `path` until it is in place, and again while it is removed. */
  readonly temporary: string;
  /** Absent: it may not exist yet. */
  readonly object?: ObjectIdentity;
  /** What else the planter needs to take it away again. */
  readonly detail?: Readonly<Record<string, string>>;
  /** Read from the file of an earlier run. */
  readonly earlier: boolean;
}

const id = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
/** Ours alone: what stands under such a name may be removed. */
const temporary = v.pipe(v.string(), v.regex(/^\.pvx-[0-9a-f]{16}(\/[0-9a-f]{16})?$/));
const number = v.pipe(v.string(), v.regex(/^\d{1,20}$/));

const FACT = v.variant("op", [
  v.object({ op: v.literal("journal"), version: v.literal(1), boot: v.string() }),
  v.object({
    op: v.literal("intent"),
    id,
    kind: v.picklist(["socket", "node", "mount"]),
    pid: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
    startTime: v.union([v.literal(""), number]),
    who: v.string(),
    path: v.pipe(v.string(), v.startsWith("/"), v.excludes("\0")),
    temporary,
    detail: v.optional(v.record(v.string(), v.string())),
  }),
  v.object({
    op: v.literal("planted"),
    id,
    dev: v.pipe(v.string(), v.regex(/^\d{1,10}:\d{1,10}$/)),
    ino: number,
    born: v.pipe(v.string(), v.regex(/^(-?\d{1,20}\.\d{1,9})?$/)),
  }),
  v.object({ op: v.literal("hidden"), id, temporary }),
  v.object({ op: v.literal("removed"), id }),
]);

export type Fact = v.InferOutput<typeof FACT>;

/** One line; or why it is not believed. */
export function parseFact(line: string): Fact | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "not JSON";
  }
  const parsed = v.safeParse(FACT, value);
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  return `${v.getDotPath(issue) ?? "the line"}: ${issue.message}`;
}
