/**
 * The nodes of one link in one consumer: from what is wanted and what stands to what
 * to plant, keep and remove; and whether each can be opened there.
 */
import type { WantedNode } from "../../devices/find.ts";
import { probeDevice } from "../../inject/device-probe.ts";
import { type PlantedNode, plantNode, removeNode, verifyNode } from "../../inject/devnode.ts";
import type { Journal } from "../../inject/journal.ts";
import type { NodeSpec } from "../../inject/node-spec.ts";
import type { ContainerRoot } from "../../inject/root.ts";
import { splitPath } from "../../inject/settle.ts";
import { readProc } from "../../sys/process.ts";
import { pvx } from "../../sys/shim.ts";
import { carriedOver, HOST_IDS, IdMap } from "./owner.ts";

export interface LinkNode {
  readonly wanted: WantedNode;
  readonly planted: PlantedNode;
  /** Why the consumer can't open it; undefined when it can. */
  readonly refused: string | undefined;
}

export type LinkNodes = ReadonlyMap<string, LinkNode>;

/** Id maps of both ends, read once for each time of planting. */
export interface Owners {
  readonly uid: (wanted: WantedNode) => number;
  readonly gid: (wanted: WantedNode) => number;
}

export function ownersFor(consumerPid: number, providerPid: number): Owners {
  const carry = (file: "uid_map" | "gid_map", id: (wanted: WantedNode) => number) => {
    const consumer = new IdMap(readProc(`/proc/${consumerPid}/${file}`));
    const provider = providerPid === 0 ? HOST_IDS : new IdMap(readProc(`/proc/${providerPid}/${file}`));
    return (wanted: WantedNode) => carriedOver(id(wanted), wanted.owner === "inside" ? HOST_IDS : provider, consumer);
  };
  return { uid: carry("uid_map", (wanted) => wanted.uid), gid: carry("gid_map", (wanted) => wanted.gid) };
}

const specOf = (wanted: WantedNode, owners: Owners): NodeSpec => ({
  major: wanted.major,
  minor: wanted.minor,
  mode: wanted.mode,
  uid: owners.uid(wanted),
  gid: owners.gid(wanted),
});

const sameSpec = (a: NodeSpec, b: NodeSpec): boolean =>
  a.major === b.major && a.minor === b.minor && a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;

/** What of `wanted` is not as it stands, as a clause; undefined when nothing is. */
export function differenceOf(nodes: LinkNodes, wanted: readonly WantedNode[]): string | undefined {
  const seen = new Set<string>();
  for (const now of wanted) {
    seen.add(now.target);
    const before = nodes.get(now.target)?.wanted;
    if (before === undefined) return `device ${now.source} has appeared`;
    if (before.major !== now.major || before.minor !== now.minor)
      return `device ${now.source} is now ${now.major}:${now.minor}`;
    if (before.mode !== now.mode || before.uid !== now.uid || before.gid !== now.gid || before.owner !== now.owner)
      return `mode or owner of device ${now.source} has changed`;
  }
  for (const [target, { wanted: gone }] of nodes) if (!seen.has(target)) return `device ${gone.source} has gone`;
  return undefined;
}

export interface PlantEvents {
  injected(wanted: WantedNode): void;
  removed(node: PlantedNode): void;
  trouble(message: string): void;
}

export interface Planting {
  readonly root: ContainerRoot;
  readonly journal: Journal;
  readonly owners: Owners;
  readonly events: PlantEvents;
  /** True for a record in the journal whose node another link keeps. */
  readonly sharedBy: (journalId: number) => boolean;
}

/**
 * Plants `wanted` over `before`, which is of the same container: what stands as wanted is
 * kept. Throws the first reason; the nodes that this call has planted are gone then, and
 * those of `before` that it had not touched still stand.
 */
export function plantAll(planting: Planting, wanted: readonly WantedNode[], before: LinkNodes): Map<string, LinkNode> {
  const { root, journal, owners, events } = planting;
  const nodes = new Map<string, LinkNode>();
  const fresh: PlantedNode[] = [];
  try {
    for (const device of wanted) {
      const spec = specOf(device, owners);
      const known = before.get(device.target);
      const same = known !== undefined && sameSpec(known.planted, spec);
      // Not tried again where it could be opened: a card's first opener is its master for that moment.
      if (same && verifyNode(root, known.planted).state === "ok")
        nodes.set(device.target, { ...known, wanted: device });
      else {
        const node = plantOne(planting, device, spec, known?.planted);
        fresh.push(node.planted);
        nodes.set(device.target, node);
        events.injected(device);
      }
    }
  } catch (error) {
    for (const node of fresh) removeNode(root, node, journal);
    throw error;
  }
  for (const [target, { planted }] of before) {
    if (nodes.has(target)) continue;
    const trouble = removeNode(root, planted, journal);
    if (trouble === undefined) events.removed(planted);
    else events.trouble(trouble);
  }
  return nodes;
}

function plantOne(planting: Planting, wanted: WantedNode, spec: NodeSpec, previous: PlantedNode | undefined): LinkNode {
  const { root, journal, sharedBy } = planting;
  const request = { root, target: wanted.target, spec, journal, sharedBy };
  const planted = plantNode(previous === undefined ? request : { ...request, previous });
  const probe = probed(root, wanted, planted);
  // A file system that only the open tells about: an overlay or a FUSE mount of another user namespace.
  if (!probe.nodev || planted.how === "mount") return { wanted, planted, refused: probe.refused };
  const mounted = plantNode({ ...request, how: "mount", previous: planted });
  return { wanted, planted: mounted, refused: probed(root, wanted, mounted).refused };
}

/** Can the consumer open it? */
function probed(
  root: ContainerRoot,
  { major, minor, deviceClass }: WantedNode,
  planted: PlantedNode,
): { readonly refused: string | undefined; readonly nodev: boolean } {
  const { directory, name } = splitPath(planted.path);
  let opened = -1;
  try {
    opened = root.openDirectory(directory, false);
    const open = deviceClass !== "other";
    const probe = probeDevice(root.pid, { directory: opened, name, numbers: `${major}:${minor}`, open });
    return probe.ok ? { refused: undefined, nodev: false } : { refused: probe.reason, nodev: probe.nodev };
  } catch (error) {
    return { refused: `can't be tried from inside the consumer: ${(error as Error).message}`, nodev: false };
  } finally {
    if (opened >= 0) pvx.pvx_close(opened);
  }
}

/** Tries again those that could not be opened: a rule of the cgroup may have been added. */
export function probeRefused(root: ContainerRoot, nodes: Map<string, LinkNode>): void {
  for (const [target, node] of nodes)
    if (node.refused !== undefined)
      nodes.set(target, { ...node, refused: probed(root, node.wanted, node.planted).refused });
}
