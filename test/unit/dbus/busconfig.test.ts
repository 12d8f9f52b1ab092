/** The provider's XML against the graph's links. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkBus } from "../../../src/cli/check-bus.ts";
import type { Link } from "../../../src/graph/link.ts";
import { type BusLink, checkBusPolicy } from "../../../src/policy/dbus/bus-check.ts";
import { mayCall, mayOwn, rulesFor } from "../../../src/policy/dbus/bus-policy.ts";
import { type BusPolicy, parseBusConfig } from "../../../src/protocol/dbus/busconfig.ts";
import { DOCUMENTED_POLICY } from "../../support/dbus-link.ts";

const DOCTYPE = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">`;
function policies(xml: string): BusPolicy[] {
  const parsed = parseBusConfig(`${DOCTYPE}\n<busconfig>${xml}</busconfig>`, "bus.conf");
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.parts.flatMap((part) => (part.kind === "policy" ? [part.policy] : []));
}
const NAME = "org.pantavisor.Example";
const GRAPH_LINK: Link = {
  key: "k",
  type: "dbus",
  name: "system-bus",
  consumer: "app",
  consumerPid: 1,
  provider: "bus",
  providerPid: 1,
  role: "any",
  interface: NAME,
  target: "/run/bus",
  socket: "/run/bus",
  uid: null,
};
const user = (name: string, uid: number | undefined) => ({ name, uid, groups: [] });
const link = (role: string, uid: number | undefined, part: Partial<BusLink> = {}): BusLink => ({
  consumer: "app",
  name: "system-bus",
  role,
  interfaces: [NAME],
  own: [],
  user: user(role, uid),
  ...part,
});

describe("parsing", () => {
  test("includes and policies come in their order, with lines", () => {
    const parsed = parseBusConfig(
      `<busconfig>\n <includedir>system.d</includedir>\n <policy user="root">\n  <allow own="a.b"/>\n </policy>\n <include ignore_missing="yes">x.conf</include>\n</busconfig>`,
      "f.conf",
    );
    expect(parsed).toEqual({
      ok: true,
      parts: [
        { kind: "includedir", path: "system.d" },
        {
          kind: "policy",
          policy: {
            scope: { kind: "user", name: "root" },
            rules: [{ allow: true, attributes: { own: "a.b" }, file: "f.conf", line: 4 }],
          },
        },
        { kind: "include", path: "x.conf" },
      ],
    });
  });
  const broken: [name: string, xml: string, error: RegExp][] = [
    ["a tag that is not closed", "<busconfig><policy user='x'></busconfig>", /f\.conf:1: Unexpected close tag/],
    ["another document", "<config/>", /<config> where <busconfig> is expected/],
    ["a policy for nobody", "<busconfig><policy/></busconfig>", /needs one of/],
    ["a policy for two", "<busconfig><policy user='a' group='b'/></busconfig>", /needs one of/],
    [
      "an entity of its own",
      '<!DOCTYPE busconfig [<!ENTITY x "y">]>\n<busconfig><includedir>&x;</includedir></busconfig>',
      /f\.conf:2: Invalid character entity/,
    ],
    ["no XML at all", "listen: 5", /f\.conf:1/],
    [
      "something else in a policy",
      "<busconfig><policy user='a'><permit/></policy></busconfig>",
      /<permit> in a <policy>/,
    ],
  ];
  for (const [name, xml, error] of broken) {
    test(`${name} is refused with its line`, () => {
      const parsed = parseBusConfig(xml, "f.conf");
      expect(parsed.ok ? "accepted" : parsed.error).toMatch(error);
    });
  }
});

describe("the documented policy", () => {
  const documented = policies(DOCUMENTED_POLICY);
  test("lets root own the name and everybody call it", () => {
    const of = (name: string, uid: number) => rulesFor(documented, user(name, uid));
    expect(mayOwn(of("root", 0), NAME).allowed).toBe(true);
    expect(mayOwn(of("operator", 1001), NAME).allowed).toBe(false);
    expect(mayCall(of("operator", 1001), { destination: NAME, interface: NAME }).allowed).toBe(true);
    expect(mayCall(of("operator", 1001), { destination: "org.other.Name", interface: NAME }).allowed).toBe(false);
  });
  test("gives no warning for the links of the example but that it is open to all roles", () => {
    const warnings = checkBusPolicy(documented, [link("root", 0), link("operator", 1001), link("nobody", 65534)]);
    expect(warnings).toEqual([
      expect.stringMatching(/^bus\.conf:\d+: open to all: every role may call all of org\.pantavisor\.Example$/),
      expect.stringMatching(/every role may call all of org\.pantavisor\.Hidden$/),
    ]);
  });
});

describe("warnings", () => {
  test("a role that can't call what its link is for, with the rule that denies it", () => {
    const xml = `
<policy context="default"><deny own="*"/>
<deny send_type="method_call"/></policy>
<policy user="operator"><allow send_destination="${NAME}" send_interface="${NAME}"/></policy>`;
    expect(
      checkBusPolicy(policies(xml), [link("operator", 1001), link("nobody", 65534), link("guest", undefined)]),
    ).toEqual([
      `service "system-bus": consumer "app" with role "nobody" (uid 65534) can't call ${NAME} on its bus: denied at bus.conf:5`,
      `service "system-bus": consumer "app" with role "guest" can't call ${NAME} on its bus: denied at bus.conf:5`,
    ]);
  });
  test("a part of the interface is enough, another name is not", () => {
    const xml = `<policy context="default"><allow send_destination="${NAME}" send_interface="${NAME}.Sub" send_member="Get"/></policy>`;
    expect(checkBusPolicy(policies(xml), [link("any", 65534)])).toEqual([]);
    const other = `<policy context="default"><allow send_destination="org.other.Name"/></policy>`;
    expect(checkBusPolicy(policies(other), [link("any", 65534)])[0]).toContain("no rule allows it");
  });
  test("a name that policy grants and the bus does not", () => {
    const xml = `<policy context="default"><allow send_destination="${NAME}" send_interface="${NAME}"/></policy><policy user="0"><allow own_prefix="org.my"/></policy>`;
    expect(checkBusPolicy(policies(xml), [link("root", 0, { own: ["org.my.Name"] })])).toEqual([]);
    expect(checkBusPolicy(policies(xml), [link("any", 65534, { own: ["org.my.Name"] })])).toEqual([
      'service "system-bus": consumer "app" with role "any" (uid 65534) can\'t own org.my.Name on its bus: no rule allows it',
    ]);
  });
  test("policies that are open to all", () => {
    const open = (rule: string) =>
      checkBusPolicy(policies(`<policy context="default">${rule}</policy>`), []).map((w) => w.replace(/.*all: /, ""));
    expect(open('<allow own="*"/>')).toEqual(["every role may own every name"]);
    expect(open('<allow own="a.b"/>')).toEqual(["every role may own a.b"]);
    expect(open('<allow send_destination="*"/>')).toEqual(["every role may call everything"]);
    expect(open('<allow send_type="method_call"/>')).toEqual(["every role may call everything"]);
    expect(open('<allow send_destination="*" eavesdrop="true"/>')).toEqual([
      "every role may read what is sent to others",
    ]);
    expect(open('<allow send_type="signal"/><allow user="*"/><allow receive_type="method_call"/>')).toEqual([]);
    expect(open('<allow send_requested_reply="true" send_type="method_return"/>')).toEqual([]);
    expect(open('<allow own="*"/><deny own="*"/>')).toEqual([]);
    expect(checkBusPolicy(policies('<policy user="root"><allow own="*"/></policy>'), [])).toEqual([]);
  });
});

describe("files of an unpacked root", () => {
  test("are followed through their includes, inside the root, and held against links", () => {
    const root = mkdtempSync(join(tmpdir(), "pvx-busroot-"));
    const write = (path: string, text: string): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    write("etc/passwd", "operator:x:1001:1001::/:/bin/false\n");
    write(
      "usr/share/dbus-1/system.conf",
      `<busconfig><policy context="default"><deny send_type="method_call"/></policy>
<include ignore_missing="yes">/etc/dbus-1/absent.conf</include><includedir>system.d</includedir><includedir>/etc/dbus-1/system.d</includedir></busconfig>`,
    );
    write(
      "usr/share/dbus-1/system.d/a.conf",
      `<busconfig><policy user="1001"><allow send_destination="${NAME}"/></policy></busconfig>`,
    );
    write("etc/dbus-1/system.d/b.conf", "<busconfig>");
    write("etc/dbus-1/system.d/readme", "not a configuration");
    const links = ["operator", "nobody"].map((role) => ({ ...GRAPH_LINK, role }));
    const result = checkBus("/usr/share/dbus-1/system.conf", root, links, () => undefined);
    expect(result.errors).toEqual([expect.stringMatching(/^\/etc\/dbus-1\/system\.d\/b\.conf:\d+: Unclosed root tag/)]);
    expect(result.warnings).toEqual([
      `service "system-bus": consumer "app" with role "nobody" can't call ${NAME} on its bus: denied at /usr/share/dbus-1/system.conf:1`,
    ]);
    rmSync(root, { recursive: true });
  });
});
