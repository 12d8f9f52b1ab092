/**
 * From a link's selector to the nodes that it means right now: what is in the
 * provider, what the kernel says it is, and where each goes in the consumer.
 * Reads only; called again at each hotplug event and each reconcile.
 */
import { classOf, type DeviceClass } from "../policy/device-class.ts";
import {
  type DeviceSelector,
  type GpuSelector,
  globMatcher,
  type SetSelector,
  targetIsNode,
} from "../policy/device-selector.ts";
import { decideDevice } from "../policy/drm.ts";
import { CDI_BYTES_MAX, CDI_DIRECTORIES, CDI_FILES_MAX, type CdiFile, readCdi } from "./cdi.ts";
import type { CdiDeviceNode } from "./cdi-schema.ts";
import type { FileStat, ProviderFiles } from "./provider-files.ts";
import type { SysDevice, Sysfs } from "./sysfs.ts";

/** Nodes of one link. A machine with more event nodes than this is better served by several links. */
export const NODES_MAX = 256;

export interface DeviceRequest {
  readonly selector: DeviceSelector;
  readonly classes: readonly DeviceClass[];
  readonly role: string;
  /** Absolute path in the consumer: the node, or the directory for several. */
  readonly target: string;
}

export interface WantedNode {
  /** In the provider. */
  readonly source: string;
  /** In the consumer. */
  readonly target: string;
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly mode: number;
  /** Owner as the provider's container sees it where `owner` is "inside" (CDI), else in the host's ids. */
  readonly uid: number;
  readonly gid: number;
  readonly owner: "host" | "inside";
  readonly deviceClass: DeviceClass;
}

export interface FoundDevices {
  readonly nodes: readonly WantedNode[];
  /** What the link names and is not there. */
  readonly missing: readonly string[];
  /** What was left out, and why. */
  readonly notes: readonly string[];
  /** Directories of the provider in which a change may change the answer. */
  readonly watch: readonly string[];
}

/** What one selector came to, before the targets are known. */
interface Candidate {
  readonly source: string;
  /** Below the target directory; absolute for CDI. */
  readonly place: string;
  readonly stat: FileStat;
  readonly cdi?: CdiDeviceNode;
}

class Finder {
  readonly notes: string[] = [];
  readonly missing: string[] = [];
  readonly watch = new Set<string>();
  readonly provider: ProviderFiles;
  readonly sysfs: Sysfs;

  constructor(provider: ProviderFiles, sysfs: Sysfs) {
    this.provider = provider;
    this.sysfs = sysfs;
  }

  candidates(selector: DeviceSelector): Candidate[] {
    switch (selector.kind) {
      case "path":
      case "link":
        return this.node(selector.path, baseName(selector.path), selector.kind === "link");
      case "glob": {
        const matches = globMatcher(selector.pattern);
        return this.each(selector.directory, matches).flatMap((path) => this.tolerant(path, baseName(path)));
      }
      case "set":
        return this.set(selector);
      case "cdi":
        return this.cdi(selector.device);
      default:
        return this.gpu(selector).flatMap((device) => this.kernelNode(device, baseName(device.devName)));
    }
  }

  /** The one node at a path; anything but a character device there is an error. */
  private node(path: string, place: string, follow = false): Candidate[] {
    this.watch.add(directoryOf(path));
    const stat = this.provider.device(path, follow);
    if (stat !== undefined) return [{ source: path, place, stat }];
    this.missing.push(`${path} ${this.provider.where()} does not exist`);
    return [];
  }

  /** As `node`, where other things may stand between what is looked for. */
  private tolerant(path: string, place: string): Candidate[] {
    try {
      return this.node(path, place);
    } catch (error) {
      this.notes.push((error as Error).message);
      return [];
    }
  }

  /** Paths of the names in a directory that `matches` takes. */
  private each(directory: string, matches: (name: string) => boolean): string[] {
    this.watch.add(directory);
    const names = this.provider.list(directory);
    if (names === undefined) this.notes.push(`${directory} ${this.provider.where()} does not exist`);
    const found = (names ?? []).filter(matches);
    if (names !== undefined && found.length === 0)
      this.notes.push(`nothing in ${directory} ${this.provider.where()} matches`);
    if (found.length > NODES_MAX)
      throw new Error(`Cannot plant ${found.length} nodes for one link: at most ${NODES_MAX}`);
    return found.map((name) => (directory === "/" ? `/${name}` : `${directory}/${name}`));
  }

  /** The provider's node of a device that sysfs names. Its numbers must be that device's. */
  private kernelNode(device: SysDevice, place: string): Candidate[] {
    const path = `/dev/${device.devName}`;
    return this.tolerant(path, place).filter(({ stat }) => {
      if (stat.major === device.major && stat.minor === device.minor) return true;
      this.missing.push(
        `${path} ${this.provider.where()} is ${stat.major}:${stat.minor}, and ${device.sysName} is ${device.major}:${device.minor}`,
      );
      return false;
    });
  }

  private gpu(selector: Exclude<GpuSelector, { kind: "path" }>): SysDevice[] {
    this.watch.add("/dev/dri");
    const all = this.sysfs.ofClass("drm");
    const suffix = selector.kind === "driver" ? undefined : selector.suffix;
    const found = all.filter((device) => {
      if (suffix !== undefined && !device.sysName.startsWith(suffix)) return false;
      if (selector.kind === "pci") return device.pci === selector.address;
      return selector.kind === "platform" ? device.platform === selector.device : device.driver === selector.driver;
    });
    const what =
      selector.kind === "pci"
        ? `PCI device ${selector.address}`
        : selector.kind === "platform"
          ? `platform device ${selector.device}`
          : `driver ${selector.driver}`;
    if (found.length === 0) this.missing.push(`the kernel has no DRM ${suffix ?? "node"} of ${what}`);
    return found;
  }

  private set(selector: SetSelector): Candidate[] {
    switch (selector.set) {
      case "uinput":
        return this.node("/dev/uinput", "uinput");
      case "nvidia":
        return this.nvidia(selector.gpu);
      case "compositor":
        return [
          ...this.compositorGpu(selector.gpu),
          ...this.each("/dev/input", (name) => /^event\d+$/.test(name)).flatMap((p) => this.tolerant(p, belowDev(p))),
          ...(selector.tty === undefined ? [] : this.node(`/dev/tty${selector.tty}`, `tty${selector.tty}`)),
        ];
    }
  }

  /** NVIDIA's README, "Device nodes": a client needs its GPU, nvidiactl and, for compute, nvidia-uvm. */
  private nvidia(gpu: number | undefined): Candidate[] {
    const shared = new Set(["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"]);
    const wanted = (name: string) =>
      shared.has(name) || (gpu === undefined ? /^nvidia\d+$/.test(name) : name === `nvidia${gpu}`);
    const found = this.each("/dev", wanted).flatMap((path) => this.tolerant(path, belowDev(path)));
    if (found.some(({ place }) => /^nvidia\d+$/.test(place))) return found;
    this.missing.push(`there is no NVIDIA GPU${gpu === undefined ? "" : ` ${gpu}`} in /dev ${this.provider.where()}`);
    return [];
  }

  private compositorGpu(gpu: GpuSelector | undefined): Candidate[] {
    const card = this.compositorCard(gpu);
    if (card === undefined) {
      this.watch.add("/dev/dri");
      this.missing.push("the kernel has no such card");
      return [];
    }
    return [card, ...this.renderNodesFor(card)].flatMap((device) => this.kernelNode(device, device.devName));
  }

  private compositorCard(gpu: GpuSelector | undefined): SysDevice | undefined {
    const cards = this.sysfs
      .ofClass("drm")
      .filter((device) => classOf(this.sysfs.facts(device.major, device.minor)) === "card");
    if (gpu === undefined) return cards.find((card) => this.sysfs.connectors(card).length > 0) ?? cards[0];
    if (gpu.kind !== "path")
      return this.gpu(gpu).find((device) => cards.some((card) => card.directory === device.directory));
    const stat = this.provider.device(gpu.path);
    return cards.find((card) => card.major === stat?.major && card.minor === stat.minor);
  }

  /**
   * The card's own render node. Where it has none (display controller and GPU are two
   * devices on most SoCs), those of the GPUs without a connector: what Mesa's kmsro looks for.
   */
  private renderNodesFor(card: SysDevice): SysDevice[] {
    const all = this.sysfs.ofClass("drm");
    const render = all.filter((device) => /^renderD\d+$/.test(device.sysName));
    const own = render.filter((device) => directoryOf(device.directory) === directoryOf(card.directory));
    if (own.length > 0) return own;
    const shows = (device: SysDevice) =>
      all.some(
        (c) => directoryOf(c.directory) === directoryOf(device.directory) && this.sysfs.connectors(c).length > 0,
      );
    return render.filter((device) => !shows(device));
  }

  private cdi(device: string): Candidate[] {
    const known = readCdi(this.cdiFiles());
    this.notes.push(...known.errors.map((error) => `CDI file refused: ${error}`));
    const conflict = known.conflicts.get(device);
    if (conflict !== undefined) throw new Error(`CDI device ${device} is in ${conflict.join(" and in ")}`);
    const found = known.devices.get(device);
    if (found === undefined) {
      this.missing.push(`no CDI file ${this.provider.where()} has device ${device}`);
      return [];
    }
    // Before each is looked for.
    if (found.nodes.length > NODES_MAX)
      throw new Error(`Cannot plant ${found.nodes.length} nodes for one link: at most ${NODES_MAX}`);
    if (found.notApplicable.length > 0)
      this.notes.push(`${found.file}: not applicable to a running container: ${found.notApplicable.join(", ")}`);
    return found.nodes.flatMap((node) => this.cdiNode(node, found.file));
  }

  private cdiNode(node: CdiDeviceNode, file: string): Candidate[] {
    const source = node.hostPath === undefined || node.hostPath === "" ? node.path : node.hostPath;
    if (node.type !== undefined && node.type !== "" && node.type !== "c" && node.type !== "u")
      throw new Error(
        `${file}: ${node.path} is of type ${JSON.stringify(node.type)}; only character devices are planted`,
      );
    return this.node(source, node.path).map((candidate) => {
      const { stat } = candidate;
      const differs = (node.major ?? stat.major) !== stat.major || (node.minor ?? stat.minor) !== stat.minor;
      // 0:0 is what a file says that leaves the numbers to the node (Go's zero values).
      if (differs && (node.major ?? 0) + (node.minor ?? 0) > 0)
        throw new Error(`${file}: ${source} is to be ${node.major}:${node.minor}, and is ${stat.major}:${stat.minor}`);
      return { ...candidate, cdi: node };
    });
  }

  private cdiFiles(): CdiFile[] {
    let left = CDI_BYTES_MAX;
    return CDI_DIRECTORIES.flatMap((directory, priority) => {
      this.watch.add(directory);
      const names = (this.provider.list(directory) ?? []).filter((name) => name.endsWith(".json"));
      if (names.length > CDI_FILES_MAX)
        this.notes.push(`${directory}: only ${CDI_FILES_MAX} of ${names.length} files are read`);
      return names.slice(0, CDI_FILES_MAX).flatMap((name) => {
        const path = `${directory}/${name}`;
        try {
          const text = this.provider.read(path, left);
          left -= Buffer.byteLength(text ?? "");
          return text === undefined ? [] : [{ name: path, text, priority }];
        } catch (error) {
          this.notes.push(`CDI file refused: ${(error as Error).message}`);
          return [];
        }
      });
    });
  }
}

/**
 * The nodes that `request` means now. None is no error: the device may come. Throws where
 * what is there may not be given or can't be placed.
 */
export function findDevices(provider: ProviderFiles, sysfs: Sysfs, request: DeviceRequest): FoundDevices {
  const finder = new Finder(provider, sysfs);
  const { selector } = request;
  const candidates = finder.candidates(selector);
  const single = selector.kind === "path" || selector.kind === "link";
  const nodes: WantedNode[] = [];
  for (const candidate of candidates) {
    const { stat, source } = candidate;
    const deviceClass = classOf(sysfs.facts(stat.major, stat.minor));
    const found = { deviceClass, path: source, major: stat.major, minor: stat.minor };
    const refused = decideDevice(found, request.classes, request.role, provider.trusted);
    if (refused !== undefined && single) throw new Error(refused);
    if (refused !== undefined) finder.notes.push(`left out: ${refused}`);
    else nodes.push(placed(candidate, deviceClass));
  }
  const { notes, missing, watch } = finder;
  return { nodes: targeted(nodes, request), missing, notes, watch: [...watch] };
}

function placed({ source, place, stat, cdi }: Candidate, deviceClass: DeviceClass): WantedNode {
  const { major, minor } = stat;
  const mode = (cdi?.fileMode ?? stat.mode) & 0o777;
  const owned = cdi?.uid !== undefined || cdi?.gid !== undefined;
  const owner = owned ? "inside" : "host";
  const [uid, gid] = owned ? [cdi.uid ?? 0, cdi.gid ?? 0] : [stat.uid, stat.gid];
  return { source, target: place, major, minor, mode, uid, gid, owner, deviceClass };
}

/** Gives each node its path in the consumer. */
function targeted(nodes: readonly WantedNode[], request: DeviceRequest): WantedNode[] {
  const { selector, target } = request;
  if (targetIsNode(selector, target)) {
    if (nodes.length > 1)
      throw new Error(
        `Cannot plant ${nodes.length} devices (${nodes.map((n) => n.source).join(", ")}) as the one node ${target}: name a directory, or one class of node`,
      );
    return nodes.map((node) => ({ ...node, target }));
  }
  if (nodes.length > NODES_MAX)
    throw new Error(`Cannot plant ${nodes.length} nodes for one link: at most ${NODES_MAX}`);
  const seen = new Set<string>();
  return nodes.map((node) => {
    const path = node.target.startsWith("/") ? node.target : `${target}/${node.target}`;
    if (path.split("/").includes("..") || !path.startsWith(`${target}/`))
      throw new Error(`Cannot plant ${node.target}: it is not below the link's target ${target}`);
    if (seen.has(path)) throw new Error(`Cannot plant two devices at ${path}`);
    seen.add(path);
    return { ...node, target: path };
  });
}

const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
const directoryOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";
const belowDev = (path: string): string => (path.startsWith("/dev/") ? path.slice(5) : baseName(path));
