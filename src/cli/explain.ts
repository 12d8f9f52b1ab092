/** `pv-xconnect explain`: the policy decision for one hypothetical request, with the rule that made it. */
import { parseArgs } from "node:util";
import { LINK_TYPES, type Link, type LinkType } from "../graph/link.ts";
import { readGraph } from "../graph/schema.ts";
import { type Explanation, explain } from "../policy/explain.ts";
import { lookupService } from "../policy/merge.ts";
import type { ServicePolicy } from "../policy/schema.ts";
import { loadPolicy } from "../policy-source/policy-dir.ts";
import { type Command, type CommandIo, EXIT_OK, EXIT_RUNTIME, UsageError } from "./command.ts";
import { readGraphOnce } from "./one-graph.ts";
import { columns, plain } from "./plain-text.ts";
import { setting } from "./settings.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect explain SERVICE [OPTIONS] [--] [REQUEST...]

Tells whether policy allows a link to SERVICE, or one request on it, and which rule decides.

  rest     METHOD PATH                            GET /v1/status
  dbus     call NAME INTERFACE.MEMBER [PATH [PROPERTIES-INTERFACE]]
           signal INTERFACE.MEMBER [PATH]         own NAME
           hear NAME INTERFACE.MEMBER [PATH]      see NAME
  wayland  GLOBAL [VERSION]                       zwlr_layer_shell_v1 4
  unix, drm, input: no request, the link is what is judged

  --policy DIR      policy files (default /etc/pv-xconnect/policy.d)
  --consumer NAME   who asks (default "app")
  --role ROLE       under which role (default "any")
  --type TYPE       ${LINK_TYPES.join(", ")} (default the policy's)
  --interface TEXT  the link's interface, as in the graph
  --target PATH     where it is planted     --socket PATH  what it reaches
  --graph FILE      take what is not given from this graph's link instead
  --json            the decision as JSON

Exit status 0 when it is allowed, 1 when it is not.
`;

const OPTIONS = {
  policy: { type: "string" },
  consumer: { type: "string" },
  role: { type: "string" },
  type: { type: "string" },
  interface: { type: "string" },
  target: { type: "string" },
  socket: { type: "string" },
  graph: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;
type Given = { readonly [K in Exclude<keyof typeof OPTIONS, "json" | "help">]?: string | undefined };

/** The link of the graph that fits what was given. More than one is as wrong as none: the answers could differ. */
async function linkOfGraph(service: string, given: Given, env: CommandIo["env"]): Promise<Link> {
  const { links } = await readGraphOnce({ graph: given.graph }, env);
  const fits = links.filter(
    (link) =>
      link.name === service &&
      [undefined, link.consumer].includes(given.consumer) &&
      [undefined, link.role].includes(given.role) &&
      [undefined, link.target].includes(given.target),
  );
  if (fits.length === 1) return fits[0]!;
  const asked = `service ${JSON.stringify(service)} and what else was given`;
  if (fits.length === 0) throw new Error(`Cannot find a link in ${given.graph} that fits ${asked}`);
  const list = fits
    .map(({ consumer, role, target }) => `--consumer ${consumer} --role ${role} --target ${target}`)
    .join("; ");
  throw new Error(`Cannot tell which of ${fits.length} links is meant by ${asked}: ${list}`);
}

/** A link that the graph could have: through the same parser, so that defaults and limits are the same. */
function hypothetical(service: string, given: Given, policy: ServicePolicy | undefined): Link {
  const type = given.type ?? policy?.type;
  if (type === undefined)
    throw new UsageError(`Cannot tell the type of ${JSON.stringify(service)}, no policy speaks of it: give --type`);
  const device = type === "drm" || type === "input";
  const entry = {
    type,
    name: service,
    consumer: given.consumer ?? "app",
    consumer_pid: -1,
    provider: "provider",
    provider_pid: -1,
    role: given.role,
    interface: given.interface,
    target: given.target,
    socket: given.socket ?? (device ? (given.target ?? "/dev/dri/renderD128") : "/run/provider.sock"),
  };
  const graph = readGraph([entry]);
  if (graph.ok && graph.links[0] !== undefined) return graph.links[0];
  const skipped = graph.ok ? graph.skipped[0] : undefined;
  throw new UsageError(`Cannot make a link of this: ${skipped?.pointer.replace("/0/", "")} ${skipped?.reason}`);
}

function linkWith(link: Link, given: Given): Link {
  const type = given.type ?? link.type;
  if (!LINK_TYPES.includes(type as LinkType))
    throw new UsageError(`Cannot use --type ${type}: expected one of ${LINK_TYPES.join(", ")}`);
  return {
    ...link,
    type: type as LinkType,
    interface: given.interface ?? link.interface,
    socket: given.socket ?? link.socket,
  };
}

function answer(link: Link, request: readonly string[], decision: Explanation, json: boolean, io: CommandIo): number {
  const { consumer, role, name, type } = link;
  if (json)
    io.out(`${JSON.stringify({ ...decision, link: { type, name, consumer, role, target: link.target }, request })}\n`);
  else {
    const rows = [
      ["  request", request.length === 0 ? "(the link itself)" : request.join(" ")],
      [
        "  as",
        `consumer ${JSON.stringify(consumer)}, role ${JSON.stringify(role)}, service ${JSON.stringify(name)} (${type})`,
      ],
      ["  rule", decision.rule],
      ["  because", decision.detail],
    ];
    io.out(`${decision.allowed ? "allowed" : "refused"}\n${columns(rows)}`);
  }
  return decision.allowed ? EXIT_OK : EXIT_RUNTIME;
}

export const command: Command = {
  name: "explain",
  summary: "the policy decision for one request, with its rule",
  async run(argv, io) {
    const { values, positionals } = usage(() => parseArgs({ args: argv, options: OPTIONS, allowPositionals: true }));
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const [service, ...request] = positionals;
    if (service === undefined) throw new UsageError("Cannot explain nothing: expected a SERVICE");
    const policy = loadPolicy(setting("policy", values, io.env));
    for (const error of policy.errors) io.err(`warning: ${plain(error)}\n`);
    const found = lookupService(policy, service);
    const rules = found.kind === "policy" ? found.policy : undefined;
    const link = linkWith(
      values.graph === undefined ? hypothetical(service, values, rules) : await linkOfGraph(service, values, io.env),
      values,
    );
    if (found.kind === "refused") {
      const decision = { allowed: false, rule: "a policy file that can't be read", detail: found.reason };
      return answer(link, request, decision, values.json === true, io);
    }
    const decision = explain(link, rules, request);
    if ("expected" in decision)
      throw new UsageError(
        `Cannot judge the request ${JSON.stringify(request.join(" "))}: expected ${decision.expected}`,
      );
    return answer(link, request, decision, values.json === true, io);
  },
};
