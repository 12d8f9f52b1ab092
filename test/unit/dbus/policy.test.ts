/** Names, rules and rights without a session. */
import { describe, expect, test } from "bun:test";
import { explain } from "../../../src/policy/dbus/explain.ts";
import { Owners, TRACKED_NAMES_MAX } from "../../../src/policy/dbus/owners.ts";
import { HIDDEN, OWN, Rights, SEE, TALK } from "../../../src/policy/dbus/rights.ts";
import { parseNamePattern, parseRule, ruleMatches } from "../../../src/policy/dbus/rule.ts";
import { rightsOf } from "../../../src/policy/dbus.ts";
import { isBusName, isInterface, isMember, isPath } from "../../../src/protocol/dbus/names.ts";
import { validSignature } from "../../../src/protocol/dbus/signature.ts";
import { lists, rights } from "../../support/dbus-session.ts";

describe("names", () => {
  const table: [check: (text: string) => boolean, good: string[], bad: string[]][] = [
    [
      isInterface,
      ["a.b", "_a._b9", "org.a.B"],
      ["", "a", ".a.b", "a..b", "a.b.", "a.9b", "a-b.c", "a.b c", "ä.b", `a.${"b".repeat(254)}`],
    ],
    [isMember, ["a", "_9", "GetAll"], ["", "9a", "a.b", "a-b", "a b"]],
    [
      isBusName,
      ["a.b", "a-b.-c", ":1.0", ":a", ":1.2.3", ":-.9"],
      ["", "a", ".a.b", "a.9b", ":", ":.1", ":1.", ":1..2", "a.b:c"],
    ],
    [isPath, ["/", "/a", "/a/b_9/0"], ["", "a", "//", "/a/", "/a//b", "/a-b", "/ä", "/a.b"]],
  ];
  for (const [check, good, bad] of table) {
    test(check.name, () => {
      expect(good.filter((text) => !check(text))).toEqual([]);
      expect(bad.filter(check)).toEqual([]);
    });
  }
});

test("signatures: brackets nest, dicts sit in arrays with a basic key and one value, depth is bounded", () => {
  const sound = (text: string): boolean => validSignature(Buffer.from(text), 0, text.length);
  const good = [
    "",
    "s",
    "a{sv}",
    "aaai",
    "(i(sv))",
    "a(a{ya(h)})",
    `${"a".repeat(32)}y`,
    `${"(".repeat(32)}y${")".repeat(32)}`,
    "s".repeat(255),
  ];
  const bad = [
    "a",
    "()",
    "(s",
    "s)",
    "{sv}",
    "a{vs}",
    "a{s}",
    "a{sss}",
    "a{(s)s}",
    "(sa{ss)}",
    "a)",
    "(a)",
    "z",
    "r",
    "e",
    "m",
    `${"a".repeat(33)}y`,
    `${"(".repeat(33)}y${")".repeat(33)}`,
    "s".repeat(256),
    "a{sv",
    "a{s(v}",
  ];
  expect(good.filter((text) => !sound(text))).toEqual([]);
  expect(bad.filter(sound)).toEqual([]);
});

describe("rules", () => {
  const holds = (rule: string, iface: string, member: string, path: string): boolean =>
    ruleMatches(parseRule(rule)!, iface, member, path);
  const table: [rule: string, iface: string, member: string, path: string, holds: boolean][] = [
    ["*", "org.a.B", "M", "/", true],
    ["*@/a", "org.a.B", "M", "/b", false],
    ["org.a.B.M", "org.a.B", "M", "/any", true],
    ["org.a.B.M", "org.a.B", "N", "/any", false],
    ["org.a.B.M", "org.a.B.C", "M", "/any", false],
    ["org.a.B.*", "org.a.B", "N", "/", true],
    ["org.a.B.*", "org.a.B.C", "N", "/", false],
    ["org.a.B.*.*", "org.a.B.C", "N", "/", true],
    ["org.a.B.*.*", "org.a.Bx", "N", "/", false],
    ["org.a.B.M@/a/**", "org.a.B", "M", "/a", true],
    ["org.a.B.M@/a/**", "org.a.B", "M", "/a/b/c", true],
    ["org.a.B.M@/a/**", "org.a.B", "M", "/ab", false],
    ["org.a.B.M@/a/*", "org.a.B", "M", "/a/b", true],
    ["org.a.B.M@/a/*", "org.a.B", "M", "/a", false],
    ["org.a.B.M@/a/*/c", "org.a.B", "M", "/a/b/c", true],
    ["org.a.B.M@/", "org.a.B", "M", "/", true],
    ["org.a.B.M@/", "org.a.B", "M", "/a", false],
    ["org.a.B.M@/**", "org.a.B", "M", "/", true],
  ];
  for (const [rule, iface, member, path, result] of table)
    test(`${rule} ${result ? "takes" : "does not take"} ${iface}.${member} at ${path}`, () =>
      expect(holds(rule, iface, member, path)).toBe(result));
  test("what is no rule is refused", () => {
    for (const text of [
      "",
      "M",
      "a.M",
      "org.a.B.",
      "org.a.B.M@",
      "org.a.B.M@a",
      "org.a.B.M@/a/",
      "org.a.B.M@/**/b",
      "org.*.M",
      "=org.a.B.M",
      ":1.5=org.a.B.M",
      "org.a.B.M@/a*",
    ])
      expect([text, parseRule(text)]).toEqual([text, text === "a.M" ? parseRule("a.M") : undefined]);
  });
  test("name patterns", () => {
    expect(parseNamePattern("org.a.B.*")).toEqual({ text: "org.a.B.*", base: "org.a.B", below: true });
    for (const text of ["", "org", ":1.5", "org.*.B", "org.a.B*"]) expect(parseNamePattern(text)).toBeUndefined();
  });
});

describe("rights", () => {
  test("without a filter everything is the bus's own decision", () => {
    const r = new Rights(rights());
    expect([r.filtered, r.level("org.x.Y"), r.mayOwn("org.x.Y"), r.watched()]).toEqual([
      false,
      TALK,
      true,
      { names: [], namespaces: [] },
    ]);
  });
  test("levels of names", () => {
    const r = new Rights(
      rights({
        lists: lists({
          see: ["org.s.*"],
          talk: ["org.t.T"],
          own: ["org.o.O"],
          call: ["org.c.C.M", "org.n.N=org.other.I.M"],
        }),
      }),
    );
    const levels = ["org.s.S", "org.t.T", "org.t.T.Child", "org.o.O", "org.c.C", "org.n.N", "org.other.I"].map((n) =>
      r.level(n),
    );
    expect(levels).toEqual([SEE, TALK, HIDDEN, OWN, TALK, TALK, HIDDEN]);
  });
  test("rules belong to the talk entry that their interface is named after", () => {
    const r = new Rights(
      rights({ lists: lists({ talk: ["org.mpris.MediaPlayer2.*"], call: ["org.mpris.MediaPlayer2.Player.Play"] }) }),
    );
    expect(r.mayCall("org.mpris.MediaPlayer2.vlc", "org.mpris.MediaPlayer2.Player", "Play", "/")).toBe(true);
    expect(r.mayCall("org.mpris.MediaPlayer2.vlc", "org.mpris.MediaPlayer2.Player", "Stop", "/")).toBe(false);
    expect(r.mayHear("org.mpris.MediaPlayer2.vlc", "org.mpris.MediaPlayer2.Player", "Seeked", "/")).toBe(false);
  });
  test("the graph's interface", () => {
    const of = (text: string) => {
      const result = rightsOf({ name: "bus", role: "r", interface: text }, undefined);
      return result.ok ? result.rights.interfaces : "refused";
    };
    expect(
      [
        "",
        "any",
        "dbus",
        "/run/x.sock",
        "org.a.B",
        " org.a.B , org.c.* ",
        "system",
        "org.a B",
        ":1.5",
        "org.a,,org.b",
      ].map(of),
    ).toEqual([null, null, null, null, ["org.a.B"], ["org.a.B", "org.c"], ["system"], "refused", "refused", "refused"]);
  });
});

test("owners: rights follow the name, and the table is bounded", () => {
  const owners = new Owners();
  owners.set("org.a.A", ":1.1");
  owners.set("org.a.B", ":1.1");
  owners.set("org.a.A", ":1.2");
  expect([[...owners.namesOf(":1.1")], [...owners.namesOf(":1.2")]]).toEqual([["org.a.B"], ["org.a.A"]]);
  owners.set("org.a.B", "");
  expect(owners.namesOf(":1.1").size).toBe(0);
  for (let i = 1; i < TRACKED_NAMES_MAX; i++) expect(owners.set(`org.n${i}.N`, ":1.3")).toBe(true);
  expect(owners.set("org.more.N", ":1.3")).toBe(false);
  expect(owners.owner("org.more.N")).toBeUndefined();
});

test("explain answers as the filter decides, with the rule", () => {
  const config = rights({
    interfaces: ["org.a.B"],
    rule: 'roles["r"]',
    lists: lists({ talk: ["org.a.B"], call: ["org.a.B.M@/x"], own: ["org.o.O"] }),
  });
  const ask = (question: Parameters<typeof explain>[1]): string => {
    const { allowed, error, rule } = explain(config, question);
    return `${allowed ? "yes" : (error ?? "dropped")}: ${rule}`;
  };
  expect([
    ask({ kind: "call", name: "org.a.B", interface: "org.a.B", member: "M", path: "/x" }),
    ask({ kind: "call", name: "org.a.B", interface: "org.a.B", member: "M", path: "/y" }),
    ask({
      kind: "call",
      name: "org.a.B",
      interface: "org.freedesktop.DBus.Properties",
      member: "Get",
      argument: "org.z.Z",
    }),
    ask({ kind: "call", name: "org.x.X", interface: "org.a.B", member: "M" }),
    ask({ kind: "call", name: "org.freedesktop.DBus", interface: "org.freedesktop.DBus", member: "ReloadConfig" }),
    ask({ kind: "own", name: "org.o.O" }),
    ask({ kind: "own", name: "org.a.B" }),
    ask({ kind: "receive", name: "org.a.B", interface: "org.a.B", member: "S" }),
    ask({ kind: "see", name: "org.x.X" }),
    ask({ kind: "signal", name: "", interface: "org.o.O.Events", member: "S" }),
  ]).toEqual([
    'yes: roles["r"].call/broadcast',
    'AccessDenied: roles["r"].call/broadcast',
    "AccessDenied: graph interface",
    "ServiceUnknown: graph interface",
    "AccessDenied: bus driver: method not listed",
    'yes: roles["r"].own org.o.O',
    'AccessDenied: may not own: roles["r"].call/broadcast',
    'dropped: roles["r"].call/broadcast',
    "NameHasNoOwner: graph interface",
    "yes: signal allowed",
  ]);
});
