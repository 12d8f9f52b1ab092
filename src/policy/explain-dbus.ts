/** The D-Bus half of `explain.ts`: each kind of question put to the functions that judge messages. */
import type { Link } from "../graph/link.ts";
import {
  decideCall,
  decideDriver,
  decideDriverName,
  decideOutgoingSignal,
  mayHear,
  type Refusal,
  View,
} from "./dbus/decide.ts";
import { BUS_NAME, DRIVER_METHODS } from "./dbus/driver.ts";
import { Owners } from "./dbus/owners.ts";
import { HIDDEN, Rights, SEE, TALK } from "./dbus/rights.ts";
import { rightsOf } from "./dbus.ts";
import type { Explanation, NotARequest } from "./explain.ts";
import { roleOf } from "./role.ts";
import type { ServicePolicy } from "./schema.ts";

const EXPECTED: NotARequest = {
  expected: [
    "call NAME INTERFACE.MEMBER [PATH [PROPERTIES-INTERFACE]]",
    "signal INTERFACE.MEMBER [PATH]",
    "hear NAME INTERFACE.MEMBER [PATH]",
    "own NAME",
    "see NAME",
  ].join(", or "),
};
const ROOT_PATH = "/";

export function explainDbus(
  link: Link,
  policy: ServicePolicy | undefined,
  words: readonly string[],
): Explanation | NotARequest {
  const decision = policy === undefined ? undefined : roleOf(policy, link, "dbus");
  if (decision?.ok === false) return { allowed: false, rule: decision.rule, detail: decision.reason };
  const rights = rightsOf(link, decision?.role);
  if (!rights.ok) return { allowed: false, rule: "interface", detail: rights.reason };
  const view = new View(new Rights(rights.rights), new Owners());
  const [verb, ...rest] = words;
  switch (verb) {
    case "call":
      return explainCall(view, rest);
    case "signal":
      return explainSignal(view, rest);
    case "hear":
      return explainHear(view, rest);
    case "own":
    case "see":
      return rest.length === 1 ? (verb === "own" ? explainOwn(view, rest[0]!) : explainSee(view, rest[0]!)) : EXPECTED;
    default:
      return EXPECTED;
  }
}

/** `interface.member` -> its two parts. */
function memberOf(text: string | undefined): { iface: string; member: string } | undefined {
  const dot = text?.lastIndexOf(".") ?? -1;
  if (text === undefined || dot <= 0 || dot === text.length - 1) return undefined;
  return { iface: text.slice(0, dot), member: text.slice(dot + 1) };
}

/** What is allowed, and by what: the name's rule, or that there is no filter at all. */
function verdict(view: View, refused: Refusal | undefined, name: string, done: string): Explanation {
  if (refused !== undefined) return refusedBy(refused);
  if (!view.rights.filtered)
    return { allowed: true, rule: "no filter", detail: `${done}; the bus's own policy decides, by the role's uid` };
  return { allowed: true, rule: name === "" ? "interface" : view.rights.why(name), detail: done };
}

function refusedBy({ error, rule }: Refusal): Explanation {
  return { allowed: false, rule, detail: `Answered with org.freedesktop.DBus.Error.${error}` };
}

function explainCall(
  view: View,
  [name, what, path = ROOT_PATH, argument, ...more]: readonly string[],
): Explanation | NotARequest {
  const called = memberOf(what);
  if (name === undefined || called === undefined || more.length > 0) return EXPECTED;
  const { iface, member } = called;
  if (name === BUS_NAME) return explainDriver(view, iface, member, argument);
  return verdict(view, decideCall(view, name, iface, member, path, argument, false), name, "Forwarded");
}

/** A method of the bus itself, taken to have its right arguments. Those about a name need it to be judged to the end. */
function explainDriver(view: View, iface: string, member: string, name: string | undefined): Explanation {
  const signature = DRIVER_METHODS.get(member)?.signature ?? "";
  if (member === "Hello" && iface === BUS_NAME)
    return { allowed: true, rule: "bus driver: hello", detail: "Forwarded once, as the first message" };
  const listed = decideDriver(view, iface, member, signature);
  if (!listed.ok) return refusedBy(listed.refusal);
  const refused = name === undefined ? undefined : decideDriverName(view, listed.method, name);
  if (refused !== undefined) return refusedBy(refused);
  return {
    allowed: true,
    rule: `bus driver: ${listed.method.rule}`,
    detail: "Answered by the bus, without what is hidden",
  };
}

function explainSignal(view: View, [what, path = ROOT_PATH, ...more]: readonly string[]): Explanation | NotARequest {
  const sent = memberOf(what);
  if (sent === undefined || more.length > 0) return EXPECTED;
  const refused = decideOutgoingSignal(view, "", sent.iface, sent.member, path, undefined);
  return verdict(view, refused, "", "Broadcast");
}

function explainHear(
  view: View,
  [name, what, path = ROOT_PATH, ...more]: readonly string[],
): Explanation | NotARequest {
  const heard = memberOf(what);
  if (name === undefined || heard === undefined || more.length > 0) return EXPECTED;
  if (mayHear(view, name, heard.iface, heard.member, path, undefined, false))
    return verdict(view, undefined, name, "Let in");
  return { allowed: false, rule: view.rights.why(name), detail: "Dropped" };
}

function explainOwn(view: View, name: string): Explanation {
  if (view.rights.mayOwn(name)) return verdict(view, undefined, name, "RequestName is forwarded");
  return {
    allowed: false,
    rule: view.rights.why(name),
    detail: "RequestName is answered with org.freedesktop.DBus.Error.AccessDenied",
  };
}

function explainSee(view: View, name: string): Explanation {
  const level = view.level(name);
  if (level === HIDDEN)
    return { allowed: false, rule: view.rights.why(name), detail: "The name does not exist for this consumer" };
  const what =
    level === SEE
      ? "The name is visible and can't be called"
      : level === TALK
        ? "The name may be called"
        : "The name may be owned";
  return verdict(view, undefined, name, what);
}
