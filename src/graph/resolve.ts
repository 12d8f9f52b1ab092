/**
 * Manifests -> the graph that Pantavisor would give for them, offline and pure. The rule is
 * Pantavisor's (pv_state_get_xconnect_graph_json in its state.c): a requirement meets every export of its name,
 * the type is the exporter's, a missing role is "any", a missing interface is the type.
 */
import type { Requirement, ServiceExport } from "./manifests.ts";

export interface Container {
  readonly name: string;
  readonly exports: readonly ServiceExport[];
  readonly requirements: readonly Requirement[];
}

/** One element of the graph's array, in pv-ctrl's spelling. Containers of a manifest are not started: their pids are -1. */
export interface GraphEntry {
  readonly consumer: string;
  readonly consumer_pid: number;
  readonly provider: string;
  readonly provider_pid: number;
  readonly name: string;
  readonly type: string;
  readonly role: string;
  readonly interface: string;
  readonly target: string | null;
  readonly socket: string;
}

export interface Resolved {
  readonly entries: readonly GraphEntry[];
  /** Requirements that nobody meets: Pantavisor refuses such a revision. */
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** The bus that Pantavisor hosts itself: never a container's export where it is enabled. */
export const HOSTED_BUS = "system-bus";
export const HOSTED_BUS_SOCKET = "/run/pv/dbus/system_bus_socket";
export const HOST_PROVIDER = "_pv_";
const NOT_STARTED = -1;

/** `hostedBus`: Pantavisor hosts `system-bus` (a build feature and a configuration key that no manifest shows). */
export function resolveGraph(containers: readonly Container[], hostedBus: boolean): Resolved {
  const entries: GraphEntry[] = [];
  const errors: string[] = [];
  const warnings: string[] = [];
  for (const consumer of containers) {
    for (const wanted of consumer.requirements) {
      if (hostedBus && wanted.name === HOSTED_BUS) {
        entries.push(hosted(consumer.name, wanted));
        continue;
      }
      const met = containers.flatMap((provider) =>
        provider.exports
          .filter(({ name }) => name === wanted.name)
          .map((service) => entry(consumer, provider, wanted, service)),
      );
      entries.push(...met);
      const who = `${JSON.stringify(consumer.name)} wants service ${JSON.stringify(wanted.name)}`;
      if (met.length > 1)
        warnings.push(
          `${who}, which ${met.map(({ provider }) => JSON.stringify(provider)).join(" and ")} export: only the first is connected`,
        );
      if (met.length > 0) continue;
      const hint = wanted.name === HOSTED_BUS ? " (with --hosted-bus Pantavisor itself does)" : "";
      if (wanted.optional) warnings.push(`${who}, which is optional and which nobody exports${hint}`);
      else errors.push(`${who}, which nobody exports${hint}`);
    }
  }
  return { entries, errors, warnings };
}

function entry(
  consumer: Container,
  provider: Container,
  wanted: Requirement,
  { name, type, socket }: ServiceExport,
): GraphEntry {
  return {
    consumer: consumer.name,
    consumer_pid: NOT_STARTED,
    provider: provider.name,
    provider_pid: NOT_STARTED,
    name,
    type,
    role: wanted.role ?? "any",
    interface: wanted.interface ?? type,
    target: wanted.target,
    socket,
  };
}

/** Without `uid`: Pantavisor assigns those when it first sees a role, and keeps them on the device. */
function hosted(consumer: string, { name, role, interface: iface, target }: Requirement): GraphEntry {
  return {
    consumer,
    consumer_pid: NOT_STARTED,
    provider: HOST_PROVIDER,
    provider_pid: 0,
    name,
    type: "dbus",
    role: role ?? "any",
    interface: iface ?? "dbus",
    target,
    socket: HOSTED_BUS_SOCKET,
  };
}
