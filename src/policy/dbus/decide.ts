/**
 * The decisions on single messages, from the rights of the link and from what the bus has
 * said so far about owners. Pure. `undefined` means allowed.
 */
import {
  BUS_NAME,
  DRIVER_METHODS,
  type DriverMethod,
  INTROSPECTABLE,
  OBJECT_MANAGER,
  PEER,
  PROPERTIES,
} from "./driver.ts";
import type { Owners } from "./owners.ts";
import { HIDDEN, type Level, OWN, type Rights, SEE, TALK } from "./rights.ts";

export type RefusalError =
  | "AccessDenied"
  | "ServiceUnknown"
  | "NameHasNoOwner"
  | "LimitsExceeded"
  | "InvalidArgs"
  | "MatchRuleInvalid"
  | "MatchRuleNotFound"
  | "Failed";

export interface Refusal {
  readonly error: RefusalError;
  /** What decided, for the audit and for the error's text. */
  readonly rule: string;
}

const refusal = (error: RefusalError, rule: string): Refusal => ({ error, rule });

const NO_INTERFACE = refusal("AccessDenied", "call without an interface header");
const NO_DESTINATION = refusal("AccessDenied", "call without a destination");
const NO_PROPERTY_INTERFACE = refusal("AccessDenied", "properties call without an interface argument");
const NOT_LISTED = refusal("AccessDenied", "bus driver: method not listed");
const WRONG_ARGUMENTS = refusal("InvalidArgs", "bus driver: wrong arguments");
const SECOND_HELLO = refusal("Failed", "bus driver: Hello was said before");

/** Peers that have called this side are known to it from then on, so that it can see them go. */
const PEERS_MAX = 256;

/** What a session knows at this point of its streams. */
export class View {
  rights: Rights;
  readonly owners: Owners;
  /** Our unique name on the bus. */
  self = "";
  private readonly peers = new Set<string>();
  private readonly leaving = new Set<string>();

  constructor(rights: Rights, owners: Owners) {
    this.rights = rights;
    this.owners = owners;
  }

  meet(unique: string): void {
    remember(this.peers, unique);
  }
  forget(unique: string): void {
    this.peers.delete(unique);
    this.leaving.delete(unique);
  }
  /** An owner has lost a visible name: it may be about to leave the bus. It has no rights by this. */
  departs(unique: string): void {
    remember(this.leaving, unique);
  }
  departed(unique: string): boolean {
    return this.leaving.has(unique);
  }
  knows(unique: string): boolean {
    return this.peers.has(unique);
  }

  level(name: string): Level {
    const { rights } = this;
    if (name === BUS_NAME || name === this.self || !rights.filtered) return TALK;
    if (!name.startsWith(":")) return rights.level(name);
    const level = rights.levelOfOwner(name, this.owners);
    return level === HIDDEN && this.peers.has(name) ? SEE : level;
  }
  visible(name: string): boolean {
    return this.level(name) !== HIDDEN;
  }
  /** Whether one of the names that `name` stands for passes. */
  some(name: string, test: (wellKnown: string) => boolean): boolean {
    if (!name.startsWith(":")) return test(name);
    for (const owned of this.owners.namesOf(name)) if (test(owned)) return true;
    return false;
  }
  /** The well-known name by which `name` may be talked to; itself where there is none. */
  nameFor(name: string): string {
    if (!name.startsWith(":")) return name;
    for (const owned of this.owners.namesOf(name)) if (this.rights.level(owned) >= TALK) return owned;
    return name;
  }
}

/** The latest so many; the oldest goes. */
function remember(set: Set<string>, unique: string): void {
  if (set.has(unique)) return;
  if (set.size >= PEERS_MAX) set.delete(set.values().next().value!);
  set.add(unique);
}

/** The refusal of a call to `name`: what is visible is denied, what is hidden does not exist. */
export function refuseName(view: View, name: string, noAutoStart: boolean): Refusal {
  const { rights } = view;
  if (name.startsWith(":")) {
    if (view.visible(name)) return refusal("AccessDenied", `owner of ${view.nameFor(name)}`);
    return refusal("NameHasNoOwner", "unique name without a visible name");
  }
  const why = rights.why(name);
  if (view.visible(name)) return refusal("AccessDenied", why);
  return refusal(noAutoStart ? "NameHasNoOwner" : "ServiceUnknown", why);
}

/** Whether the decision on a call or signal on `iface` needs the first argument of the body. */
export function needsArgument(view: View, iface: string): boolean {
  return iface === PROPERTIES && (view.rights.filtered || view.rights.learn);
}

/**
 * A method call to anything but the bus driver. `iface` is "" without the header; `argument` is the
 * interface that a Properties call names, undefined where it can't be read.
 */
export function decideCall(
  view: View,
  destination: string,
  iface: string,
  member: string,
  path: string,
  argument: string | undefined,
  noAutoStart: boolean,
): Refusal | undefined {
  const { rights } = view;
  if (destination === "") return NO_DESTINATION;
  if (!rights.filtered || destination === view.self) return undefined;
  const level = view.level(destination);
  if (level < TALK) return refuseName(view, destination, noAutoStart);
  if (level === OWN) return undefined;
  if (iface === "") return NO_INTERFACE;
  if (iface === INTROSPECTABLE || iface === PEER) return undefined;
  if (iface === OBJECT_MANAGER && member === "GetManagedObjects") return undefined; // The answer is stripped.
  let effective = iface;
  if (iface === PROPERTIES) {
    if (argument === undefined || argument === "") return NO_PROPERTY_INTERFACE;
    effective = argument;
  }
  if (view.some(destination, (name) => rights.mayCall(name, effective, member, path))) return undefined;
  const name = view.nameFor(destination);
  return refusal("AccessDenied", rights.interfaceInGraph(effective) ? rights.why(name) : "graph interface");
}

export type DriverDecision =
  | { readonly ok: true; readonly method: DriverMethod }
  | { readonly ok: false; readonly refusal: Refusal };

/** A call to the bus driver by its header; arguments come after (`decideDriverName`). */
export function decideDriver(view: View, iface: string, member: string, signature: string): DriverDecision {
  if (iface === "" && view.rights.filtered) return { ok: false, refusal: NO_INTERFACE };
  const method = DRIVER_METHODS.get(member);
  if (method === undefined || (iface !== "" && iface !== method.interface)) return { ok: false, refusal: NOT_LISTED };
  if (method.signature !== signature) return { ok: false, refusal: WRONG_ARGUMENTS };
  if (method.rule === "hello") return { ok: false, refusal: SECOND_HELLO };
  return { ok: true, method };
}

/** The name that a driver call is about. `undefined`: it could not be read. */
export function decideDriverName(view: View, method: DriverMethod, name: string | undefined): Refusal | undefined {
  if (name === undefined) return WRONG_ARGUMENTS;
  const { rights } = view;
  switch (method.rule) {
    case "own":
      if (rights.mayOwn(name)) return undefined;
      return refusal("AccessDenied", `may not own: ${rights.why(name)}`);
    case "start":
      return view.level(name) >= TALK ? undefined : refuseName(view, name, false);
    case "visible":
      return view.visible(name) ? undefined : refusal("NameHasNoOwner", rights.why(name));
    default:
      return undefined;
  }
}

/** A signal from the consumer. Destination "" is a broadcast. */
export function decideOutgoingSignal(
  view: View,
  destination: string,
  iface: string,
  member: string,
  path: string,
  argument: string | undefined,
): Refusal | undefined {
  const { rights } = view;
  if (destination === BUS_NAME) return refusal("AccessDenied", "signal to the bus driver");
  if (!rights.filtered) return undefined;
  let effective = iface;
  if (iface === PROPERTIES) {
    if (argument === undefined || argument === "") return NO_PROPERTY_INTERFACE;
    effective = argument;
  }
  if (
    destination === ""
      ? rights.maySignal(effective, member, path)
      : maySendTo(view, destination, effective, member, path)
  )
    return undefined;
  return refusal("AccessDenied", rights.interfaceInGraph(effective) ? "signal not allowed" : "graph interface");
}

function maySendTo(view: View, destination: string, iface: string, member: string, path: string): boolean {
  const { rights } = view;
  const level = view.level(destination);
  if (destination === view.self || level === OWN) return true;
  if (level === TALK && view.some(destination, (name) => rights.mayCall(name, iface, member, path))) return true;
  return level >= SEE && rights.ownsInterface(iface);
}

/** Whether a signal from `sender` (not the driver) may come in; `unicast`: it is addressed to us alone. */
export function mayHear(
  view: View,
  sender: string,
  iface: string,
  member: string,
  path: string,
  argument: string | undefined,
  unicast: boolean,
): boolean {
  const { rights } = view;
  if (!rights.filtered || sender === view.self) return true;
  const effective = iface === PROPERTIES ? (argument ?? "") : iface;
  if (effective === "") return false;
  if (unicast && rights.ownsInterface(effective)) return true;
  return view.some(sender, (name) => rights.mayHear(name, effective, member, path));
}

/** Whether an ObjectManager answer or signal is to be stripped, not decided as a whole. */
export function isObjectManagerSignal(iface: string, member: string): boolean {
  return iface === OBJECT_MANAGER && (member === "InterfacesAdded" || member === "InterfacesRemoved");
}
