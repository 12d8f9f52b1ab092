/** What the control side sends over for a REST link: plain data. */
import type { ProviderEndpoint } from "../../inject/provider.ts";
import type { RestAccess } from "../../policy/rest.ts";

/** Milliseconds. */
export interface RestTimeouts {
  /** From a head's first byte to its last. */
  readonly head: number;
  /** Between two requests. */
  readonly idle: number;
  /** From the last byte of either side to the first of the answer. */
  readonly answer: number;
  /** Between two pieces of an answer's body. */
  readonly body: number;
}

export const DEFAULT_TIMEOUTS: RestTimeouts = {
  // A head is one or a few packets of a local socket; who takes longer holds a place on purpose.
  head: 10_000,
  // As nginx: longer than the pauses of a client that polls once a minute.
  idle: 75_000,
  // Long polls of five minutes are usual; a provider that is silent for longer has forgotten.
  answer: 300_000,
  // Server-sent events may be silent for long, yet their connections must not add up for ever.
  body: 3_600_000,
};

export interface RestConfig {
  readonly provider: ProviderEndpoint;
  readonly access: RestAccess;
  readonly timeouts: RestTimeouts;
  /** One record a request goes to the log. */
  readonly accessLog: boolean;
}
