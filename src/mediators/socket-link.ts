/**
 * The control half of every link that is a socket in the consumer: find out what the
 * provider listens on, plant a socket of the same kind, hand it to the data plane.
 * unix, rest, dbus and wayland differ in what `check` makes of policy, and in their
 * data-plane halves; what they share stands here once.
 *
 * Replacing: a link whose consumer, role or provider changed gets a new slot (its open
 * sessions belong to the former identity and end); one that only drifted keeps its slot
 * and its sessions and gets a new listening socket.
 */
import type { Link } from "../graph/link.ts";
import type { Journal } from "../inject/journal.ts";
import { type ProviderEndpoint, probeSocketType, type SocketTypeProbe } from "../inject/provider.ts";
import { removeSockets } from "../inject/remove-many.ts";
import { ContainerRoot } from "../inject/root.ts";
import { type PlantedSocket, plantSocket, removeSocket, verifySocket } from "../inject/socket.ts";
import type { Log } from "../observe/log.ts";
import type { ServicePolicy } from "../policy/schema.ts";
import type { LinkIdentity } from "../relay/filter.ts";
import { ProcessHandle } from "../sys/process.ts";
import type { Check, Mediator, Planted, Verdict } from "./mediator.ts";

/** What every socket link's configuration has. */
export interface SocketLinkConfig {
  readonly provider: ProviderEndpoint;
}

/** The data plane as mediators see it. */
export interface LinkPlane {
  open(listenFd: number, seqpacket: boolean, link: LinkIdentity, config: unknown): number;
  configure(slot: number, config: unknown): void;
  replaceListener(slot: number, listenFd: number, seqpacket: boolean): void;
  close(slot: number): Promise<void>;
  /** What the data plane last said of the link's provider; undefined before the first dial. */
  provider(slot: number): { readonly reachable: boolean; readonly reason: string } | undefined;
  /** What keeps the data plane from serving the link at all; null: nothing. */
  trouble(slot: number): string | null;
}

export interface SocketLinkServices {
  readonly plane: LinkPlane;
  readonly journal: Journal;
  readonly log: Log;
}

export interface SocketPlanted extends Planted {
  readonly link: Link;
  config: SocketLinkConfig;
  readonly slot: number;
  readonly socket: PlantedSocket;
  readonly root: ContainerRoot;
  readonly consumer: ProcessHandle | undefined;
  seqpacket: boolean;
  /** Why the provider could not be found when it was last looked for; undefined when it was there. */
  absent: string | undefined;
}

export const identityOf = (link: Link): LinkIdentity => ({
  type: link.type,
  name: link.name,
  consumer: link.consumer,
  provider: link.provider,
  role: link.role,
  interface: link.interface,
  target: link.target,
});

/** Changes that only concern where the provider is: sessions live on. */
function sameSessions(before: Link, after: Link): boolean {
  const a = identityOf(before);
  const b = identityOf(after);
  return (
    (Object.keys(a) as (keyof LinkIdentity)[]).every((field) => a[field] === b[field]) &&
    before.consumerPid === after.consumerPid &&
    before.socket === after.socket &&
    before.uid === after.uid
  );
}

export class SocketLinkMediator<C extends SocketLinkConfig> implements Mediator<C, SocketPlanted> {
  readonly type: Link["type"];
  readonly check: (link: Link, policy: ServicePolicy | undefined) => Check<C>;
  private readonly services: SocketLinkServices;
  private readonly leaving: { readonly planted: SocketPlanted; readonly done: () => void }[] = [];

  constructor(
    type: Link["type"],
    check: (link: Link, policy: ServicePolicy | undefined) => Check<C>,
    services: SocketLinkServices,
  ) {
    this.type = type;
    this.check = check;
    this.services = services;
  }

  async establish(link: Link, config: C, previous: SocketPlanted | undefined): Promise<SocketPlanted> {
    const probe = probeSocketType(config.provider);
    if (typeof probe === "object") throw new Error(probe.refused);
    const seqpacket = probe === "seqpacket";
    const ready: C = { ...config, provider: { ...config.provider, seqpacket } };
    const consumer = link.consumerPid === 0 ? undefined : believed(link);
    const root =
      consumer === undefined
        ? ContainerRoot.host()
        : ContainerRoot.of(consumer, `consumer ${JSON.stringify(link.consumer)}`);
    try {
      const socket = plantSocket({
        root,
        target: link.target,
        seqpacket,
        journal: this.services.journal,
        ...(previous === undefined ? {} : { previous: previous.socket }),
      });
      return await this.serve(link, ready, seqpacket, probe, socket, root, consumer, previous);
    } catch (error) {
      root.close();
      consumer?.close();
      throw error;
    }
  }

  private async serve(
    link: Link,
    config: C,
    seqpacket: boolean,
    probe: SocketTypeProbe,
    socket: PlantedSocket,
    root: ContainerRoot,
    consumer: ProcessHandle | undefined,
    previous: SocketPlanted | undefined,
  ): Promise<SocketPlanted> {
    const { plane } = this.services;
    let slot: number;
    if (previous !== undefined && previous.seqpacket === seqpacket && sameSessions(previous.link, link)) {
      slot = previous.slot;
      plane.replaceListener(slot, socket.listenFd, seqpacket);
      plane.configure(slot, config);
    } else {
      slot = plane.open(socket.listenFd, seqpacket, identityOf(link), config);
      if (previous !== undefined) await plane.close(previous.slot);
    }
    if (previous !== undefined) this.leave(previous, socket, root);
    return {
      summary: `socket ${link.target}${seqpacket ? " (seqpacket)" : ""}`,
      link,
      config,
      slot,
      socket,
      root,
      consumer,
      seqpacket,
      absent: probe === "absent" ? notThere(link) : undefined,
    };
  }

  /** What a replaced link leaves behind: another path, or nothing when the new socket took its place. */
  private leave(previous: SocketPlanted, now: PlantedSocket, root: ContainerRoot): void {
    if (
      previous.socket.path !== now.path ||
      previous.root.startTime !== root.startTime ||
      previous.root.pid !== root.pid
    )
      this.remove(previous);
    previous.root.close();
    previous.consumer?.close();
  }

  private remove(planted: SocketPlanted): void {
    const trouble = removeSocket(planted.root, planted.socket, this.services.journal);
    if (trouble !== undefined) this.services.log.log("warn", "inject", trouble);
  }

  /** Resolves when it is taken away, together with whatever else is to go in this turn of the loop. */
  private removed(planted: SocketPlanted): Promise<void> {
    return new Promise((done) => {
      if (this.leaving.push({ planted, done }) === 1) setImmediate(() => this.removeLeaving());
    });
  }

  private removeLeaving(): void {
    const all = this.leaving.splice(0);
    const { journal, log } = this.services;
    const troubles = removeSockets(
      all.map(({ planted }) => planted),
      journal,
    );
    for (const trouble of troubles) log.log("warn", "inject", trouble);
    for (const { done } of all) done();
  }

  update(planted: SocketPlanted, _link: Link, config: C): void {
    const provider = { ...config.provider, seqpacket: planted.seqpacket };
    planted.config = { ...config, provider };
    this.services.plane.configure(planted.slot, planted.config);
  }

  verify(planted: SocketPlanted): Verdict {
    const place = verifySocket(planted.root, planted.socket);
    if (place.state === "drifted") return place;
    const trouble = this.services.plane.trouble(planted.slot);
    if (trouble !== null) return { state: "degraded", reason: trouble };
    const said = this.services.plane.provider(planted.slot);
    if (said?.reachable === true) planted.absent = undefined;
    else if (said !== undefined || planted.absent !== undefined) {
      // Nobody may dial for a long time: look whether the provider is there by now.
      const probe = probeSocketType({ ...planted.config.provider, seqpacket: true });
      if (typeof probe === "object") planted.absent = probe.refused;
      else if (probe === "absent") planted.absent = notThere(planted.link);
      else if ((probe === "seqpacket") !== planted.seqpacket)
        return { state: "drifted", reason: `the provider's socket is now a ${probe} socket` };
      else planted.absent = undefined;
    }
    return planted.absent === undefined ? { state: "ok" } : { state: "degraded", reason: planted.absent };
  }

  async teardown(planted: SocketPlanted): Promise<void> {
    // The path first: whoever connects from now on is refused by the kernel, not accepted and cut.
    await this.removed(planted);
    await this.services.plane.close(planted.slot);
    planted.root.close();
    planted.consumer?.close();
  }
}

/** The consumer's process, if it is still the one that was believed when the link was planned. */
function believed(link: Link): ProcessHandle {
  const handle = new ProcessHandle(link.consumerPid);
  if (link.consumerStart === undefined || handle.startTime === link.consumerStart) return handle;
  handle.close();
  throw new Error(
    `Cannot enter consumer ${JSON.stringify(link.consumer)}: pid ${link.consumerPid} is another process by now`,
  );
}

const notThere = (link: Link): string =>
  `Cannot reach the provider ${JSON.stringify(link.provider)}: nothing listens on ${link.socket} yet`;

/** The provider's end as the graph gives it. */
export const endpointOf = (link: Link, path = link.socket): ProviderEndpoint => ({
  pid: link.providerPid,
  ...(link.providerStart === undefined ? {} : { startTime: link.providerStart }),
  path,
  seqpacket: false,
});
