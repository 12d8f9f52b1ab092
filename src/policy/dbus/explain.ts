/** The decision on one hypothetical message of a link, with the rule that made it: for `explain`. Pure. */
import { decideCall, decideOutgoingSignal, mayHear, refuseName, View } from "./decide.ts";
import { BUS_NAME, DRIVER_METHODS } from "./driver.ts";
import { Owners } from "./owners.ts";
import { Rights, type RightsConfig, SEE } from "./rights.ts";

export interface Question {
  readonly kind: "call" | "signal" | "receive" | "own" | "see";
  /** A well-known name; "" for a broadcast signal. */
  readonly name: string;
  readonly interface?: string;
  readonly member?: string;
  readonly path?: string;
  /** The interface that a Properties call or signal is about. */
  readonly argument?: string;
}
export interface Answer {
  readonly allowed: boolean;
  /** The D-Bus error that the consumer would get, without its prefix. */
  readonly error: string | undefined;
  readonly rule: string;
}

export function explain(config: RightsConfig, question: Question): Answer {
  const rights = new Rights(config);
  const view = new View(rights, new Owners());
  const { kind, name, interface: iface = "", member = "", path = "/", argument } = question;
  const yes = (rule: string): Answer => ({ allowed: true, error: undefined, rule });
  const no = (error: string | undefined, rule: string): Answer => ({ allowed: false, error, rule });
  switch (kind) {
    case "own":
      return rights.mayOwn(name) ? yes(rights.why(name)) : no("AccessDenied", `may not own: ${rights.why(name)}`);
    case "see":
      return rights.level(name) >= SEE
        ? yes(rights.why(name))
        : no(refuseName(view, name, true).error, rights.why(name));
    case "receive":
      return mayHear(view, name, iface, member, path, argument, false)
        ? yes(rights.why(name))
        : no(undefined, rights.why(name));
    case "signal": {
      const refusal = decideOutgoingSignal(view, name, iface, member, path, argument);
      return refusal === undefined ? yes("signal allowed") : no(undefined, refusal.rule);
    }
    case "call": {
      if (name === BUS_NAME) {
        const listed = DRIVER_METHODS.get(member);
        const fits = listed !== undefined && (iface === "" || iface === listed.interface);
        return fits ? yes(`bus driver: ${listed.rule}`) : no("AccessDenied", "bus driver: method not listed");
      }
      const refusal = decideCall(view, name, iface, member, path, argument, false);
      return refusal === undefined ? yes(rights.why(name)) : no(refusal.error, refusal.rule);
    }
  }
}
