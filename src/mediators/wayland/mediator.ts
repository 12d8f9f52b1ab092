/** Wayland links, control half: the globals of the role, and the consumer's identity at the compositor. */
import type { Link } from "../../graph/link.ts";
import { probeSocketType } from "../../inject/provider.ts";
import type { ServicePolicy } from "../../policy/schema.ts";
import { waylandAccess } from "../../policy/wayland.ts";
import { pvx } from "../../sys/shim.ts";
import type { Check, Mediator, Verdict } from "../mediator.ts";
import { endpointOf, SocketLinkMediator, type SocketLinkServices, type SocketPlanted } from "../socket-link.ts";
import type { ContextState, WaylandConfig } from "./handler.ts";
import { LinkContext } from "./link-context.ts";
import { BOUND_REPORT, type BoundInterfaces, CONTEXT_OFFERED_REPORT, HIDE_ACTION } from "./reports.ts";

/** Stands in what `check` answers: the real state is the planted link's. */
const UNASKED: ContextState = { state: "pending", reason: "Cannot dial the compositor: it has not been asked yet" };

/** A compositor that is up answers within a millisecond or two. So long a new link is "establishing" before it is "degraded". */
const FIRST_ANSWER_MS = 500;

export function checkWayland(link: Link, policy: ServicePolicy | undefined): Check<WaylandConfig> {
  const decision = waylandAccess(link, policy);
  if (!decision.ok) return { ok: false, reason: decision.reason };
  return { ok: true, config: { provider: endpointOf(link), table: decision.table, context: UNASKED } };
}

export interface WaylandPlanted extends SocketPlanted {
  context: LinkContext;
  /** Interfaces that were bound over the link, each with the highest version. Never more than the policy's tables have. */
  readonly bound: Map<string, number>;
  /** What the last session said is hidden from it. */
  hidden: unknown;
}

export interface WaylandServices extends SocketLinkServices {
  /** The daemon's state directory. */
  readonly directory: string;
  /** A link's verdict may have changed: look at it again. */
  readonly changed: (key: string) => void;
}

export class WaylandMediator implements Mediator<WaylandConfig, WaylandPlanted> {
  readonly type = "wayland";
  readonly check = checkWayland;
  private readonly services: WaylandServices;
  private readonly sockets: SocketLinkMediator<WaylandConfig>;
  private readonly planted = new Map<string, WaylandPlanted>();

  constructor(services: WaylandServices) {
    this.services = services;
    this.sockets = new SocketLinkMediator("wayland", checkWayland, services);
  }

  async establish(link: Link, config: WaylandConfig, previous: WaylandPlanted | undefined): Promise<WaylandPlanted> {
    if (probeSocketType(config.provider) === "seqpacket")
      throw new Error(
        `Cannot mediate ${link.socket}: a seqpacket socket; Wayland compositors listen on stream sockets`,
      );
    // The same compositor process under the same path: the identity it has taken stays.
    const kept = previous !== undefined && sameProvider(previous.context, config) ? previous.context : undefined;
    const context = kept ?? this.contextOf(link, config);
    const before = context.version;
    const state = context.forDataPlane();
    try {
      const base = await this.sockets.establish(link, { ...config, context: state }, previous);
      const planted = {
        ...base,
        context,
        bound: previous?.bound ?? new Map<string, number>(),
        hidden: previous?.hidden,
      };
      this.planted.set(link.key, planted);
      if (kept === undefined) previous?.context.close();
      // What was learned while it was being planted.
      if (context.version !== before) this.apply(link.key, context);
      if (kept === undefined) await context.asked(FIRST_ANSWER_MS);
      return planted;
    } catch (error) {
      if (state.state === "attached") pvx.pvx_close(state.socket);
      if (kept === undefined) context.close();
      throw error;
    }
  }

  update(planted: WaylandPlanted, link: Link, config: WaylandConfig): void {
    if (!sameProvider(planted.context, config)) {
      planted.context.close();
      planted.context = this.contextOf(link, config);
    }
    this.sockets.update(planted, link, { ...config, context: planted.context.forDataPlane() });
  }

  verify(planted: WaylandPlanted): Verdict {
    const socket = this.sockets.verify(planted);
    // Looked at in any case: it may be what has to begin anew.
    const context = planted.context.verify();
    return socket.state === "ok" ? context : socket;
  }

  async teardown(planted: WaylandPlanted): Promise<void> {
    if (this.planted.get(planted.link.key) === planted) this.planted.delete(planted.link.key);
    planted.context.close();
    await this.sockets.teardown(planted);
  }

  /** What the data-plane half reports of a link. */
  reported(key: string, kind: string, record: Readonly<Record<string, unknown>>): void {
    const planted = this.planted.get(key);
    if (kind === CONTEXT_OFFERED_REPORT) planted?.context.offered();
    if (kind !== BOUND_REPORT || planted === undefined) return;
    for (const [name, version] of record["interfaces"] as BoundInterfaces)
      planted.bound.set(name, Math.max(version, planted.bound.get(name) ?? 0));
  }

  /** A denial that says of this link what the last one said: each session tells what is hidden from it, and nobody asked for it. */
  isRepeated(key: string, action: string, asked: Readonly<Record<string, unknown>>): boolean {
    const planted = this.planted.get(key);
    if (planted === undefined || action !== HIDE_ACTION) return false;
    const repeated = planted.hidden === asked["globals"];
    planted.hidden = asked["globals"];
    return repeated;
  }

  /** `interface vN` of all that was bound over the link since it was made, sorted; undefined: no Wayland link of this key. */
  bound(key: string): string[] | undefined {
    const planted = this.planted.get(key);
    return planted === undefined
      ? undefined
      : [...planted.bound].map(([name, version]) => `${name} v${version}`).sort();
  }

  private contextOf(link: Link, config: WaylandConfig): LinkContext {
    const context: LinkContext = new LinkContext({
      provider: { ...config.provider, seqpacket: false },
      identity: { appId: link.consumer, instanceId: link.key },
      directory: this.services.directory,
      apply: () => this.apply(link.key, context),
    });
    return context;
  }

  /** Tells the data plane how to dial from here on. */
  private apply(key: string, context: LinkContext): void {
    const planted = this.planted.get(key);
    if (planted === undefined || planted.context !== context) return;
    const config = { ...(planted.config as WaylandConfig), context: context.forDataPlane() };
    this.services.plane.configure(planted.slot, config);
    this.services.changed(key);
  }
}

function sameProvider(context: LinkContext, { provider }: WaylandConfig): boolean {
  const { pid, startTime, path } = context.provider;
  return pid === provider.pid && startTime === provider.startTime && path === provider.path;
}
