/** Questions to a running daemon, over its status socket. */
import { join } from "node:path";
import * as v from "valibot";

/** A daemon on the same device answers in milliseconds; this is for one that is stuck. */
const ANSWER_MS = 5000;

const Count = v.pipe(v.number(), v.minValue(0));
const LinkStatusSchema = v.object({
  consumer: v.string(),
  name: v.string(),
  target: v.string(),
  type: v.string(),
  role: v.string(),
  state: v.string(),
  reason: v.nullable(v.string()),
  sessions: Count,
  bytes_in: Count,
  bytes_out: Count,
  fds: Count,
  denied: Count,
  since: v.string(),
  /** Wayland: what the application has bound. */
  bound: v.optional(v.array(v.string())),
});
export const StatusSchema = v.object({
  version: v.string(),
  pid: v.number(),
  source: v.optional(v.string()),
  warnings: v.optional(v.array(v.string()), []),
  links: v.array(LinkStatusSchema),
});
export type Status = v.InferOutput<typeof StatusSchema>;

/** Throws an Error that says which socket could not be asked and why. */
export async function askStatus(stateDir: string): Promise<Status> {
  const path = join(stateDir, "status.sock");
  let answer: unknown;
  try {
    const response = await fetch("http://localhost/status", { unix: path, signal: AbortSignal.timeout(ANSWER_MS) });
    answer = await response.json();
  } catch (error) {
    throw new Error(
      `Cannot ask the daemon at ${path}: ${error instanceof Error ? error.message : String(error)}. Is it running?`,
    );
  }
  const parsed = v.safeParse(StatusSchema, answer);
  if (!parsed.success) throw new Error(`Cannot read the daemon's answer at ${path}: ${parsed.issues[0].message}`);
  return parsed.output;
}
