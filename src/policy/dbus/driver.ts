/**
 * The bus driver's methods (D-Bus Specification, "Message Bus Messages") and what each
 * needs. What is not listed here is refused on every link, with or without a filter, for
 * every uid: BecomeMonitor, UpdateActivationEnvironment, ReloadConfig, the Debug interfaces.
 */
export const BUS_NAME = "org.freedesktop.DBus";
export const BUS_INTERFACE = "org.freedesktop.DBus";
export const BUS_PATH = "/org/freedesktop/DBus";
export const PROPERTIES = "org.freedesktop.DBus.Properties";
export const INTROSPECTABLE = "org.freedesktop.DBus.Introspectable";
export const PEER = "org.freedesktop.DBus.Peer";
export const OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager";

export type DriverRule =
  /** Says nothing of others. */
  | "free"
  | "hello"
  /** The first argument is a name that must be visible. */
  | "visible"
  /** As `visible`, but a hidden name is answered with `false`. */
  | "has-owner"
  /** The first argument is a name that policy lets this role own. */
  | "own"
  /** The first argument is a name that may be called: it may be started. */
  | "start"
  | "add-match"
  | "remove-match"
  /** The answer is a list of names, from which the hidden ones are taken out. */
  | "list";

export interface DriverMethod {
  readonly interface: string;
  /** Signature of the arguments; any other is answered as the bus does, with InvalidArgs. */
  readonly signature: string;
  readonly rule: DriverRule;
}

const on = (iface: string, signature: string, rule: DriverRule): DriverMethod => ({
  interface: iface,
  signature,
  rule,
});

/** By member. No two interfaces of the driver that are listed here share one. */
export const DRIVER_METHODS: ReadonlyMap<string, DriverMethod> = new Map([
  ["Hello", on(BUS_INTERFACE, "", "hello")],
  ["RequestName", on(BUS_INTERFACE, "su", "own")],
  ["ReleaseName", on(BUS_INTERFACE, "s", "own")],
  ["ListQueuedOwners", on(BUS_INTERFACE, "s", "own")],
  ["StartServiceByName", on(BUS_INTERFACE, "su", "start")],
  ["NameHasOwner", on(BUS_INTERFACE, "s", "has-owner")],
  ["GetNameOwner", on(BUS_INTERFACE, "s", "visible")],
  ["GetConnectionUnixUser", on(BUS_INTERFACE, "s", "visible")],
  ["GetConnectionUnixProcessID", on(BUS_INTERFACE, "s", "visible")],
  ["GetConnectionCredentials", on(BUS_INTERFACE, "s", "visible")],
  ["GetAdtAuditSessionData", on(BUS_INTERFACE, "s", "visible")],
  ["GetConnectionSELinuxSecurityContext", on(BUS_INTERFACE, "s", "visible")],
  ["ListNames", on(BUS_INTERFACE, "", "list")],
  ["ListActivatableNames", on(BUS_INTERFACE, "", "list")],
  ["AddMatch", on(BUS_INTERFACE, "s", "add-match")],
  ["RemoveMatch", on(BUS_INTERFACE, "s", "remove-match")],
  ["GetId", on(BUS_INTERFACE, "", "free")],
  ["Introspect", on(INTROSPECTABLE, "", "free")],
  ["Ping", on(PEER, "", "free")],
  ["GetMachineId", on(PEER, "", "free")],
  ["Get", on(PROPERTIES, "ss", "free")],
  ["GetAll", on(PROPERTIES, "s", "free")],
]);
