/** One session with a bus that the test plays: handshakes, decisions, order, replies, fds, bounds. */
import { describe, expect, test } from "bun:test";
import { HALF_OPEN_MAX, INCOMING_MAX, MATCH_RULES_MAX, PENDING_MAX } from "../../../src/mediators/dbus/config.ts";
import { config, DbusSession, lists, SELF } from "../../support/dbus-session.ts";
import { CALL, ERROR, message, RETURN, read, SIGNAL } from "../../support/dbus-wire.ts";

const BUS = "org.freedesktop.DBus";
const PROPERTIES = "org.freedesktop.DBus.Properties";
const A = { owners: { "org.a.B": ":1.9", "org.x.Hidden": ":1.8" } };
const graph = (prefixes: string[]) => config({ interfaces: prefixes });
const toBus = { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS };
const ask = (s: DbusSession, member: string, signature?: string, body?: unknown[]): string => {
  s.call({ ...toBus, member, serial: 77, ...(signature === undefined ? {} : { signature, body: body! }) });
  return s.answer();
};

describe("handshakes", () => {
  test("nothing is dialled before the consumer's NUL, and a wrong first byte ends it", () => {
    const s = new DbusSession(config());
    expect(s.session.connects).toBe(0);
    s.session.consumerSends("AUTH");
    expect(s.session.state).toContain("NUL");
    const t = new DbusSession(config());
    t.session.consumerSends("\0");
    expect(t.session.connects).toBe(1);
  });
  test("the consumer's claim never reaches the bus, which is asked to look at the socket", () => {
    const s = new DbusSession(config());
    s.session.consumerSends("\0AUTH EXTERNAL 30\r\n");
    s.filter.onUpstreamConnected();
    expect(s.session.upstream.text).toBe("\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\n");
    s.pump();
    expect(s.session.downstream.text).toMatch(/^OK [0-9a-f]{32}\r\n$/);
  });
  test("a bus that rejects the role ends the session without an OK", () => {
    const s = new DbusSession(config());
    s.session.consumerSends("\0AUTH EXTERNAL 30\r\n");
    s.filter.onUpstreamConnected();
    s.session.providerSends("REJECTED EXTERNAL\r\n");
    expect(s.session.state).toContain('the bus refuses role "operator"');
    expect(s.session.downstream.text).toBe("");
  });
  test("a handshake and Hello in one write work, at every split", () => {
    const hello = message({ type: CALL, serial: 5, member: "Hello", ...toBus });
    const all = Buffer.concat([
      Buffer.from("\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", "latin1"),
      hello,
    ]);
    for (const split of [0, 1, 7, 50]) {
      const s = new DbusSession(config({ interfaces: ["org.a"] }), A);
      s.session.consumerSends(Uint8Array.from(all), [], split);
      s.filter.onUpstreamConnected();
      s.pump();
      const text = s.session.downstream.text;
      expect(text).toStartWith("DATA\r\nOK ");
      expect(text).toContain("AGREE_UNIX_FD\r\n");
      expect(text.split(SELF).length).toBe(5); // destination and argument of the reply and of NameAcquired
      expect(s.session.state).toBe("open");
    }
  });
  test("fds in the handshake end the session and are closed", () => {
    const s = new DbusSession(config());
    s.session.consumerSends("\0AUTH", [50]);
    expect(s.session.state).toContain("not agreed");
    expect(s.session.leakedFds).toEqual([]);
  });
  test("who says nothing is dropped in time, and only so many may", () => {
    const s = new DbusSession(config());
    s.session.advance(31_000);
    expect(s.session.state).toContain("no Hello in time");
    const state = { halfOpen: 0, heldFds: 0 };
    const open = Array.from({ length: HALF_OPEN_MAX }, () => new DbusSession(config(), { state }));
    expect(new DbusSession(config(), { state }).session.state).toContain("without Hello");
    open[0]!.session.end();
    expect(new DbusSession(config(), { state }).session.state).toBe("open");
  });
  test("messages before Hello: to others they end it, to the bus they are denied", () => {
    const s = new DbusSession(config());
    s.session.consumerSends("\0AUTH EXTERNAL 30\r\nBEGIN\r\n");
    s.filter.onUpstreamConnected();
    s.pump();
    s.skipHandshake();
    expect(ask(s, "ListNames")).toBe("AccessDenied");
    s.call({ destination: "org.a.B", interface: "org.a.B", member: "X" });
    expect(s.session.state).toContain("before Hello");
  });
  test("a second Hello is refused and the session lives", () => {
    const s = DbusSession.open(config());
    expect(ask(s, "Hello")).toBe("Failed");
    expect(s.session.state).toBe("open");
  });
});

describe("the graph's interface", () => {
  const open = () => DbusSession.open(graph(["org.a.B"]), A);
  const call = (s: DbusSession, destination: string, iface: string | undefined, member = "Get1", more = {}): string => {
    s.atBus.length = 0;
    s.call({ destination, interface: iface, member, serial: 9, path: "/o", ...more } as never);
    if (s.atBus.length === 1) return "passed";
    return s.answer();
  };
  test("allows its names and interfaces and what is below them, and nothing that only begins like them", () => {
    const s = open();
    expect(call(s, "org.a.B", "org.a.B")).toBe("passed");
    expect(call(s, "org.a.B", "org.a.B.Sub")).toBe("passed");
    expect(call(s, "org.a.B.Child", "org.a.B")).toBe("passed");
    expect(call(s, "org.a.B", "org.a.Bx")).toBe("AccessDenied");
    expect(call(s, "org.a.B", "org.a")).toBe("AccessDenied");
    expect(call(s, "org.a.Bx", "org.a.B")).toBe("ServiceUnknown");
    expect(call(s, "org.x.Hidden", "org.a.B")).toBe("ServiceUnknown");
    expect(call(s, "org.x.Hidden", "org.a.B", "M", { flags: 2 })).toBe("NameHasNoOwner");
  });
  test("refuses a call without an interface: the receiver would pick one", () => {
    expect(call(open(), "org.a.B", undefined)).toBe("AccessDenied");
  });
  test("decides Properties on the interface that they name", () => {
    const s = open();
    const get = (iface: string) => call(s, "org.a.B", PROPERTIES, "Get", { signature: "ss", body: [iface, "P"] });
    expect(get("org.a.B")).toBe("passed");
    expect(get("org.x.Other")).toBe("AccessDenied");
    expect(get("")).toBe("AccessDenied");
    expect(call(s, "org.a.B", PROPERTIES, "GetAll", { signature: "s", body: ["org.x.Other"] })).toBe("AccessDenied");
    expect(call(s, "org.a.B", PROPERTIES, "GetAll", { signature: "s", body: ["org.a.B.Sub"] })).toBe("passed");
    expect(call(s, "org.a.B", PROPERTIES, "Set", { signature: "ssv", body: ["org.x.Other", "P", ["s", "v"]] })).toBe(
      "AccessDenied",
    );
    expect(call(s, "org.a.B", PROPERTIES, "Set", { signature: "ssv", body: ["org.a.B", "P", ["s", "v"]] })).toBe(
      "passed",
    );
    expect(call(s, "org.a.B", PROPERTIES, "Get", { signature: "sss", body: ["org.a.B", "P", "x"] })).toBe(
      "AccessDenied",
    );
    expect(call(s, "org.a.B", PROPERTIES, "Get")).toBe("AccessDenied");
  });
  test("allows Introspect and Peer on its names", () => {
    const s = open();
    expect(call(s, "org.a.B", "org.freedesktop.DBus.Introspectable", "Introspect")).toBe("passed");
    expect(call(s, "org.a.B", "org.freedesktop.DBus.Peer", "Ping")).toBe("passed");
    expect(call(s, "org.x.Hidden", "org.freedesktop.DBus.Peer", "Ping")).toBe("ServiceUnknown");
  });
  test("gives a unique name the rights of the names that its owner holds, as long as it holds them", () => {
    const s = open();
    expect(call(s, ":1.9", "org.a.B")).toBe("passed");
    expect(call(s, ":1.8", "org.a.B")).toBe("NameHasNoOwner");
    s.nameOwnerChanged("org.a.B", ":1.9", ":1.30");
    expect(call(s, ":1.9", "org.a.B")).toBe("NameHasNoOwner");
    expect(call(s, ":1.30", "org.a.B")).toBe("passed");
    s.nameOwnerChanged("org.a.B.New", "", ":1.31");
    expect(call(s, ":1.31", "org.a.B")).toBe("passed");
    s.nameOwnerChanged("org.a.B.New", ":1.31", "");
    expect(call(s, ":1.31", "org.a.B")).toBe("NameHasNoOwner");
  });
  test("records each refusal with what was asked and the rule", () => {
    const s = open();
    call(s, "org.a.B", PROPERTIES, "Get", { signature: "ss", body: ["org.x.Other", "P"] });
    expect(s.session.denied).toEqual([
      {
        action: "call",
        rule: "graph interface",
        asked: {
          role: "operator",
          name: "org.a.B",
          path: "/o",
          interface: PROPERTIES,
          member: "Get",
          argument_interface: "org.x.Other",
        },
      },
    ]);
  });
  test("never grants owning a name", () => {
    expect(ask(open(), "RequestName", "su", ["org.a.B", 0])).toBe("AccessDenied");
  });
});

describe("policy's lists", () => {
  const open = (part: Parameters<typeof lists>[0], interfaces: string[] | null = null) =>
    DbusSession.open(config({ lists: lists(part), interfaces }), A);
  const passes = (s: DbusSession, fields: object): boolean => {
    s.atBus.length = 0;
    s.call({ destination: "org.a.B", interface: "org.a.B", member: "M", path: "/o/p", serial: 3, ...fields });
    s.received();
    return s.atBus.length === 1;
  };
  test("talk allows everything on a name", () => {
    const s = open({ talk: ["org.a.B"] });
    expect(passes(s, { interface: "any.other.Interface" })).toBe(true);
    expect(passes(s, { interface: PROPERTIES, member: "Get", signature: "ss", body: ["org.x.Other", "P"] })).toBe(true);
    expect(passes(s, { destination: "org.a.B.Child" })).toBe(false);
    expect(passes(s, { interface: undefined })).toBe(false);
    expect(s.session.denied.at(-1)!.rule).toBe("call without an interface header");
  });
  test("a name with call rules is limited to them", () => {
    const s = open({ talk: ["org.a.B"], call: ["org.a.B.M@/o/**", "org.a.B.GetAll"] });
    expect(passes(s, {})).toBe(true);
    expect(passes(s, { path: "/o" })).toBe(true);
    expect(passes(s, { path: "/other" })).toBe(false);
    expect(passes(s, { member: "N" })).toBe(false);
    expect(passes(s, { interface: PROPERTIES, member: "GetAll", signature: "s", body: ["org.a.B"] })).toBe(true);
    expect(passes(s, { interface: PROPERTIES, member: "Get", signature: "ss", body: ["org.a.B", "P"] })).toBe(false);
    expect(passes(s, { interface: "org.freedesktop.DBus.Introspectable", member: "Introspect" })).toBe(true);
  });
  test("the graph's interface stands beside them", () => {
    const s = open({ talk: ["org.a.B", "org.x.Hidden"] }, ["org.a.B"]);
    expect(passes(s, {})).toBe(true);
    expect(passes(s, { interface: "org.c.D" })).toBe(false);
    expect(passes(s, { destination: "org.x.Hidden" })).toBe(false);
  });
  test("see shows a name and allows no call", () => {
    const s = open({ see: ["org.a.B"] });
    s.call({ destination: "org.a.B", interface: "org.a.B", member: "M", serial: 8 });
    expect(s.answer()).toBe("AccessDenied");
    s.call({ ...toBus, member: "GetNameOwner", signature: "s", body: ["org.a.B"], serial: 9 });
    expect(s.atBus.at(-1)!.member).toBe("GetNameOwner");
  });
  test("own allows RequestName of that name alone, and signals on interfaces named after it", () => {
    const s = open({ own: ["org.my.Name"] });
    s.call({ ...toBus, member: "RequestName", signature: "su", body: ["org.my.Name", 4], serial: 3 });
    expect(s.atBus.at(-1)!.body).toEqual(["org.my.Name", 4]);
    expect(ask(s, "RequestName", "su", ["org.my.Name2", 4])).toBe("AccessDenied");
    expect(ask(s, "RequestName", "s", ["org.my.Name"])).toBe("InvalidArgs");
    s.atBus.length = 0;
    s.send({ type: SIGNAL, path: "/x", interface: "org.my.Name.Events", member: "E" });
    s.send({ type: SIGNAL, path: "/x", interface: "org.other.Name", member: "E" });
    s.send({
      type: SIGNAL,
      path: "/x",
      interface: PROPERTIES,
      member: "PropertiesChanged",
      signature: "sa{sv}as",
      body: ["org.other.Name", [], []],
    });
    s.send({
      type: SIGNAL,
      path: "/x",
      interface: PROPERTIES,
      member: "PropertiesChanged",
      signature: "sa{sv}as",
      body: ["org.my.Name", [], []],
    });
    expect(s.atBus.map((m) => m.body?.[0] ?? m.interface)).toEqual(["org.my.Name.Events", "org.my.Name"]);
    expect(s.session.denied.filter((d) => d.action === "signal")).toHaveLength(2);
  });
});

describe("the bus driver", () => {
  for (const [name, make] of [
    ["with a filter", () => DbusSession.open(graph(["org.a.B"]), A)],
    ["without a filter", () => DbusSession.open(config(), A)],
  ] as const) {
    test(`refuses what it does not list, ${name}`, () => {
      const s = make();
      for (const [iface, member] of [
        [`${BUS}.Monitoring`, "BecomeMonitor"],
        [BUS, "UpdateActivationEnvironment"],
        [BUS, "ReloadConfig"],
        [BUS, "Unheard"],
        [`${BUS}.Debug.Stats`, "GetStats"],
        [PROPERTIES, "Set"],
      ] as const) {
        s.call({ ...toBus, interface: iface, member, serial: 4 });
        expect(s.answer()).toBe("AccessDenied");
      }
      s.call({ ...toBus, interface: undefined as never, member: "BecomeMonitor", serial: 4 });
      expect(s.answer()).toBe("AccessDenied");
      expect(s.atBus).toEqual([]);
    });
    test(`refuses eavesdropping, ${name}`, () => {
      const s = make();
      expect(ask(s, "AddMatch", "s", ["eavesdrop='true'"])).toBe("AccessDenied");
      s.call({ ...toBus, member: "AddMatch", signature: "s", body: ["arg0='eavesdrop=true'"], serial: 5 });
      expect(s.atBus).toHaveLength(1);
    });
    test(`caps match rules, ${name}`, () => {
      const s = make();
      for (let i = 0; i < MATCH_RULES_MAX; i++)
        s.call({ ...toBus, member: "AddMatch", flags: 1, signature: "s", body: [`arg0='${i}'`] });
      expect(s.atBus).toHaveLength(MATCH_RULES_MAX);
      expect(ask(s, "AddMatch", "s", ["arg0='more'"])).toBe("LimitsExceeded");
      s.call({ ...toBus, member: "RemoveMatch", flags: 1, signature: "s", body: ["arg0='3'"] });
      s.call({ ...toBus, member: "AddMatch", flags: 1, signature: "s", body: ["arg0='more'"] });
      expect(s.atBus.at(-1)!.member).toBe("AddMatch");
    });
  }
  test("hides names from every question about them", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    for (const member of [
      "GetNameOwner",
      "GetConnectionUnixUser",
      "GetConnectionUnixProcessID",
      "GetConnectionCredentials",
    ]) {
      expect(ask(s, member, "s", ["org.x.Hidden"])).toBe("NameHasNoOwner");
      expect(ask(s, member, "s", [":1.8"])).toBe("NameHasNoOwner");
    }
    expect(ask(s, "StartServiceByName", "su", ["org.x.Hidden", 0])).toBe("ServiceUnknown");
    expect(ask(s, "NameHasOwner", "s", ["org.x.Hidden"])).toBe("false");
    expect(s.atBus).toEqual([]);
  });
  test("lists only visible names", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...toBus, member: "ListNames", serial: 21 });
    s.bus({
      type: RETURN,
      replySerial: s.atBus[0]!.serial,
      signature: "as",
      body: [[BUS, SELF, ":1.8", ":1.9", "org.a.B", "org.x.Hidden"]],
    });
    const [reply] = s.received();
    expect(reply!.replySerial).toBe(21);
    expect(reply!.body![0]).toEqual([BUS, SELF, ":1.9", "org.a.B"]);
  });
  test("owner changes are told for visible names, and only to who asked for them", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.nameOwnerChanged("org.a.B", ":1.9", ":1.10");
    expect(s.received()).toEqual([]);
    s.call({ ...toBus, member: "AddMatch", flags: 1, signature: "s", body: ["member='NameOwnerChanged'"] });
    s.nameOwnerChanged("org.x.Hidden", ":1.8", "");
    s.nameOwnerChanged("org.a.B", ":1.10", ":1.11");
    expect(s.received().map((m) => m.body)).toEqual([["org.a.B", ":1.10", ":1.11"]]);
    s.call({ ...toBus, member: "RemoveMatch", flags: 1, signature: "s", body: ["member=NameOwnerChanged"] });
    s.nameOwnerChanged("org.a.B", ":1.11", ":1.12");
    expect(s.received()).toEqual([]);
  });
  test("the end of a connection is told to who could see it by a name that went before it", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...toBus, member: "AddMatch", flags: 1, signature: "s", body: ["member='NameOwnerChanged',arg0=':1.9'"] });
    s.nameOwnerChanged("org.a.B", ":1.9", "");
    s.nameOwnerChanged(":1.8", ":1.8", "");
    s.nameOwnerChanged(":1.9", ":1.9", "");
    s.nameOwnerChanged(":1.9", ":1.9", "");
    expect(s.received().map((m) => m.body)).toEqual([[":1.9", ":1.9", ""]]);
  });
  test("nothing is told to a role that may see nothing, though nothing is watched for it", () => {
    const s = DbusSession.open(config({ lists: lists() }), A);
    expect(s.rules).toEqual([]);
    s.call({ ...toBus, member: "AddMatch", flags: 1, signature: "s", body: ["member='NameOwnerChanged'"] });
    s.nameOwnerChanged("org.x.Hidden", ":1.8", ":1.9");
    s.nameOwnerChanged(":1.8", ":1.8", "");
    expect(s.received()).toEqual([]);
  });
  test("a consumer can't remove a watch of ours", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const ours = s.rules[0]!;
    expect(ask(s, "RemoveMatch", "s", [ours])).toBe("MatchRuleNotFound");
    expect(s.atBus).toEqual([]);
  });
  test("a rule that the bus refuses is not kept", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...toBus, member: "AddMatch", signature: "s", body: ["member='NameOwnerChanged'"], serial: 6 });
    s.bus({ type: ERROR, replySerial: s.atBus[0]!.serial, errorName: "org.freedesktop.DBus.Error.LimitsExceeded" });
    s.received();
    s.nameOwnerChanged("org.a.B", ":1.9", ":1.10");
    expect(s.received()).toEqual([]);
  });
});

describe("replies", () => {
  const call = { destination: "org.a.B", interface: "org.a.B", member: "M", path: "/" };
  test("calls go up with serials of our own and come back with the caller's", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...call, serial: 4000 });
    s.call({ ...call, serial: 4000 });
    const [a, b] = s.atBus;
    expect(new Set([a!.serial, b!.serial, 4000]).size).toBe(3);
    s.from(":1.9", { type: RETURN, replySerial: a!.serial, signature: "s", body: ["one"] });
    s.from(":1.9", { type: ERROR, replySerial: b!.serial, errorName: "org.a.E" });
    expect(s.received().map((m) => [m.replySerial, m.type])).toEqual([
      [4000, RETURN],
      [4000, ERROR],
    ]);
  });
  test("only the callee's reply counts, once", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...call, serial: 4 });
    const { serial } = s.atBus[0]!;
    s.from(":1.66", { type: RETURN, replySerial: serial });
    s.from(":1.9", { type: RETURN, replySerial: serial + 1 });
    expect(s.received()).toEqual([]);
    s.from(":1.9", { type: RETURN, replySerial: serial });
    s.from(":1.9", { type: RETURN, replySerial: serial });
    expect(s.received()).toHaveLength(1);
  });
  test("the callee may have changed while the call was under way", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...call, serial: 4 });
    s.nameOwnerChanged("org.a.B", ":1.9", ":1.10");
    s.from(":1.10", { type: RETURN, replySerial: s.atBus[0]!.serial });
    expect(s.received()).toHaveLength(1);
  });
  test("NO_REPLY_EXPECTED calls pass with a serial of ours and get nothing back", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.call({ ...call, serial: 4, flags: 1 });
    expect(s.atBus).toHaveLength(1);
    s.from(":1.9", { type: RETURN, replySerial: s.atBus[0]!.serial });
    s.call({ ...call, destination: "org.x.Hidden", serial: 5, flags: 1 });
    expect(s.received()).toEqual([]);
    expect(s.session.denied).toHaveLength(1);
  });
  test("so many calls may wait, the next is refused and the session lives", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    for (let i = 1; i <= PENDING_MAX; i++) s.call({ ...call, serial: i });
    s.call({ ...call, serial: 500 });
    expect(s.answer()).toBe("LimitsExceeded");
    s.from(":1.9", { type: RETURN, replySerial: s.atBus[0]!.serial });
    s.call({ ...call, serial: 501 });
    expect(s.atBus).toHaveLength(PENDING_MAX + 1);
  });
  test("a consumer answers only calls that it was made, once", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.from(":1.44", { type: CALL, path: "/", member: "Agent", interface: "org.z.Agent", serial: 900 });
    expect(s.received()).toHaveLength(1);
    s.send({ type: RETURN, destination: ":1.44", replySerial: 901 });
    s.send({ type: RETURN, destination: ":1.45", replySerial: 900 });
    expect(s.atBus).toEqual([]);
    s.send({ type: RETURN, destination: ":1.44", replySerial: 900 });
    s.send({ type: RETURN, destination: ":1.44", replySerial: 900 });
    expect(s.atBus.map((m) => m.replySerial)).toEqual([900]);
  });
  test("a callee that never answers gets no more calls, and their callers an error", () => {
    const s = DbusSession.open(config());
    for (let i = 1; i <= INCOMING_MAX + 1; i++) s.from(":1.44", { type: CALL, path: "/", member: "X", serial: i });
    expect(s.received()).toHaveLength(INCOMING_MAX);
    expect(s.atBus.map((m) => [m.type, m.errorName, m.destination, m.replySerial])).toEqual([
      [ERROR, "org.freedesktop.DBus.Error.LimitsExceeded", ":1.44", INCOMING_MAX + 1],
    ]);
  });
  test("who has called is visible from then on", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    expect(ask(s, "GetConnectionUnixUser", "s", [":1.44"])).toBe("NameHasNoOwner");
    s.from(":1.44", { type: CALL, path: "/", member: "X", flags: 1 });
    s.received();
    s.call({ ...toBus, member: "GetConnectionUnixUser", signature: "s", body: [":1.44"] });
    expect(s.atBus).toHaveLength(1);
  });
});

describe("order", () => {
  test("a refusal comes after the answers to what was asked of the bus before it", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.holdOwnReplies = true;
    s.call({ ...toBus, member: "GetNameOwner", signature: "s", body: ["org.a.B"], serial: 1 });
    s.call({ destination: "org.x.Hidden", interface: "org.a.B", member: "M", serial: 2 });
    s.call({ destination: "org.x.Hidden", interface: "org.a.B", member: "M", serial: 3 });
    expect(s.received()).toEqual([]);
    const upstream = s.session.upstream.bytes.length;
    s.bus({ type: RETURN, replySerial: s.atBus[0]!.serial, signature: "s", body: [":1.9"] });
    expect(s.session.upstream.bytes.length).toBe(upstream);
    // The turn's own call: the serial after the GetNameOwner's.
    s.bus({ type: RETURN, replySerial: s.atBus[0]!.serial + 1, signature: "s", body: ["id"] });
    expect(s.received().map((m) => m.replySerial)).toEqual([1, 2, 3]);
  });
});

test("a consumer that asks for ever other errors gets them all, the later ones in short", () => {
  const s = DbusSession.open(graph(["org.a.B"]), A);
  for (let i = 0; i < 600; i++)
    s.call({ destination: `org.x.N${i}`, interface: "org.x.I", member: "M", serial: i + 1 });
  const got = s.received();
  expect(got.map((m) => m.replySerial)).toEqual(Array.from({ length: 600 }, (_, i) => i + 1));
  expect(String(got[0]!.body![0])).toContain("org.x.N0");
  expect(got.at(-1)!.body).toEqual(["The name is not provided on this link"]);
});

test("a refusal behind an allowed call does not share the turn of one before it", () => {
  const s = DbusSession.open(graph(["org.a.B"]), A);
  s.holdOwnReplies = true;
  const refused = { destination: "org.x.Hidden", interface: "org.a.B", member: "M" };
  s.call({ ...refused, serial: 1 });
  s.call({ destination: "org.a.B", interface: "org.a.B", member: "M", serial: 2 });
  s.call({ ...refused, serial: 3 });
  const allowed = s.atBus[0]!.serial;
  s.bus({ type: RETURN, replySerial: allowed - 1, signature: "s", body: ["id"] });
  expect(s.received().map((m) => m.replySerial)).toEqual([1]);
  s.from(":1.9", { type: RETURN, replySerial: allowed });
  s.bus({ type: RETURN, replySerial: allowed + 1, signature: "s", body: ["id"] });
  expect(s.received().map((m) => m.replySerial)).toEqual([2, 3]);
});

describe("signals from the bus", () => {
  const signal = { type: SIGNAL, path: "/s", interface: "org.a.B", member: "Changed" };
  test("pass from the owners of allowed names on allowed interfaces only", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.from(":1.9", signal);
    s.from(":1.9", { ...signal, interface: "org.x.Other" });
    s.from(":1.8", signal);
    s.from(":1.9", {
      ...signal,
      interface: PROPERTIES,
      member: "PropertiesChanged",
      signature: "sa{sv}as",
      body: ["org.x.Other", [], []],
    });
    s.from(":1.9", {
      ...signal,
      interface: PROPERTIES,
      member: "PropertiesChanged",
      signature: "sa{sv}as",
      body: ["org.a.B", [], []],
    });
    s.from(":1.9", { ...signal, interface: "org.x.Other", destination: SELF });
    expect(s.received().map((m) => m.body?.[0] ?? m.interface)).toEqual(["org.a.B", "org.a.B"]);
    expect(s.session.denied.map((d) => d.action)).toEqual(["receive", "receive", "receive", "receive"]);
  });
  test("broadcast rules narrow them", () => {
    const s = DbusSession.open(config({ lists: lists({ talk: ["org.a.B"], broadcast: ["org.a.B.Changed@/s"] }) }), A);
    s.from(":1.9", signal);
    s.from(":1.9", { ...signal, path: "/t" });
    s.from(":1.9", { ...signal, member: "Other" });
    expect(s.received().map((m) => `${m.member}@${m.path}`)).toEqual(["Changed@/s"]);
  });
  test("a name that was lost takes its signals with it", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    s.nameOwnerChanged("org.a.B", ":1.9", "");
    s.from(":1.9", signal);
    expect(s.received()).toEqual([]);
  });
  test("objects are shown with their allowed interfaces", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const props = (v: string) => [["P", ["s", v]]];
    const managed = [
      [
        "/one",
        [
          ["org.a.B", props("x")],
          ["org.x.Secret", props("secret")],
          ["org.a.B.More", []],
        ],
      ],
      ["/a/longer/path", [["org.x.Secret", props("secret")]]],
      ["/two", [["org.a.B.Sub", props("y")]]],
    ];
    s.call({
      destination: "org.a.B",
      interface: "org.freedesktop.DBus.ObjectManager",
      member: "GetManagedObjects",
      serial: 8,
    });
    s.from(":1.9", { type: RETURN, replySerial: s.atBus[0]!.serial, signature: "a{oa{sa{sv}}}", body: [managed] });
    const [reply] = s.received();
    const seen = (reply!.body![0] as [string, [string, unknown][]][]).map(([path, interfaces]) => [
      path,
      interfaces.map(([i]) => i),
    ]);
    expect(seen).toEqual([
      ["/one", ["org.a.B", "org.a.B.More"]],
      ["/two", ["org.a.B.Sub"]],
    ]);
    expect(s.session.downstream.text).not.toContain("secret");
    expect(reply!.replySerial).toBe(8);
    const changed = { type: SIGNAL, path: "/", interface: "org.freedesktop.DBus.ObjectManager" };
    s.from(":1.9", { ...changed, member: "InterfacesAdded", signature: "oa{sa{sv}}", body: managed[0]! });
    s.from(":1.9", { ...changed, member: "InterfacesAdded", signature: "oa{sa{sv}}", body: managed[1]! });
    s.from(":1.9", {
      ...changed,
      member: "InterfacesRemoved",
      signature: "oas",
      body: ["/one", ["org.x.Secret", "org.a.B"]],
    });
    const [added, removed, ...rest] = s.received();
    expect((added!.body![1] as [string, unknown][]).map(([i]) => i)).toEqual(["org.a.B", "org.a.B.More"]);
    expect(removed!.body).toEqual(["/one", ["org.a.B"]]);
    expect(rest).toEqual([]);
  });
});

describe("fds", () => {
  const call = { destination: "org.a.B", interface: "org.a.B", member: "M", serial: 3, signature: "h", body: [0] };
  const open = () => DbusSession.open(graph(["org.a.B"]), A);
  const withFds = (n: number, more = {}) =>
    message({ type: CALL, path: "/", ...call, unixFd: n, body: Array(n).fill(0), signature: "h".repeat(n), ...more });
  test("go with their message, and those of a refused one are closed", () => {
    const s = open();
    s.session.consumerSends(withFds(2), [60, 61]);
    expect(s.session.upstream.fds).toEqual([60, 61]);
    s.session.consumerSends(withFds(1, { destination: "org.x.Hidden" }), [62]);
    expect(s.session.upstream.fds).toEqual([60, 61]);
    expect(s.session.leakedFds).toEqual([]);
    expect(s.session.state).toBe("open");
  });
  test("are taken by the message that says so, also when the bytes come one by one", () => {
    const s = open();
    s.session.consumerSends(withFds(1), [60], 1);
    expect(s.session.upstream.fds).toEqual([60]);
    expect(s.session.upstream.sent.find((p) => p.fds.length > 0)!.bytes[0]).toBe(108);
  });
  test("fewer than UNIX_FDS says, more, or without a message: the session ends", () => {
    for (const [n, fds] of [
      [1, []],
      [2, [60]],
      [1, [60, 61]],
      [0, [60]],
    ] as [number, number[]][]) {
      const s = open();
      s.session.consumerSends(n === 0 ? message({ type: CALL, path: "/", ...call, signature: "u" }) : withFds(n), fds);
      expect(s.session.state).not.toBe("open");
      expect(s.session.leakedFds).toEqual([]);
    }
    const s = open();
    s.session.consumerSends(
      withFds(17),
      Array.from({ length: 17 }, (_, i) => 60 + i),
    );
    expect(s.session.state).not.toBe("open");
    expect(s.session.leakedFds).toEqual([]);
  });
  test("come back the other way", () => {
    const s = open();
    s.call({ ...call, signature: "s", body: ["x"] });
    s.from(":1.9", { type: RETURN, replySerial: s.atBus[0]!.serial, unixFd: 1, signature: "h", body: [0] }, [70]);
    expect(s.session.downstream.fds).toEqual([70]);
  });
});

describe("bytes", () => {
  test("malformed messages end the session", () => {
    const broken: ((b: Uint8Array) => void)[] = [
      (b) => b.set([0], 1),
      (b) => b.set([9], 1),
      (b) => b.set([2], 3),
      (b) => b.set([0, 0, 0, 0], 8),
      (b) => b.set([1], b.length - 1),
    ];
    for (const damage of broken) {
      const s = DbusSession.open(config());
      const b = message({
        type: CALL,
        path: "/",
        member: "M",
        destination: "org.a.B",
        serial: 7,
        signature: "s",
        body: ["x"],
      });
      damage(b);
      s.session.consumerSends(b);
      expect(s.session.state).toContain("malformed");
    }
  });
  test("a message larger than the cap ends the session at its header", () => {
    const s = DbusSession.open(config({}, 1 << 20));
    const b = message({
      type: CALL,
      path: "/",
      member: "M",
      destination: "org.a.B",
      signature: "ay",
      body: [Buffer.alloc(8)],
    });
    new DataView(b.buffer).setUint32(4, 120 << 20, true);
    s.session.consumerSends(b.subarray(0, 100));
    expect(s.session.state).toContain("message-too-long");
  });
  test("large bodies stream through before they are whole, and refusals wait for their end", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const big = message({
      type: CALL,
      serial: 9,
      path: "/",
      interface: "org.a.B",
      member: "M",
      destination: "org.a.B",
      signature: "ay",
      body: [Buffer.alloc(500_000, 7)],
    });
    const before = s.session.upstream.bytes.length;
    s.session.consumerSends(big.subarray(0, 300_000));
    expect(s.session.upstream.bytes.length - before).toBe(300_000);
    // The bus asks something that we answer ourselves: not into the middle of the message.
    for (let i = 0; i < INCOMING_MAX + 1; i++)
      s.session.providerSends(
        message({ type: CALL, path: "/", member: "X", serial: 2000 + i, sender: ":1.44", destination: SELF }),
      );
    expect(s.session.upstream.bytes.length - before).toBe(300_000);
    s.session.consumerSends(big.subarray(300_000));
    s.pump();
    expect(s.bytesAtBus[0]!.length).toBe(500_000 + big.length - 500_000);
    expect(read(s.bytesAtBus[0]!).serial).not.toBe(9);
    expect(s.atBus[1]!.type).toBe(ERROR);
  });
  test("a large refused body is thrown away as it comes", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const big = message({
      type: CALL,
      serial: 9,
      path: "/",
      interface: "org.x.Y",
      member: "M",
      destination: "org.a.B",
      signature: "ay",
      body: [Buffer.alloc(500_000, 7)],
    });
    s.session.consumerSends(big, [], 60_000);
    s.pump();
    expect(s.answer()).toBe("AccessDenied");
    s.call({ destination: "org.a.B", interface: "org.a.B", member: "M", serial: 10 });
    expect(s.atBus).toHaveLength(1);
  });
  test("a stream that is never at a boundary goes on: each message has its own time", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const b = message({ type: CALL, flags: 1, path: "/", member: "M", interface: "org.a.B", destination: "org.a.B" });
    const shifted = Uint8Array.from(Buffer.concat([b.subarray(40), b.subarray(0, 40)]));
    s.session.consumerSends(b.subarray(0, 40));
    for (let i = 0; i < 30; i++) {
      s.session.advance(10_000);
      s.session.consumerSends(shifted);
    }
    expect(s.session.state).toBe("open");
    s.session.advance(140_000);
    expect(s.session.state).toBe("open");
    s.session.advance(20_000);
    expect(s.session.state).toContain("in time");
  });
  test("all sessions of a link together hold only so many fds", () => {
    const state = { halfOpen: 0, heldFds: 1010 };
    const s = DbusSession.open(graph(["org.a.B"]), { ...A, state });
    const b = message({ type: CALL, path: "/", member: "M", interface: "org.a.B", destination: "org.a.B" });
    const many = Array.from({ length: 15 }, (_, i) => 100 + i);
    s.session.consumerSends(b.subarray(0, 40), many);
    expect(s.session.state).toContain("more fds");
    expect(s.session.leakedFds).toEqual([]);
    expect(state).toEqual({ halfOpen: 0, heldFds: 1010 });
  });
  test("a smaller max_message holds for the next message of an open connection", () => {
    const s = DbusSession.open(config());
    const call = { destination: "org.a.B", interface: "org.a.B", member: "M", signature: "ay" };
    s.call({ ...call, serial: 9, body: [Buffer.alloc(5000)] });
    expect(s.atBus).toHaveLength(1);
    s.filter.onConfig(config({}, 4096));
    s.call({ ...call, serial: 10, body: [Buffer.alloc(5000)] });
    expect(s.session.state).toContain("message-too-long");
  });
  test("a kept message that never ends is given up in time", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const b = message({
      type: CALL,
      path: "/",
      member: "Get",
      interface: PROPERTIES,
      destination: "org.a.B",
      signature: "ss",
      body: ["org.a.B", "P"],
    });
    s.session.consumerSends(b.subarray(0, 100));
    s.session.advance(140_000);
    expect(s.session.state).toBe("open");
    s.session.advance(20_000);
    expect(s.session.state).toContain("in time");
  });
  test("every session means the same when its bytes come one by one", () => {
    const run = (split: number): string => {
      const s = DbusSession.open(graph(["org.a.B"]), A);
      s.send(
        {
          type: CALL,
          path: "/",
          serial: 3,
          member: "Get",
          interface: PROPERTIES,
          destination: "org.a.B",
          signature: "ss",
          body: ["org.a.B", "P"],
        },
        [],
        split,
      );
      s.send(
        {
          type: CALL,
          path: "/",
          serial: 4,
          member: "Get",
          interface: PROPERTIES,
          destination: "org.a.B",
          signature: "ss",
          body: ["org.x.Y", "P"],
        },
        [],
        split,
      );
      s.from(
        ":1.9",
        {
          type: SIGNAL,
          path: "/",
          interface: PROPERTIES,
          member: "PropertiesChanged",
          signature: "sa{sv}as",
          body: ["org.x.Y", [], []],
        },
        [],
        split,
      );
      s.from(
        ":1.9",
        {
          type: SIGNAL,
          path: "/",
          interface: PROPERTIES,
          member: "PropertiesChanged",
          signature: "sa{sv}as",
          body: ["org.a.B", [], []],
        },
        [],
        split,
      );
      return JSON.stringify([s.atBus.map((m) => m.body), s.received().map((m) => [m.type, m.body?.[0]])]);
    };
    expect(run(1)).toBe(run(0));
    expect(run(13)).toBe(run(0));
  });
});

describe("what peers may do through the bus", () => {
  const signal = { type: SIGNAL, path: "/s", interface: "org.a.B", member: "Changed" };
  test("a path longer than is kept, more fds than are taken: dropped, and the session lives", () => {
    for (const split of [0, 7, 1000]) {
      const s = DbusSession.open(config());
      s.from(":1.44", { type: CALL, path: `/${"p".repeat(100_000)}`, member: "M", serial: 5 }, [70], split);
      s.from(
        ":1.44",
        {
          type: CALL,
          path: "/",
          member: "M",
          serial: 6,
          unixFd: 17,
          signature: "h".repeat(17),
          body: Array(17).fill(0),
        },
        Array.from({ length: 17 }, (_, i) => 80 + i),
      );
      s.from(":1.44", signal);
      expect(s.session.state).toBe("open");
      expect(s.received().map((m) => m.member)).toEqual(["Changed"]);
      expect(s.atBus.map((m) => [m.type, m.destination, m.replySerial])).toEqual([[ERROR, ":1.44", 6]]);
      expect(s.session.leakedFds).toEqual([]);
    }
  });
  test("a message larger than the consumer may send passes", () => {
    const s = DbusSession.open(config({}, 100_000));
    s.from(":1.44", { ...signal, signature: "ay", body: [Buffer.alloc(200_000)] }, [], 50_000);
    expect(s.received()).toHaveLength(1);
  });
});

describe("live policy", () => {
  test("applies to the next message of an open session, owners included", () => {
    const s = DbusSession.open(graph(["org.a.B"]), A);
    const passes = (destination: string, iface: string): boolean => {
      s.atBus.length = 0;
      s.call({ destination, interface: iface, member: "M", serial: 3 });
      s.received();
      return s.atBus.length === 1;
    };
    expect(passes("org.a.B", "org.a.B")).toBe(true);
    s.filter.onConfig(graph(["org.x.Hidden"]));
    s.pump();
    expect(passes("org.a.B", "org.a.B")).toBe(false);
    expect(passes(":1.9", "org.x.Hidden")).toBe(false);
    expect(passes("org.x.Hidden", "org.x.Hidden")).toBe(true);
    expect(passes(":1.8", "org.x.Hidden")).toBe(true);
    s.filter.onConfig(config());
    s.pump();
    expect(passes("org.c.D", "org.c.D")).toBe(true);
    expect(s.rules).toEqual([]);
  });
  test("another identity or bus ends the session", () => {
    const s = DbusSession.open(config());
    s.filter.onConfig({ ...config(), identity: { uid: 7, gid: 7 } });
    expect(s.session.state).toContain("identity");
  });
});

describe("learn mode", () => {
  test("allows what policy would refuse and reports each thing once, by its well-known name", () => {
    const s = DbusSession.open(config({ learn: true, lists: lists() }), A);
    for (let i = 0; i < 2; i++) {
      s.call({ destination: ":1.9", interface: "org.a.B", member: "M", path: "/p", serial: 3 });
      s.call({
        destination: "org.x.Hidden",
        interface: PROPERTIES,
        member: "Get",
        signature: "ss",
        body: ["org.x.I", "P"],
        serial: 3,
      });
    }
    s.from(":1.9", { type: SIGNAL, path: "/s", interface: "org.a.B", member: "Changed" });
    s.call({ ...toBus, member: "RequestName", signature: "su", body: ["org.my.Name", 0], serial: 3 });
    expect(s.session.reported.map((r) => Object.values(r.record).join(" "))).toEqual([
      "call org.a.B org.a.B M /p",
      "call org.x.Hidden org.x.I Get /",
      "broadcast org.a.B org.a.B Changed /s",
      "own org.my.Name   ",
    ]);
    s.received();
    expect(ask(s, "AddMatch", "s", ["eavesdrop=true"])).toBe("AccessDenied");
  });
});
