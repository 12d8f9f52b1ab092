/** Whether the graph can be had, and what it says. */
import type { Link } from "../graph/link.ts";
import type { GraphSource, UnavailableCause } from "../graph/source.ts";
import type { Check } from "./check.ts";

export interface GraphSurvey {
  readonly checks: readonly Check[];
  readonly links: readonly Link[];
}

/** Causes that end by themselves. */
const PASSING: ReadonlySet<UnavailableCause> = new Set(["not-ready", "timeout", "closed"]);

/** `source` has a deadline of its own and stays the caller's. */
export async function surveyGraph(source: GraphSource): Promise<GraphSurvey> {
  const answer = await source.fetch(new AbortController().signal);
  const check = (status: Check["status"], detail: string): Check => ({
    area: "pv-ctrl",
    name: source.name,
    status,
    detail,
  });
  if (answer.kind === "aborted") return { checks: [check("error", "was not asked")], links: [] };
  if (answer.kind === "unavailable") {
    const status = PASSING.has(answer.cause) ? "warn" : "error";
    return { checks: [check(status, answer.message)], links: [] };
  }
  const { links, skipped } = answer.graph;
  const entries = links.length === 1 ? "1 link" : `${links.length} links`;
  const checks = [check("ok", `answers with ${entries}`)];
  if (skipped.length > 0)
    checks.push(
      check("note", `${skipped.length} entries are skipped, the first: ${skipped[0]!.pointer}: ${skipped[0]!.reason}`),
    );
  return { checks, links };
}
