/** The metrics of the daemon: every family from the start on, with a sample of 0 where nothing has happened. */
import type { Counter } from "../relay/counters.ts";
import { type Family, renderOpenMetrics, type Sample } from "./open-metrics.ts";

export interface MeasuredLink {
  readonly consumer: string;
  readonly name: string;
  readonly target: string;
  readonly type: string;
  readonly role: string;
  readonly state: string;
  readonly counters: Readonly<Record<Counter, number>> | undefined;
}

export interface DaemonFacts {
  readonly version: string;
  readonly startedAt: number;
  readonly sourceOk: boolean;
  readonly skipped: number;
  readonly policyErrors: number;
  readonly states: readonly string[];
  readonly types: readonly string[];
}

type PerLink = {
  readonly counter: Counter;
  readonly type: "gauge" | "counter";
  readonly name: string;
  readonly help: string;
  readonly unit?: string;
};

const PER_LINK: readonly PerLink[] = [
  { counter: "sessions", type: "gauge", name: "pvx_sessions", help: "Open sessions." },
  {
    counter: "sessions_total",
    type: "counter",
    name: "pvx_sessions_opened",
    help: "Sessions since the link was planted.",
  },
  { counter: "held", type: "gauge", name: "pvx_held_sessions", help: "Sessions that wait for their provider." },
  {
    counter: "bytes_in",
    type: "counter",
    name: "pvx_to_provider_bytes",
    unit: "bytes",
    help: "Bytes sent to the provider.",
  },
  {
    counter: "bytes_out",
    type: "counter",
    name: "pvx_to_consumer_bytes",
    unit: "bytes",
    help: "Bytes sent to the consumer.",
  },
  { counter: "fds", type: "counter", name: "pvx_passed_fds", help: "File descriptors passed, both ways." },
  { counter: "denied", type: "counter", name: "pvx_denials", help: "Requests refused by policy." },
  {
    counter: "dial_failures",
    type: "counter",
    name: "pvx_dial_failures",
    help: "Attempts to reach the provider that failed.",
  },
  {
    counter: "session_errors",
    type: "counter",
    name: "pvx_session_errors",
    help: "Sessions ended by an internal error.",
  },
  {
    counter: "queued_bytes",
    type: "gauge",
    name: "pvx_queued_bytes",
    unit: "bytes",
    help: "Bytes received and not yet sent on.",
  },
  {
    counter: "queued_fds",
    type: "gauge",
    name: "pvx_queued_fds",
    help: "File descriptors received and not yet sent on.",
  },
  { counter: "accept_pauses", type: "counter", name: "pvx_accept_pauses", help: "Times that accepting was paused." },
  {
    counter: "records_suppressed",
    type: "counter",
    name: "pvx_suppressed_records",
    help: "Audit and log records dropped by the rate limit.",
  },
];

/** Sums by type first, so that every family has samples while there is no link; then one for each link. */
function familyOf(per: PerLink, links: readonly MeasuredLink[], types: readonly string[]): Family {
  const samples: Sample[] = links.map(({ consumer, name, target, type, role, counters }) => ({
    labels: { type, consumer, name, target, role },
    value: counters?.[per.counter] ?? 0,
  }));
  const present = new Set(links.map((link) => link.type));
  for (const type of types) if (!present.has(type)) samples.push({ labels: { type }, value: 0 });
  return {
    name: per.name,
    type: per.type,
    help: per.help,
    ...(per.unit === undefined ? {} : { unit: per.unit }),
    samples,
  };
}

export function renderMetrics(links: readonly MeasuredLink[], facts: DaemonFacts): string {
  const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
    name,
    type: "gauge",
    help,
    samples,
  });
  const one = (value: number): Sample[] => [{ labels: {}, value }];
  const byState = facts.states.map((state) => ({
    labels: { state },
    value: links.filter((link) => link.state === state).length,
  }));
  return renderOpenMetrics([
    {
      name: "pvx_build",
      type: "info",
      help: "The daemon.",
      samples: [{ labels: { version: facts.version }, value: 1 }],
    },
    {
      ...gauge("pvx_start_time_seconds", "When the daemon started, seconds since 1970.", one(facts.startedAt / 1000)),
      unit: "seconds",
    },
    gauge("pvx_links", "Links of the graph by state.", byState),
    gauge("pvx_graph_up", "1 when the last answer of the graph's source was good.", one(facts.sourceOk ? 1 : 0)),
    gauge("pvx_graph_skipped_entries", "Entries of the graph that were not understood.", one(facts.skipped)),
    gauge("pvx_policy_errors", "What is wrong with the policy files in force.", one(facts.policyErrors)),
    ...PER_LINK.map((per) => familyOf(per, links, facts.types)),
  ]);
}
