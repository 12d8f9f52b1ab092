/** `pv-xconnect plan`: what a reconcile would do now, and why. Changes nothing. */
import { parseArgs } from "node:util";
import type { Link, LinkType } from "../graph/link.ts";
import { LINK_TYPES } from "../graph/link.ts";
import { linkKey } from "../graph/schema.ts";
import type { Graph } from "../graph/source.ts";
import { linkAccess } from "../policy/link-access.ts";
import type { Policy } from "../policy/schema.ts";
import { loadPolicy } from "../policy-source/policy-dir.ts";
import { type AnyMediator, Assessor, type Mediators } from "../reconcile/assess.ts";
import type { Desired, Observed, Resting } from "../reconcile/link-state.ts";
import { Peers, type PeerWatch } from "../reconcile/peers.ts";
import { diff, type Step } from "../reconcile/plan.ts";
import { ProcessWatch } from "../reconcile/process-watch.ts";
import { type Command, EXIT_OK } from "./command.ts";
import { GRAPH_HELP, GRAPH_OPTIONS, readGraphOnce } from "./one-graph.ts";
import { columns, plain } from "./plain-text.ts";
import { setting } from "./settings.ts";
import { askStatus, type Status } from "./status-client.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect plan [--json] [--policy DIR] [--state-dir DIR] [--graph FILE | --ctrl PATH]

Tells what a daemon with this graph and policy would do now, and why: the graph is read,
the containers' processes are looked at, policy is asked, and the steps are printed
instead of done. Where a daemon runs, it is asked what stands; without one nothing does.

  --policy DIR     policy files (default /etc/pv-xconnect/policy.d)
  --state-dir DIR  where a daemon keeps its socket (default /run/pv-xconnect)
${GRAPH_HELP}  --json           the steps as JSON

What a running daemon doesn't tell is taken to be as it should be: a policy that changed
since shows as no step here.
`;

/** The only question that a plan asks of a type. Nothing can be planted with these. */
function judgesOnly(): Mediators {
  const never = () => {
    throw new Error("plan changes nothing");
  };
  const judge = (type: LinkType): AnyMediator => ({
    type,
    check(link, policy) {
      const access = linkAccess(link, policy);
      return access.ok
        ? { ok: true, config: { terms: access.terms, providerPid: link.providerPid } }
        : { ok: false, reason: access.reason };
    },
    establish: never,
    update: never,
    verify: never,
    teardown: never,
  });
  return new Map(LINK_TYPES.map((type) => [type, judge(type)]));
}

export function desiredOf(graph: Graph, policy: Policy, watch: PeerWatch): Map<string, Desired> {
  const peers = new Peers(watch, () => {});
  try {
    peers.setGraph(
      graph.links.flatMap((link) => [
        [link.consumer, link.consumerPid] as const,
        [link.provider, link.providerPid] as const,
      ]),
    );
    return new Assessor(judgesOnly(), peers).assess(graph.links, policy);
  } finally {
    peers.close();
  }
}

/** What a running daemon says it has, as far as it says it. */
export function observedOf(status: Status, desired: ReadonlyMap<string, Desired>): Map<string, Observed> {
  const observed = new Map<string, Observed>();
  for (const link of status.links) {
    const key = linkKey(link.consumer, link.name, link.target);
    const want = desired.get(key);
    const state = (link.state === "establishing" ? "pending" : link.state) as Resting["state"];
    const stands = state === "established" || state === "degraded";
    const planted = stands
      ? { ...standing(link, want), drift: null, degraded: state === "degraded" ? link.reason : null }
      : undefined;
    observed.set(key, { key, state, reason: link.reason, busy: false, planted, failed: undefined });
  }
  return observed;
}

function standing(link: Status["links"][number], want: Desired | undefined) {
  const known = {
    consumer: link.consumer,
    name: link.name,
    target: link.target,
    role: link.role,
    type: link.type as LinkType,
  };
  return {
    link: { ...(want?.link ?? ({} as Link)), ...known },
    consumerId: want?.consumer.up ? want.consumer.id : "",
    providerId: want?.provider.up ? want.provider.id : "",
    config: want?.check.ok ? want.check.config : undefined,
  };
}

async function askDaemon(stateDir: string): Promise<Status | undefined> {
  try {
    return await askStatus(stateDir);
  } catch {
    return undefined;
  }
}

/** One step as it is printed. */
interface Told {
  readonly step: string;
  readonly consumer: string;
  readonly name: string;
  readonly type: string;
  readonly target: string;
  readonly why: string;
}

function told(step: Step, desired: ReadonlyMap<string, Desired>): Told {
  // The key is its own inverse: consumer, name and target of a link that the graph has no more.
  const [consumer = "", name = "", target = ""] = JSON.parse(step.key) as string[];
  const what =
    step.do === "rest"
      ? step.leaves.state === "pending"
        ? "wait"
        : step.leaves.state === "failed"
          ? "refuse"
          : step.leaves.state
      : step.do;
  return { step: what, consumer, name, type: desired.get(step.key)?.link.type ?? "-", target, why: step.why };
}

function stepTable(lines: readonly Told[]): string {
  if (lines.length === 0) return "";
  const rows = lines.map((line) => [line.step, line.consumer, line.name, line.type, line.target, line.why]);
  return columns([["STEP", "CONSUMER", "NAME", "TYPE", "TARGET", "WHY"], ...rows]);
}

export const command: Command = {
  name: "plan",
  summary: "what a reconcile would do now, and why",
  async run(argv, io) {
    const text = { type: "string" } as const;
    const flag = { type: "boolean" } as const;
    const options = {
      ...GRAPH_OPTIONS,
      policy: text,
      "state-dir": text,
      json: flag,
      help: { ...flag, short: "h" },
    } as const;
    const { values } = usage(() => parseArgs({ args: argv, options }));
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const policy = loadPolicy(setting("policy", values, io.env));
    const graph = await readGraphOnce(values, io.env);
    const desired = desiredOf(graph, policy, new ProcessWatch());
    const status = await askDaemon(setting("state-dir", values, io.env));
    const observed = status === undefined ? new Map<string, Observed>() : observedOf(status, desired);
    const steps = diff(desired, observed, 0);
    const touched = new Set(steps.map((step) => step.key));
    const unchanged = [...desired.keys()].filter((key) => !touched.has(key)).length;
    const warnings = [...policy.errors, ...graph.skipped.map(({ pointer, reason }) => `skipped ${pointer}: ${reason}`)];
    const lines = steps.map((step) => told(step, desired));
    if (values.json) io.out(`${JSON.stringify({ daemon: status?.pid ?? null, steps: lines, unchanged, warnings })}\n`);
    else {
      io.out(
        status === undefined
          ? "No daemon answers: nothing stands.\n"
          : `The daemon, pid ${status.pid}, says what stands.\n`,
      );
      io.out(stepTable(lines));
      io.out(`Nothing to do for ${unchanged} of ${desired.size} links.\n`);
      for (const warning of warnings) io.err(`warning: ${plain(warning)}\n`);
    }
    return EXIT_OK;
  },
};
