/**
 * Which devices a drm or input link may give its consumer. Pure.
 *
 * Decided twice, by the same set of classes: before anything is opened, from the names
 * in the link (`decideDeviceLink`: a clear refusal at once), and for each device that
 * was found, from what the kernel says it is (`decideDevice`): names are the choice of
 * whoever made the node, and the provider is not trusted with it.
 *
 *   role      drm link                          input link
 *   master    card                              as any other role
 *   render    render, accel, nvidia             "
 *   any       what the target's name says; a card unless a policy leaves it out
 *   other     only where a policy lists it      event, joystick, mouse (policy: nodes)
 */
import type { Link } from "../graph/link.ts";
import { classByName, className, type DeviceClass } from "./device-class.ts";
import { type DeviceSelector, parseSelector } from "./device-selector.ts";
import { roleOf } from "./role.ts";
import type { ServicePolicy } from "./schema.ts";

export type DeviceLink = Pick<Link, "name" | "role" | "consumer" | "target" | "socket"> & {
  readonly type: "drm" | "input";
};

export interface DeviceGrant {
  readonly selector: DeviceSelector;
  /** What the link may get. A device of another class that the selector meets is left out, or refused where it is the only one. */
  readonly classes: readonly DeviceClass[];
  /** For audit and `explain`: what decided. */
  readonly rule: string;
}

export type DeviceDecision =
  | ({ readonly ok: true } & DeviceGrant)
  | { readonly ok: false; readonly reason: string; readonly rule: string };

const MASTER: readonly DeviceClass[] = ["card"];
const MASTER_MOST: readonly DeviceClass[] = ["card", "nvidia", "nvidia-modeset"];
const RENDER: readonly DeviceClass[] = ["render", "accel", "nvidia"];
const DRM_ANY: readonly DeviceClass[] = ["card", "render", "accel", "nvidia", "nvidia-modeset", "other"];
const INPUT_DEFAULT: readonly DeviceClass[] = ["event", "joystick", "mouse"];
const INPUT_ALL: readonly DeviceClass[] = ["event", "joystick", "mouse", "uinput", "tty"];

/** Is the link allowed at all, and which classes of device may it get? */
export function decideDeviceLink(link: DeviceLink, policy: ServicePolicy | undefined): DeviceDecision {
  const parsed = parseSelector(link.socket);
  if (!parsed.ok) return { ok: false, reason: parsed.reason, rule: "socket" };
  const role = link.type === "drm" ? drmRole(link, policy) : inputRole(link, policy);
  if (!role.ok) return role;
  const { selector } = parsed;
  const classes = selector.kind === "set" ? setClasses(selector, role.classes) : role.classes;
  const conflict = classes === undefined ? undefined : nameConflict(link, selector, classes);
  if (classes === undefined || conflict !== undefined) {
    const what = conflict ?? `set:${selector.kind === "set" ? selector.set : ""}`;
    return { ok: false, reason: refusalOf(link, what, role.allowed), rule: role.rule };
  }
  return { ok: true, selector, classes, rule: role.rule };
}

type RoleClasses =
  | {
      readonly ok: true;
      /** What the role may get. */
      readonly allowed: readonly DeviceClass[];
      /** What is left of it by the names in the link. */
      readonly classes: readonly DeviceClass[];
      readonly rule: string;
    }
  | { readonly ok: false; readonly reason: string; readonly rule: string };

function drmRole(link: DeviceLink, policy: ServicePolicy | undefined): RoleClasses {
  const listed = policy === undefined ? undefined : roleOf(policy, link, "drm");
  if (listed?.ok === false) return listed;
  const rule = listed?.rule ?? `default of role ${JSON.stringify(link.role)}`;
  const nodes = listed?.role.nodes;
  const grant = (allowed: readonly DeviceClass[], byName: boolean): RoleClasses => {
    const classes = byName ? byTargetName(link.target, allowed) : allowed;
    return { ok: true, rule, allowed, classes };
  };
  switch (link.role) {
    case "master":
      // NVIDIA's GPU nodes are what a KMS client of that driver opens beside its card: where a policy names them.
      return grant(nodes === undefined ? MASTER : MASTER_MOST.filter((c) => nodes.includes(c as never)), false);
    case "render":
      return grant(nodes === undefined ? RENDER : RENDER.filter((c) => nodes.includes(c as never)), false);
    case "any":
      return grant(listed === undefined ? DRM_ANY : (nodes ?? RENDER), true);
    default:
      if (listed !== undefined) return grant(nodes ?? RENDER, true);
      return {
        ok: false,
        rule: "roles of type drm",
        reason: `Role ${JSON.stringify(link.role)} says nothing of a device: expected master, render or any, or a policy that lists it`,
      };
  }
}

function inputRole(link: DeviceLink, policy: ServicePolicy | undefined): RoleClasses {
  const listed = policy === undefined ? undefined : roleOf(policy, link, "input");
  if (listed?.ok === false) return listed;
  // Without a policy the graph's own words are enough: uinput and a console only when the link names them.
  const allowed = listed === undefined ? INPUT_ALL : (listed.role.nodes ?? INPUT_DEFAULT);
  const named = classByName(link.socket);
  const asked = named === undefined && listed === undefined ? INPUT_DEFAULT : allowed;
  const set = /^set:(uinput|compositor)\b/.test(link.socket);
  const rule = listed?.rule ?? `default of role ${JSON.stringify(link.role)}`;
  return { ok: true, rule, allowed, classes: set ? allowed : asked };
}

/** What the target's name promises, out of what is allowed; all of it where the name promises nothing. */
function byTargetName(target: string, allowed: readonly DeviceClass[]): readonly DeviceClass[] {
  const named = classByName(target);
  return named === undefined ? allowed : allowed.filter((c) => c === named);
}

/** A set brings classes that its role alone would not: undefined when the role doesn't reach the set's first device. */
function setClasses(
  selector: Extract<DeviceSelector, { kind: "set" }>,
  role: readonly DeviceClass[],
): readonly DeviceClass[] | undefined {
  switch (selector.set) {
    case "compositor":
      // Whoever may set modes and show a login screen needs the keyboard that goes with it.
      return role.includes("card") ? ["card", "render", "event", "tty"] : undefined;
    case "nvidia":
      if (role.includes("card") || role.includes("nvidia-modeset")) return ["nvidia", "nvidia-modeset"];
      return role.includes("nvidia") ? ["nvidia"] : undefined;
    case "uinput":
      return role.includes("uinput") ? ["uinput"] : undefined;
  }
}

/** The name in the link that promises what the role may not get, or a target that promises another class than the socket. */
function nameConflict(link: DeviceLink, selector: DeviceSelector, classes: readonly DeviceClass[]): string | undefined {
  const socket = socketClass(link.socket, selector);
  const target = selector.kind === "set" ? undefined : classByName(link.target);
  if (socket !== undefined && !classes.includes(socket)) return `socket ${link.socket}, ${className(socket)}`;
  if (target !== undefined && !classes.includes(target)) return `target ${link.target}, ${className(target)}`;
  if (socket !== undefined && target !== undefined && socket !== target)
    return `socket ${link.socket}, ${className(socket)}, as target ${link.target}, ${className(target)}`;
  // A set that is not ruled out by a name may still be by having nothing left.
  return classes.length === 0 ? `socket ${link.socket}` : undefined;
}

function socketClass(socket: string, selector: DeviceSelector): DeviceClass | undefined {
  if (selector.kind === "set" || selector.kind === "cdi") return undefined;
  if (selector.kind === "pci" || selector.kind === "platform") return selector.suffix;
  return selector.kind === "driver" ? undefined : classByName(socket);
}

function refusalOf(link: DeviceLink, what: string, classes: readonly DeviceClass[]): string {
  const allowed = classes.length === 0 ? "no device of this link" : classes.map(className).join(", ");
  return `Role ${JSON.stringify(link.role)} of service ${JSON.stringify(link.name)} may not give ${what}: it allows ${allowed}`;
}

export interface FoundDevice {
  readonly deviceClass: DeviceClass;
  /** Path in the provider, or the kernel's name: what the class of a placeholder is taken from. */
  readonly path: string;
  readonly major: number;
  readonly minor: number;
}

/**
 * May a device that was found be given? Undefined: yes. `trusted`: the host's own /dev; a
 * container could have made any number it likes, so a device of no known class is refused from there.
 */
export function decideDevice(
  device: FoundDevice,
  classes: readonly DeviceClass[],
  role: string,
  trusted: boolean,
): string | undefined {
  const node = `${device.path} (${device.major}:${device.minor})`;
  // A stand-in is judged as what it stands for.
  const judged = device.deviceClass === "placeholder" ? classByName(device.path) : device.deviceClass;
  if (judged === undefined) return undefined;
  if (judged === "other" && !trusted)
    return `${node} is ${className(judged)}, and its provider is a container, which may have made it itself`;
  if (classes.includes(judged)) return undefined;
  const allowed = classes.map(className).join(", ");
  return `${node} is ${className(judged)}, and role ${JSON.stringify(role)} allows ${allowed}`;
}
