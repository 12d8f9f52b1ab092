/**
 * How the sessions of one link reach the compositor, over the compositor's lives: asks it
 * once whether it takes identities, attaches the link's, notices when it is gone, and asks
 * the next one. Control thread.
 *
 * Fails closed: until a compositor has answered, and when it would not take the identity
 * although it offers to, no session is dialled.
 */
import type { ProviderEndpoint } from "../../inject/provider.ts";
import { pvx } from "../../sys/shim.ts";
import type { Verdict } from "../mediator.ts";
import { type Attachment, attachContext, detach, stillAttached } from "./context-client.ts";
import type { Identity } from "./context-handshake.ts";
import type { ContextState } from "./handler.ts";

/** Between attempts while the compositor is not there: a start is noticed within a session's hold (5 s). */
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 2000;
/** After a refusal, which only another compositor or another configuration of it can change. */
const REFUSED_RETRY_MS = 10_000;

export interface LinkContextOptions {
  readonly provider: ProviderEndpoint;
  readonly identity: Identity;
  /** The daemon's own; see `attachContext`. */
  readonly directory: string;
  /** The data plane must learn of a new state. */
  readonly apply: () => void;
}

type State =
  | { readonly kind: "pending" | "refused"; readonly reason: string }
  | { readonly kind: "absent" }
  | { readonly kind: "attached"; readonly attachment: Attachment };

export class LinkContext {
  readonly provider: ProviderEndpoint;
  private readonly options: LinkContextOptions;
  private state: State = {
    kind: "pending",
    reason: "the compositor has not been asked yet whether it takes identities",
  };
  /** Counts changes of what `forDataPlane` gives. */
  version = 0;
  private asking = false;
  private closed = false;
  private pause = RETRY_FIRST_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly firstAnswer = Promise.withResolvers<void>();

  constructor(options: LinkContextOptions) {
    this.options = options;
    this.provider = options.provider;
    this.ask();
  }

  /** Resolves when the compositor has answered, or could not be reached, for the first time; after `ms` at the latest. */
  async asked(ms: number): Promise<void> {
    const late = setTimeout(() => this.firstAnswer.resolve(), ms);
    await this.firstAnswer.promise;
    clearTimeout(late);
  }

  /** For one configuration of the data plane, to which the fd in it belongs from then on. */
  forDataPlane(): ContextState {
    const { state } = this;
    switch (state.kind) {
      case "pending":
      case "refused":
        return { state: state.kind, reason: `Cannot dial the compositor: ${state.reason}` };
      case "absent":
        return { state: "absent" };
      case "attached": {
        const socket = pvx.pvx_dup(state.attachment.socket);
        return socket < 0
          ? { state: "pending", reason: "Cannot dial the compositor: dup()" }
          : { state: "attached", socket };
      }
    }
  }

  /** What the link's state is as far as this is concerned. Begins anew when the compositor is gone. */
  verify(): Verdict {
    const { state } = this;
    if (state.kind === "attached" && !stillAttached(state.attachment)) this.lost();
    return this.state.kind === "pending" || this.state.kind === "refused"
      ? { state: "degraded", reason: `Cannot use the compositor: ${this.state.reason}` }
      : { state: "ok" };
  }

  /** A session that was dialled without the identity met a compositor that takes them: another one than was asked. */
  offered(): void {
    if (this.state.kind !== "absent") return;
    this.become({ kind: "pending", reason: "the compositor takes identities now" });
    this.ask();
  }

  close(): void {
    this.closed = true;
    this.firstAnswer.resolve();
    if (this.timer !== undefined) clearTimeout(this.timer);
    if (this.state.kind === "attached") detach(this.state.attachment);
    this.state = { kind: "pending", reason: "the link is gone" };
  }

  private lost(): void {
    this.become({ kind: "pending", reason: "the compositor that took the link's identity is gone" });
    this.pause = RETRY_FIRST_MS;
    this.ask();
  }

  private become(state: State): void {
    if (this.state.kind === "attached") detach(this.state.attachment);
    this.state = state;
    this.version++;
    this.options.apply();
  }

  /** One attempt at a time; it never rejects. */
  private ask(): void {
    if (this.asking || this.closed) return;
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.timer = undefined;
    this.asking = true;
    const { provider, identity, directory } = this.options;
    void attachContext(provider, identity, directory).then((outcome) => {
      this.asking = false;
      this.firstAnswer.resolve();
      if (this.closed) {
        if (outcome.kind === "attached") detach(outcome.attachment);
        return;
      }
      switch (outcome.kind) {
        case "attached":
        case "absent":
          this.pause = RETRY_FIRST_MS;
          this.become(outcome);
          break;
        case "unreachable":
          // Said once: the data plane need not hear each reason of the same state.
          if (this.state.kind !== "pending") this.become({ kind: "pending", reason: outcome.reason });
          else this.state = { kind: "pending", reason: outcome.reason };
          this.askIn(this.pause);
          this.pause = Math.min(2 * this.pause, RETRY_MAX_MS);
          break;
        case "failed":
          this.become({ kind: "refused", reason: outcome.reason });
          this.askIn(REFUSED_RETRY_MS);
          break;
      }
    });
  }

  private askIn(ms: number): void {
    this.timer = setTimeout(() => this.ask(), ms);
    this.timer.unref();
  }
}
