/**
 * The `socket` of a drm or input link: which devices of the provider it means. Pure
 * text; finding them is `devices/find.ts`.
 *
 *   /dev/dri/card0                          this node
 *   /dev/dri/card*                          every node of this name pattern
 *   /dev/dri/by-path/pci-0000:00:02.0-card  the card of that PCI device, whatever its number
 *   pci:0000:00:02.0                        the DRM nodes of that PCI device
 *   platform:gpu   driver:vkms              the same by platform device, by driver
 *   set:compositor,gpu=pci:0000:00:02.0,tty=7   set:nvidia,gpu=0   set:uinput
 *   cdi:vendor.com/class=name               the device of a Container Device Interface file
 */
import { classByName } from "./device-class.ts";

/** Which DRM device. */
export type GpuSelector =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "pci"; readonly address: string; readonly suffix?: "card" | "render" }
  | { readonly kind: "platform"; readonly device: string; readonly suffix?: "card" | "render" }
  | { readonly kind: "driver"; readonly driver: string };

export type SetSelector =
  | {
      readonly kind: "set";
      readonly set: "compositor";
      readonly gpu?: GpuSelector;
      /** Number of the virtual console. */
      readonly tty?: number;
    }
  | {
      readonly kind: "set";
      readonly set: "nvidia";
      /** Number of one GPU; absent: all. */
      readonly gpu?: number;
    }
  | { readonly kind: "set"; readonly set: "uinput" };

export type DeviceSelector =
  | GpuSelector
  | { readonly kind: "glob"; readonly directory: string; readonly pattern: string }
  /** A link of udev's that says nothing of a PCI or platform device by its name: followed. */
  | { readonly kind: "link"; readonly path: string }
  | SetSelector
  /** `device`: as `vendor.com/class=name`. */
  | { readonly kind: "cdi"; readonly device: string };

export type ParsedSelector =
  | { readonly ok: true; readonly selector: DeviceSelector }
  | { readonly ok: false; readonly reason: string };

/** domain:bus:device.function, the domain up to 32 bits (drivers/pci/pci-sysfs.c; VMD uses 10000 and up). */
const PCI = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]$/;
/** A name of one sysfs directory. */
const SYS_NAME = /^(?!\.{1,2}$)[^/\0]{1,255}$/;
/** CDI SPEC.md, "Kind" and "CDI Devices". */
const CDI_DEVICE =
  /^[A-Za-z0-9.-]{1,253}\/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;
/** NAME_MAX (linux/limits.h) */
const PATTERN_MAX = 255;
/** MAX_NR_CONSOLES (include/uapi/linux/vt.h) */
const CONSOLES = 63;

const no = (reason: string): ParsedSelector => ({ ok: false, reason });
const yes = (selector: DeviceSelector): ParsedSelector => ({ ok: true, selector });

/** `text`: the link's `socket`. Reasons are whole sentences without the link's name. */
export function parseSelector(text: string): ParsedSelector {
  if (text.includes("\0")) return no("The device selector has a NUL byte");
  if (text.startsWith("/")) return pathSelector(text);
  const colon = text.indexOf(":");
  const scheme = text.slice(0, colon);
  const rest = text.slice(colon + 1);
  if (colon > 0)
    switch (scheme) {
      case "set":
        return setSelector(rest);
      case "cdi":
        return CDI_DEVICE.test(rest)
          ? yes({ kind: "cdi", device: rest })
          : no(`${JSON.stringify(text)} is no CDI device, such as cdi:vendor.com/gpu=all`);
      case "pci":
      case "platform":
      case "driver":
        return deviceSelector(scheme, rest);
    }
  return no(
    `${JSON.stringify(text)} names no device: expected an absolute path, pci:, platform:, driver:, set: or cdi:`,
  );
}

function deviceSelector(scheme: "pci" | "platform" | "driver", rest: string): ParsedSelector {
  if (scheme === "pci") {
    const address = rest.toLowerCase();
    return PCI.test(address)
      ? yes({ kind: "pci", address })
      : no(`${JSON.stringify(rest)} is no PCI address, such as 0000:00:02.0`);
  }
  if (!SYS_NAME.test(rest)) return no(`${JSON.stringify(rest)} is no name of a ${scheme} in sysfs`);
  return yes(scheme === "platform" ? { kind: "platform", device: rest } : { kind: "driver", driver: rest });
}

function pathSelector(path: string): ParsedSelector {
  if (path.split("/").includes("..")) return no(`Device path ${JSON.stringify(path)} has ".."`);
  const slash = path.lastIndexOf("/");
  const directory = path.slice(0, slash) || "/";
  const name = path.slice(slash + 1);
  if (name === "" || name === ".") return no(`Device path ${JSON.stringify(path)} names a directory`);
  if (/[*?[]/.test(directory)) return no(`Device path ${JSON.stringify(path)} has a wildcard before its last part`);
  if (/[*?[]/.test(name)) {
    if (name.length > PATTERN_MAX) return no(`A device pattern has more than ${PATTERN_MAX} characters`);
    return yes({ kind: "glob", directory, pattern: name });
  }
  if (!/\/by-(path|id)$/.test(directory)) return yes({ kind: "path", path });
  const udev = /^(pci|platform)-(.+)-(card|render)$/.exec(name);
  // ID_PATH of a device on a further bus ("pci-…-usb-0:1:1.0") has no PCI function of its own.
  if (udev !== null && directory.endsWith("/dri/by-path")) {
    const [, bus, device, suffix] = udev as unknown as [string, string, string, "card" | "render"];
    if (bus === "pci" && PCI.test(device)) return yes({ kind: "pci", address: device, suffix });
    if (bus === "platform") return yes({ kind: "platform", device, suffix });
  }
  return yes({ kind: "link", path });
}

function setSelector(rest: string): ParsedSelector {
  const [set, ...options] = rest.split(",");
  const given = new Map<string, string>();
  for (const option of options) {
    const equals = option.indexOf("=");
    if (equals < 1 || given.has(option.slice(0, equals)))
      return no(`Option ${JSON.stringify(option)} of set:${set} is not name=value, or given twice`);
    given.set(option.slice(0, equals), option.slice(equals + 1));
  }
  const take = (name: string): string | undefined => {
    const value = given.get(name);
    given.delete(name);
    return value;
  };
  const gpu = set === "uinput" ? undefined : take("gpu");
  const tty = set === "compositor" ? take("tty") : undefined;
  for (const name of given.keys()) return no(`set:${set} has no option ${JSON.stringify(name)}`);
  switch (set) {
    case "uinput":
      return yes({ kind: "set", set });
    case "nvidia":
      if (gpu !== undefined && !/^\d{1,3}$/.test(gpu)) return no(`gpu=${gpu} is no number of an NVIDIA GPU`);
      return yes({ kind: "set", set, ...(gpu === undefined ? {} : { gpu: Number(gpu) }) });
    case "compositor":
      return compositorSet(gpu, tty);
    default:
      return no(`There is no set ${JSON.stringify(set)}: compositor, nvidia or uinput`);
  }
}

function compositorSet(gpu: string | undefined, tty: string | undefined): ParsedSelector {
  if (tty !== undefined && !(/^[1-9]\d?$/.test(tty) && Number(tty) <= CONSOLES))
    return no(`tty=${tty} is no virtual console (1 to ${CONSOLES})`);
  const parsed = gpu === undefined ? undefined : parseSelector(gpu);
  if (parsed?.ok === false) return parsed;
  const card = parsed?.selector;
  if (card !== undefined && !isGpu(card)) return no(`gpu=${gpu} is not one device: a path, pci:, platform: or driver:`);
  const named = card === undefined ? {} : { gpu: card };
  return yes({ kind: "set", set: "compositor", ...named, ...(tty === undefined ? {} : { tty: Number(tty) }) });
}

const isGpu = (selector: DeviceSelector): selector is GpuSelector =>
  selector.kind === "path" || selector.kind === "pci" || selector.kind === "platform" || selector.kind === "driver";

type Token = "any" | ((char: string) => boolean);

/**
 * Whether a file name matches a shell pattern of `*`, `?`, `[a-z]` and `[!a-z]`; a leading dot
 * is no exception. No regular expression: names are a container's choice, and only the
 * last star is ever tried again, so the work is at most name times pattern.
 */
export function globMatcher(pattern: string): (name: string) => boolean {
  const tokens = tokensOf([...pattern]);
  return (name) => {
    const chars = [...name];
    let [t, c, star, resume] = [0, 0, -1, 0];
    while (c < chars.length) {
      const token = tokens[t];
      if (token === "any") {
        star = t++;
        resume = c;
      } else if (token?.(chars[c]!)) {
        t++;
        c++;
      } else if (star >= 0) {
        t = star + 1;
        c = ++resume;
      } else return false;
    }
    return tokens.slice(t).every((token) => token === "any");
  };
}

function tokensOf(pattern: readonly string[]): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at]!;
    const close = char === "[" ? pattern.indexOf("]", at + 2) : -1;
    if (char === "*") tokens.push("any");
    else if (char === "?") tokens.push(() => true);
    else if (close > 0) {
      tokens.push(setToken(pattern.slice(at + 1, close)));
      at = close;
    } else tokens.push((c) => c === char);
  }
  return tokens;
}

function setToken(inside: readonly string[]): Token {
  const negated = inside[0] === "!";
  const items = negated ? inside.slice(1) : inside;
  const ranges: [string, string][] = [];
  for (let i = 0; i < items.length; i++) {
    const range = items[i + 1] === "-" && i + 2 < items.length;
    ranges.push([items[i]!, items[range ? i + 2 : i]!]);
    if (range) i += 2;
  }
  return (c) => ranges.some(([from, to]) => c >= from && c <= to) !== negated;
}

/**
 * Whether the link's target is the node itself, or the directory for what is found.
 * One device of a known name: the node. A pattern or a device with several nodes: the
 * node where the target's own name looks like one. Sets and CDI devices: `/dev` or the like.
 */
export function targetIsNode(selector: DeviceSelector, target: string): boolean {
  if (target.endsWith("/")) return false;
  const nameLooksLikeNode = classByName(target) !== undefined;
  switch (selector.kind) {
    case "path":
    case "link":
      return true;
    case "set":
      return selector.set === "uinput" && nameLooksLikeNode;
    case "cdi":
      return false;
    default:
      return nameLooksLikeNode;
  }
}
