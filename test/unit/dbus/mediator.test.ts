/** From a graph entry and a policy to a link's configuration. */
import { describe, expect, test } from "bun:test";
import type { Link } from "../../../src/graph/link.ts";
import { checkDbus } from "../../../src/mediators/dbus/mediator.ts";
import { parsePolicyFile, type ServicePolicy } from "../../../src/policy/schema.ts";
import { toOutside } from "../../../src/protocol/passwd/id-map.ts";
import { accountByName, accountByUid, parseId } from "../../../src/protocol/passwd/passwd.ts";

const LINK: Link = {
  key: "k",
  type: "dbus",
  name: "bus",
  consumer: "app",
  consumerPid: 2,
  provider: "p",
  providerPid: 1,
  role: "operator",
  interface: "org.a.B",
  target: "/run/bus",
  socket: "/run/dbus/socket",
  uid: null,
};
function policy(roles: object): ServicePolicy {
  const text = JSON.stringify({ "#spec": "xconnect-policy@1", services: { bus: { type: "dbus", roles } } });
  const parsed = parsePolicyFile(text, "p.json");
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get("bus")!;
}
const identity = (link: Partial<Link>, entry?: ServicePolicy) => {
  const check = checkDbus({ ...LINK, ...link }, entry);
  return check.ok ? check.config.identity : check.reason;
};

describe("the uid of a role", () => {
  test("comes from the graph, else policy, else a number, else the provider's passwd", () => {
    const entry = policy({ operator: { uid: 1001, gid: 5 }, "77": {} });
    expect(identity({ uid: 90_000 }, entry)).toEqual({ uid: 90_000, gid: 5 });
    expect(identity({}, entry)).toEqual({ uid: 1001, gid: 5 });
    expect(identity({ role: "77" }, entry)).toEqual({ uid: 77, gid: null });
    expect(identity({})).toEqual({ name: "operator" });
    expect(identity({ role: "01" })).toEqual({ name: "01" });
  });
});

describe("check", () => {
  test("a role that policy does not list, and an interface of another form, are refused", () => {
    expect(identity({ role: "guest" }, policy({ operator: {} }))).toContain("does not list role");
    expect(identity({ interface: "org.a B" })).toContain('Cannot filter by interface "org.a B"');
  });
  test("lists make a filter, even empty ones; none make none", () => {
    const lists = (roles: object) => {
      const check = checkDbus(LINK, policy(roles));
      return check.ok ? check.config.rights.lists : check.reason;
    };
    expect(lists({ operator: {} })).toBeNull();
    expect(lists({ operator: { talk: [] } })).toEqual({ see: [], talk: [], own: [], call: [], broadcast: [] });
  });
  test("learning comes by policy or by command line", () => {
    const learns = (entry: ServicePolicy | undefined, names: string[]) => {
      const check = checkDbus(LINK, entry, new Set(names));
      return check.ok && check.config.rights.learn;
    };
    expect(learns(undefined, [])).toBe(false);
    expect(learns(undefined, ["bus"])).toBe(true);
    expect(learns(policy({ operator: { learn: true } }), [])).toBe(true);
  });
  test("policy files say what is wrong with names and rules", () => {
    for (const bad of [
      { talk: ["org"] },
      { own: ["*"] },
      { call: ["GetInfo"] },
      { call: ["org.a.B.M@x"] },
      { see: [":1.5"] },
      { max_message: 5 },
    ])
      expect(() => policy({ operator: bad })).toThrow(/p\.json: \/services\/bus\/roles\/operator\//);
  });
});

describe("passwd and id maps", () => {
  const passwd =
    "root:x:0:0:root:/root:/bin/sh\n#comment\nbroken:x:a:b\nop:x:1001:50::/:\nop:x:7:7::/:\nbig:x:4294967295:1::/:\nlast:x:9:9";
  test("the first sound line of a name counts", () => {
    expect(["root", "op", "last", "broken", "big", "", "#comment"].map((name) => accountByName(passwd, name))).toEqual([
      { name: "root", uid: 0, gid: 0 },
      { name: "op", uid: 1001, gid: 50 },
      { name: "last", uid: 9, gid: 9 },
      undefined,
      undefined,
      undefined,
      undefined,
    ] as never);
    expect(accountByUid(passwd, 1001)?.gid).toBe(50);
    expect(["0", "1001", "01", "-1", "", "4294967295", "1e3", " 1"].map(parseId)).toEqual([
      0,
      1001,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });
  test("ids that are not mapped do not exist outside", () => {
    const map = "         0     100000      65536\n     70000       5000         10\n";
    expect([0, 1001, 65535, 65536, 70009, 70010].map((id) => toOutside(map, id))).toEqual([
      100_000,
      101_001,
      165_535,
      undefined,
      5009,
      undefined,
    ]);
    expect(toOutside("", 0)).toBeUndefined();
  });
});
