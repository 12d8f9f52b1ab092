/** What `explain` says of a D-Bus message is what the filter does with it, whatever the role's lists. */
import { expect, test } from "bun:test";
import type { Link } from "../../../src/graph/link.ts";
import { rightsOf } from "../../../src/policy/dbus.ts";
import { explain } from "../../../src/policy/explain.ts";
import type { RoleEntry } from "../../../src/policy/role.ts";
import { parsePolicyFile } from "../../../src/policy/schema.ts";
import { config, DbusSession } from "../../support/dbus-session.ts";
import { SIGNAL } from "../../support/dbus-wire.ts";

const BUS = "org.freedesktop.DBus";
const PROPERTIES = "org.freedesktop.DBus.Properties";
let seed = 8261121;
const below = (n: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return (seed >>> 8) % n;
};
const one = <T>(of: readonly T[]): T => of[below(of.length)]!;
const NAMES = ["org.a.B", "org.a.B.C", "org.a.BX", "org.x.Y", "com.example.App"];
const PATTERNS = [...NAMES, "org.a.*", "org.a.B.*"];
const INTERFACES = [...NAMES, PROPERTIES, "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer"];
const RULES = ["org.a.B.M", "org.a.B.*@/a/**", "org.x.Y=org.a.B.M", "org.a.*.M@/a/*", "*", "org.x.Y=*@/"];
const PATHS = ["/", "/a", "/a/b", "/a/b/c"];
const DRIVER = ["ListNames", "GetNameOwner", "StartServiceByName", "RequestName", "BecomeMonitor", "GetId", "AddMatch"];
const some = (of: readonly string[]): string[] => Array.from({ length: below(3) }, () => one(of));

interface Case {
  readonly words: readonly string[];
  readonly said: boolean;
  readonly done: boolean;
}

/** One message on a fresh session of a role with random lists. */
function tried(): Case {
  const own = some(NAMES);
  const lists = { see: some(PATTERNS), talk: some([...PATTERNS, "*"]), own, call: some(RULES), broadcast: some(RULES) };
  const role = below(4) === 0 ? {} : lists;
  const services = { bus: { type: "dbus", roles: { any: role } } };
  const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services }), "p");
  if (!parsed.ok) throw new Error(parsed.errors.join());
  const policy = parsed.services.get("bus")!;
  const link = {
    type: "dbus",
    name: "bus",
    role: "any",
    consumer: "app",
    interface: one(["dbus", "org.a", "org.a.B"]),
  };
  const rights = rightsOf(link, policy.roles.get("any") as RoleEntry<"dbus">);
  if (!rights.ok) throw new Error(rights.reason);
  const owners = Object.fromEntries(NAMES.map((name, i) => [name, `:1.${10 + i}`]));
  const s = DbusSession.open(config(rights.rights), { owners });
  const [name, iface, path] = [one(NAMES), one(INTERFACES), one(PATHS)];
  const ask = (words: string[], done: () => boolean): Case => {
    const said = explain(link as Link, policy, words);
    if ("expected" in said) throw new Error(said.expected);
    return { words: [...words, JSON.stringify(role), link.interface], said: said.allowed, done: done() };
  };
  switch (below(5)) {
    case 0: {
      const argument = one(NAMES);
      const about = iface === PROPERTIES;
      const member = about ? "Get" : "M";
      const body = about ? { signature: "ss", body: [argument, "P"] } : {};
      return ask(["call", name, `${iface}.${member}`, path, ...(about ? [argument] : [])], () => {
        s.call({ destination: name, interface: iface, member, path, serial: 9, ...body });
        return s.atBus.length === 1;
      });
    }
    case 1: {
      const from = one(NAMES);
      return ask(["signal", `${from}.M`, path], () => {
        s.send({ type: SIGNAL, serial: 9, interface: from, member: "M", path });
        return s.atBus.length === 1;
      });
    }
    case 2: {
      const from = one(NAMES);
      return ask(["hear", name, `${from}.M`, path], () => {
        s.from(owners[name]!, { type: SIGNAL, interface: from, member: "M", path });
        return s.received().length === 1;
      });
    }
    case 3:
      return ask(["own", name], () => {
        s.call({
          destination: BUS,
          interface: BUS,
          member: "RequestName",
          path,
          serial: 9,
          signature: "su",
          body: [name, 0],
        });
        return s.atBus.length === 1;
      });
    default: {
      const member = one(DRIVER);
      const bodies: Record<string, [string, unknown[]]> = {
        GetNameOwner: ["s", [name]],
        StartServiceByName: ["su", [name, 0]],
        RequestName: ["su", [name, 0]],
        AddMatch: ["s", ["type='signal'"]],
      };
      const [signature, body] = bodies[member] ?? ["", []];
      const about = member === "AddMatch" || signature === "" ? [] : [name];
      return ask(["call", BUS, `${BUS}.${member}`, path, ...about], () => {
        s.call({
          destination: BUS,
          interface: BUS,
          member,
          path,
          serial: 9,
          ...(signature === "" ? {} : { signature, body }),
        });
        return s.atBus.length === 1;
      });
    }
  }
}

test("D-Bus: the verdict of explain is the filter's", () => {
  const verdicts = new Set<string>();
  for (let i = 0; i < 1000; i++) {
    const { words, said, done } = tried();
    verdicts.add(`${words[0]} ${done}`);
    expect([...words, said]).toEqual([...words, done]);
  }
  expect([...verdicts].sort()).toEqual(
    ["call", "hear", "own", "signal"].flatMap((kind) => [`${kind} false`, `${kind} true`]),
  );
});
