import { describe, expect, test } from "bun:test";
import { matches, parseMatchRule } from "../../../src/protocol/dbus/match-rule.ts";

const keys = (text: string): Record<string, string> | string => {
  const parsed = parseMatchRule(text);
  return parsed.ok ? Object.fromEntries(parsed.rule.keys) : parsed.error;
};

describe("rules are read as the daemon reads them", () => {
  const rules: [text: string, read: Record<string, string> | string][] = [
    ["", {}],
    ["type='signal'", { type: "signal" }],
    [" type = 'signal' ", "MatchRuleInvalid"],
    ["type='signal', sender='org.a.B' , member='X'", "MatchRuleInvalid"],
    ["type='signal', sender='org.a.B', member='X'", { type: "signal", sender: "org.a.B", member: "X" }],
    ["type=signal,path=/a", { type: "signal", path: "/a" }],
    ["arg0='it'\\''s'", { arg0: "it's" }],
    ["arg0='a,b=c'", { arg0: "a,b=c" }],
    ["arg0=a\\b", { arg0: "a\\b" }],
    ["arg0=\\\\'x'", { arg0: "\\\\x" }],
    ["arg0='say ''eavesdrop=true'''", { arg0: "say eavesdrop=true" }],
    ["arg0='eavesdrop=true'", { arg0: "eavesdrop=true" }],
    ["eavesdrop=true", "AccessDenied"],
    ["eavesdrop='false'", "AccessDenied"],
    ["type='signal',eavesdrop='true'", "AccessDenied"],
    ["type='signal', eavesdrop ='true'", "AccessDenied"],
    ["arg0='x\\',eavesdrop='true'", "AccessDenied"],
    ["arg0='", "MatchRuleInvalid"],
    ["type='signal',,eavesdrop='true'", "MatchRuleInvalid"],
    ["='x',eavesdrop='true'", "MatchRuleInvalid"],
    ["type='signal', ='x',eavesdrop='true'", "MatchRuleInvalid"],
    ["type", "MatchRuleInvalid"],
    ["type='signal',type='signal'", "MatchRuleInvalid"],
    ["type='gossip'", "MatchRuleInvalid"],
    ["sender='not a name'", "MatchRuleInvalid"],
    ["path='/a/'", "MatchRuleInvalid"],
    ["path='/a',path_namespace='/b'", "MatchRuleInvalid"],
    ["arg63='x'", { arg63: "x" }],
    ["arg64='x'", "MatchRuleInvalid"],
    ["arg01='x'", "MatchRuleInvalid"],
    ["arg0namespace='org.a'", { arg0namespace: "org.a" }],
    ["arg0namespace='org'", { arg0namespace: "org" }],
    ["arg1namespace='org.a'", "MatchRuleInvalid"],
    ["arg3path='/a/'", { arg3path: "/a/" }],
    [`arg0='${"x".repeat(1100)}'`, "LimitsExceeded"],
    [Array.from({ length: 17 }, (_, i) => `arg${i}='x'`).join(","), "MatchRuleInvalid"],
  ];
  for (const [text, read] of rules)
    test(JSON.stringify(text.slice(0, 60)), () => expect(keys(text)).toEqual(read as never));
});

test("rules that mean the same have the same id", () => {
  const a = parseMatchRule("type='signal',member='X'");
  const b = parseMatchRule("member=X,type='signal'");
  expect(a.ok && b.ok && a.rule.id === b.rule.id).toBe(true);
});

describe("rules against NameOwnerChanged", () => {
  const signal = {
    sender: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "NameOwnerChanged",
    args: ["org.a.B", "", ":1.7"],
  };
  const holds = (text: string): boolean => {
    const parsed = parseMatchRule(text);
    return parsed.ok && matches(parsed.rule, signal);
  };
  const rules: [text: string, holds: boolean][] = [
    ["", true],
    ["type='signal'", true],
    ["type='method_call'", false],
    ["sender='org.freedesktop.DBus',member='NameOwnerChanged'", true],
    ["member='NameAcquired'", false],
    ["arg0='org.a.B'", true],
    ["arg0='org.a'", false],
    ["arg0namespace='org.a'", true],
    ["arg0namespace='org.a.B'", true],
    ["arg0namespace='org.'", false],
    ["arg0namespace='org.a.B.C'", false],
    ["arg2=':1.7'", true],
    ["arg3='x'", false],
    ["path_namespace='/org'", true],
    ["path_namespace='/'", true],
    ["path_namespace='/or'", false],
    ["path='/org/freedesktop/DBus'", true],
    ["destination=':1.5'", false],
  ];
  for (const [text, result] of rules)
    test(text === "" ? "the empty rule" : text, () => expect(holds(text)).toBe(result));
});
