/**
 * Device links (types drm and input): nodes of the provider's devices in the consumer.
 * There is no data plane: what the consumer opens is the kernel's own device, and what
 * it has opened stays open when the link goes.
 *
 * A device that is not there yet is no failure: the link stands with the nodes that are
 * (`degraded` while one is missing), and a change in the provider's directories has the
 * controller look again at once.
 */
import { type FoundDevices, findDevices, type WantedNode } from "../../devices/find.ts";
import { ProviderFiles } from "../../devices/provider-files.ts";
import { Sysfs } from "../../devices/sysfs.ts";
import type { Link } from "../../graph/link.ts";
import { type PlantedNode, removeNode, verifyNode } from "../../inject/devnode.ts";
import type { Journal } from "../../inject/journal.ts";
import { ContainerRoot, isOurShortage } from "../../inject/root.ts";
import { RootWatch } from "../../inject/root-watch.ts";
import type { Log } from "../../observe/log.ts";
import { type DeviceGrant, decideDeviceLink } from "../../policy/drm.ts";
import type { ServicePolicy } from "../../policy/schema.ts";
import { ProcessHandle } from "../../sys/process.ts";
import type { Check, Mediator, Planted, Verdict } from "../mediator.ts";
import { differenceOf, type LinkNode, ownersFor, type PlantEvents, plantAll, probeRefused } from "./nodes.ts";

export type DeviceType = "drm" | "input";
export type DeviceConfig = DeviceGrant;

export interface DeviceServices {
  readonly journal: Journal;
  readonly log: Log;
  /** Where the kernel's devices are described; another directory in tests. */
  readonly sysfs?: Sysfs;
  /** The devices of this link's provider may have changed: look at it soon. */
  readonly changed: (key: string) => void;
}

export interface DevicePlanted extends Planted {
  readonly link: Link;
  config: DeviceConfig;
  readonly consumer: ProcessHandle;
  readonly provider: ProcessHandle | undefined;
  readonly root: ContainerRoot;
  readonly source: ProviderFiles;
  readonly nodes: Map<string, LinkNode>;
  readonly watch: RootWatch;
  /** What the link names and was not there at the last look. */
  missing: readonly string[];
}

/** Reasons in one `status` line; the rest are counted. */
const REASONS_MAX = 3;
/** Notes logged at one planting: a directory full of other things is not worth a page. */
const NOTES_MAX = 10;

/** Pure. A consumer on the host is refused: its /dev is the host's own. */
export function checkDevice(type: DeviceType, link: Link, policy: ServicePolicy | undefined): Check<DeviceConfig> {
  if (link.consumerPid === 0)
    return {
      ok: false,
      reason: `Cannot plant device ${link.target} in consumer ${JSON.stringify(link.consumer)}: its consumer_pid is 0, the host; a container is needed`,
    };
  const decision = decideDeviceLink({ ...link, type }, policy);
  if (!decision.ok) return { ok: false, reason: decision.reason };
  const { selector, classes, rule } = decision;
  return { ok: true, config: { selector, classes, rule } };
}

export class DeviceMediator implements Mediator<DeviceConfig, DevicePlanted> {
  readonly type: DeviceType;
  private readonly services: DeviceServices;
  private readonly sysfs: Sysfs;
  /** Of both types: two links may mean the same node. */
  private readonly live: Set<DevicePlanted>;

  constructor(type: DeviceType, services: DeviceServices, live: Set<DevicePlanted> = new Set()) {
    this.type = type;
    this.services = services;
    this.sysfs = services.sysfs ?? new Sysfs();
    this.live = live;
  }

  check(link: Link, policy: ServicePolicy | undefined): Check<DeviceConfig> {
    return checkDevice(this.type, link, policy);
  }

  async establish(link: Link, config: DeviceConfig, previous: DevicePlanted | undefined): Promise<DevicePlanted> {
    const ends = openEnds(link);
    const { consumer, provider, root, source } = ends;
    const watch = new RootWatch(source.root, () => this.services.changed(link.key));
    try {
      const found = this.find(source, link, config);
      watch.follow(found.watch);
      const nodes = this.plant(link, root, found, previous);
      // Without a node they are the link's reason already.
      if (nodes.size > 0)
        for (const note of found.notes.slice(0, NOTES_MAX)) this.log("info", `${link.target}: ${note}`);
      if (previous !== undefined) this.leave(previous, root);
      const { missing } = found;
      const planted = {
        link,
        config,
        consumer,
        provider,
        root,
        source,
        nodes,
        watch,
        missing,
        summary: summaryOf(nodes),
      };
      this.live.add(planted);
      return planted;
    } catch (error) {
      watch.close();
      closeEnds(ends);
      throw error;
    }
  }

  /** The decision on what may be given has changed: `verify`, which follows, compares what stands with it. */
  update(planted: DevicePlanted, _link: Link, config: DeviceConfig): void {
    planted.config = config;
  }

  verify(planted: DevicePlanted): Verdict {
    const { root, nodes, link, source } = planted;
    for (const { planted: node } of nodes.values()) {
      const place = verifyNode(root, node);
      if (place.state === "drifted") return place;
    }
    // Its nodes name the kernel's devices, which are there without it. When it is back they are compared anew.
    if (planted.provider?.alive === false)
      return { state: "degraded", reason: `The provider ${JSON.stringify(link.provider)} is not up` };
    let found: FoundDevices;
    try {
      found = this.find(source, link, planted.config);
    } catch (error) {
      if (isOurShortage(error)) return { state: "degraded", reason: (error as Error).message };
      return { state: "drifted", reason: (error as Error).message };
    }
    planted.watch.follow(found.watch);
    planted.missing = found.missing;
    const difference = differenceOf(nodes, found.nodes);
    if (difference !== undefined) return { state: "drifted", reason: difference };
    probeRefused(root, nodes);
    return verdictOf(planted, found.notes);
  }

  async teardown(planted: DevicePlanted): Promise<void> {
    this.live.delete(planted);
    planted.watch.close();
    for (const { planted: node } of planted.nodes.values()) this.remove(planted, node);
    planted.nodes.clear();
    closeEnds(planted);
  }

  private find(source: ProviderFiles, link: Link, config: DeviceConfig): FoundDevices {
    const { selector, classes } = config;
    return findDevices(source, this.sysfs, { selector, classes, role: link.role, target: link.target });
  }

  private plant(
    link: Link,
    root: ContainerRoot,
    found: FoundDevices,
    previous: DevicePlanted | undefined,
  ): Map<string, LinkNode> {
    const samePlace = previous !== undefined && isSameRoot(previous.root, root);
    const others = [...this.live].filter((planted) => planted !== previous);
    const planting = {
      root,
      journal: this.services.journal,
      owners: ownersFor(link.consumerPid, link.providerPid),
      events: this.eventsOf(link),
      sharedBy: (id: number) =>
        others.some(({ nodes }) =>
          [...nodes.values()].some(({ planted }) => planted.journalId === id && !planted.shared),
        ),
    };
    return plantAll(planting, found.nodes, samePlace ? previous.nodes : new Map());
  }

  private eventsOf(link: Link): PlantEvents {
    const who = (numbers: string) => `(consumer pid ${link.consumerPid}, dev ${numbers})`;
    return {
      injected: ({ source, target, major, minor }: WantedNode) =>
        this.log("info", `pvx-${this.type}: Injected device ${source} -> ${target} ${who(`${major}:${minor}`)}`),
      removed: ({ path, major, minor }: PlantedNode) =>
        this.log("info", `pvx-${this.type}: Removed device ${path} ${who(`${major}:${minor}`)}`),
      trouble: (message) => this.log("warn", message),
    };
  }

  /** What a replaced link leaves behind: nodes in another container, and its fds. */
  private leave(previous: DevicePlanted, root: ContainerRoot): void {
    this.live.delete(previous);
    previous.watch.close();
    if (!isSameRoot(previous.root, root))
      for (const { planted } of previous.nodes.values()) this.remove(previous, planted);
    previous.nodes.clear();
    closeEnds(previous);
  }

  private remove({ link, root }: DevicePlanted, node: PlantedNode): void {
    const events = this.eventsOf(link);
    const trouble = removeNode(root, node, this.services.journal);
    if (trouble !== undefined) events.trouble(trouble);
    else if (!node.shared) events.removed(node);
  }

  private log(level: "info" | "warn", message: string): void {
    this.services.log.log(level, this.type, message);
  }
}

/** Mediators of both device types. They know of each other's nodes. */
export function deviceMediators(services: DeviceServices): DeviceMediator[] {
  const live = new Set<DevicePlanted>();
  return [new DeviceMediator("drm", services, live), new DeviceMediator("input", services, live)];
}

interface Ends {
  readonly consumer: ProcessHandle;
  readonly provider: ProcessHandle | undefined;
  readonly root: ContainerRoot;
  readonly source: ProviderFiles;
}

function openEnds(link: Link): Ends {
  const consumer = believed("consumer", link.consumer, link.consumerPid, link.consumerStart);
  try {
    const provider =
      link.providerPid === 0 ? undefined : believed("provider", link.provider, link.providerPid, link.providerStart);
    const there =
      provider === undefined
        ? ContainerRoot.host()
        : ContainerRoot.of(provider, `provider ${JSON.stringify(link.provider)}`);
    const root = ContainerRoot.of(consumer, `consumer ${JSON.stringify(link.consumer)}`);
    return { consumer, provider, root, source: new ProviderFiles(there) };
  } catch (error) {
    consumer.close();
    throw error;
  }
}

function closeEnds({ consumer, provider, root, source }: Ends): void {
  root.close();
  source.root.close();
  consumer.close();
  provider?.close();
}

/** The process, if it is still the one that was believed when the link was planned. */
function believed(side: string, name: string, pid: number, start: string | undefined): ProcessHandle {
  const handle = new ProcessHandle(pid);
  if (start === undefined || handle.startTime === start) return handle;
  handle.close();
  throw new Error(`Cannot enter ${side} ${JSON.stringify(name)}: pid ${pid} is another process by now`);
}

const isSameRoot = (a: ContainerRoot, b: ContainerRoot): boolean => a.pid === b.pid && a.startTime === b.startTime;

function summaryOf(nodes: ReadonlyMap<string, LinkNode>): string {
  const all = [...nodes.values()].map(({ wanted }) => `${wanted.target} (${wanted.major}:${wanted.minor})`);
  return all.length === 0 ? "no device yet" : `device ${all.join(", ")}`;
}

function verdictOf({ nodes, missing }: DevicePlanted, notes: readonly string[]): Verdict {
  const refused = [...nodes.values()].flatMap((node) =>
    node.refused === undefined ? [] : [`${node.wanted.target}: ${node.refused}`],
  );
  const wrong = [...refused, ...missing, ...(nodes.size === 0 ? notes : [])];
  if (wrong.length === 0 && nodes.size > 0) return { state: "ok" };
  const told = wrong.slice(0, REASONS_MAX).join("; ");
  const more = wrong.length > REASONS_MAX ? `; and ${wrong.length - REASONS_MAX} more` : "";
  return { state: "degraded", reason: nodes.size > 0 ? `${told}${more}` : `Waiting for the device: ${told}${more}` };
}
