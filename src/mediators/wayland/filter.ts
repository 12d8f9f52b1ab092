/**
 * The filter of one Wayland connection.
 *
 * Contract
 * - The consumer sees the globals of its role's table, with at most the table's versions.
 *   A hidden global's `global` and `global_remove` events are withheld.
 * - A bind passes only for a name that this connection was shown, with its interface and
 *   a version from 1 to the one shown.
 * - Refusals are libwayland's: wl_display.error with its codes and words, then the end.
 * - Every other message passes by its object id, as it came, in order, with its fds.
 * - In both directions only whole messages are sent on, so an error of ours can always follow.
 *
 * What is not looked at: arguments of other objects. A client that breaks their rules gets
 * the compositor's own error.
 */
import { GlobalRules, judgeBind, type WaylandTable } from "../../policy/wayland.ts";
import {
  DISPLAY_EVENT_DELETE_ID,
  DISPLAY_ID,
  DISPLAY_REQUEST_GET_REGISTRY,
  DISPLAY_REQUEST_SYNC,
  ERROR_IMPLEMENTATION,
  ERROR_INVALID_METHOD,
  ERROR_INVALID_OBJECT,
  ERROR_NO_MEMORY,
  encodeError,
  encodeGlobal,
  encodeGlobalRemove,
  FIRST_SERVER_ID,
  mayBeBind,
  mayBeGlobal,
  parseBind,
  parseGlobal,
  printable,
  REGISTRY_EVENT_GLOBAL,
  REGISTRY_EVENT_GLOBAL_REMOVE,
  REGISTRY_REQUEST_BIND,
  readU32,
} from "../../protocol/wayland/wire.ts";
import type { Filter, Session } from "../../relay/filter.ts";
import { SECURITY_CONTEXT_MANAGER } from "./context-handshake.ts";
import { Flow, type HeldFds, type Judge, type Refusal, type Verdict } from "./flow.ts";
import { MAX_REGISTRIES, RegistryView } from "./registry-view.ts";
import { BOUND_REPORT, CONTEXT_OFFERED_REPORT, HIDE_ACTION } from "./reports.ts";

/** sync, get_registry, delete_id, global_remove: a header and one u32. */
const ONE_U32 = 12;
/** After the first registry, or a change: when hidden globals and bound interfaces are told to the operator. */
export const SETTLE_MS = 500;
/** Events that tell one connection of a new policy: a consumer with thousands of registries must not hold up the others. */
export const MAX_TOLD = 16_384;
/** Of a peer's text in a record. libwayland's own limit for an error. */
const MAX_RECORD_TEXT = 127;
/** Of the list of hidden globals in its one record: about sixty names. */
const MAX_LIST_TEXT = 2048;

/** An error on wl_display. `text` to the consumer, `reason` to the log. */
function refusal(code: number, text: string, reason = text): Refusal {
  return { objectId: DISPLAY_ID, code, text, reason };
}
const broken = (what: string): Refusal => refusal(ERROR_IMPLEMENTATION, `the compositor sent ${what}`);
/** The words of wl_client_connection_data in wayland-server.c. */
const invalidMethod = (name: string, id: number, opcode: number): Refusal =>
  refusal(ERROR_INVALID_METHOD, `invalid method ${opcode}, object ${name}#${id}`);
const invalidArguments = (name: string, id: number, method: string): Refusal =>
  refusal(ERROR_INVALID_METHOD, `invalid arguments for ${name}#${id}.${method}`);

/** What the filter needs of its link, beside the session. */
export interface FilterLink {
  readonly heldFds: HeldFds;
  /** Whether a session that is dialled now carries the consumer's identity (security-context-v1). */
  readonly identityAttached: boolean;
}

export class WaylandFilter implements Filter {
  private readonly session: Session;
  private readonly link: FilterLink;
  private readonly view: RegistryView;
  private readonly requests: Flow;
  private readonly events: Flow;
  private ended = false;
  private identified = false;
  private hiddenTold = false;
  private boundChanged = false;
  private deadlineSet = false;

  constructor(session: Session, table: WaylandTable, link: FilterLink) {
    this.session = session;
    this.link = link;
    this.view = new RegistryView(new GlobalRules(table));
    this.requests = new Flow(session.upstream, this.requestJudge(), link.heldFds);
    this.events = new Flow(session.downstream, this.eventJudge(), link.heldFds);
  }

  fromConsumer(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    if (this.ended) this.session.closeFds(fds);
    else this.requests.pump(buffer, length, fds);
  }
  fromProvider(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    if (this.ended) this.session.closeFds(fds);
    else this.events.pump(buffer, length, fds);
  }

  onUpstreamConnected(): void {
    this.identified = this.link.identityAttached;
  }
  /** Wayland has no half-closed connection: without a compositor the client has no use for its end. */
  providerEnded(): void {
    this.end("the compositor closed the connection");
  }
  onUpstreamFailed(reason: string): void {
    // The reason names paths of the provider: for the operator, not for the consumer.
    this.refuse(refusal(ERROR_IMPLEMENTATION, "the compositor of this link can't be reached", reason));
  }
  onDeadline(): void {
    this.deadlineSet = false;
    this.tellOperator();
  }
  onClosed(): void {
    this.ended = true;
    this.tellOperator();
    const { session } = this;
    session.closeFds(this.requests.surrender());
    session.closeFds(this.events.surrender());
  }

  onConfig(config: unknown): void {
    if (this.ended) return;
    const { session, view } = this;
    const change = view.adopt(new GlobalRules((config as { table: WaylandTable }).table));
    if (change.kind === "revoked") {
      session.deny({ action: "wayland.revoke", rule: view.rule, asked: { interface: change.interface } });
      this.refuse(refusal(ERROR_IMPLEMENTATION, `policy no longer allows ${change.interface}`));
      return;
    }
    const registries = view.liveRegistries();
    if (registries.length * (change.removals.length + change.additions.length) > MAX_TOLD) {
      this.refuse(
        refusal(ERROR_NO_MEMORY, "no memory", `a change of policy to be told on ${registries.length} registries`),
      );
      return;
    }
    for (const registry of registries) {
      for (const name of change.removals) session.downstream.write(encodeGlobalRemove(registry, name));
      for (const global of change.additions) session.downstream.write(encodeGlobal(registry, global));
    }
  }

  // ---- requests of the consumer ----

  private requestJudge(): Judge {
    return {
      concerns: (id) => id === DISPLAY_ID || this.view.has(id),
      judge: (bytes, start, size, id, opcode) =>
        id === DISPLAY_ID
          ? this.displayRequest(bytes, start, size, opcode)
          : this.registryRequest(bytes, start, size, id, opcode),
      malformed: (id, opcode, size) =>
        refusal(ERROR_INVALID_METHOD, `invalid arguments for object ${id}, opcode ${opcode}: size ${size}`),
      tooManyFds: () => refusal(ERROR_NO_MEMORY, "too many fds without a message"),
      refuse: (refused) => this.refuse(refused),
    };
  }

  private displayRequest(bytes: Uint8Array, start: number, size: number, opcode: number): Verdict {
    if (opcode === DISPLAY_REQUEST_SYNC && size === ONE_U32) return "pass";
    if (opcode === DISPLAY_REQUEST_SYNC) return invalidArguments("wl_display", DISPLAY_ID, "sync");
    if (opcode !== DISPLAY_REQUEST_GET_REGISTRY) return invalidMethod("wl_display", DISPLAY_ID, opcode);
    const id = size === ONE_U32 ? readU32(bytes, start + 8) : 0;
    if (id <= DISPLAY_ID || id >= FIRST_SERVER_ID) return invalidArguments("wl_display", DISPLAY_ID, "get_registry");
    if (!this.view.addRegistry(id))
      return refusal(ERROR_NO_MEMORY, "no memory", `more than ${MAX_REGISTRIES} registries`);
    this.settleSoon();
    return "pass";
  }

  private registryRequest(bytes: Uint8Array, start: number, size: number, id: number, opcode: number): Verdict {
    if (!this.view.isLive(id) && (opcode !== REGISTRY_REQUEST_BIND || !mayBeBind(bytes, start, size))) return "pass";
    if (opcode !== REGISTRY_REQUEST_BIND) return invalidMethod("wl_registry", id, opcode);
    const bind = parseBind(bytes, start, size);
    if (bind === undefined || bind.newId === 0 || bind.newId >= FIRST_SERVER_ID)
      return invalidArguments("wl_registry", id, "bind");
    const verdict = judgeBind(this.view.shown(bind.name), bind);
    if (!verdict.ok) {
      const asked = {
        global: bind.name,
        interface: printable(bind.interface, MAX_RECORD_TEXT),
        version: bind.version,
        hidden: this.view.isHidden(bind.name),
      };
      this.session.deny({ action: "wayland.bind", rule: this.view.rule, asked });
      return { ...refusal(ERROR_INVALID_OBJECT, verdict.text, `refused bind: ${verdict.text}`), objectId: id };
    }
    if (this.view.bound(bind.interface, bind.version)) {
      this.boundChanged = true;
      this.settleSoon();
    }
    return "pass";
  }

  // ---- events of the compositor ----

  private eventJudge(): Judge {
    return {
      concerns: (id) => id === DISPLAY_ID || this.view.has(id),
      judge: (bytes, start, size, id, opcode) => {
        if (id !== DISPLAY_ID) return this.registryEvent(bytes, start, size, id, opcode);
        if (opcode === DISPLAY_EVENT_DELETE_ID && size === ONE_U32) this.view.idDeleted(readU32(bytes, start + 8));
        return "pass";
      },
      malformed: (id, opcode, size) => broken(`a message of size ${size} (object ${id}, opcode ${opcode})`),
      tooManyFds: () => broken("too many fds without a message"),
      refuse: (refused) => this.refuse(refused),
    };
  }

  private registryEvent(bytes: Uint8Array, start: number, size: number, id: number, opcode: number): Verdict {
    const live = this.view.isLive(id);
    if (opcode === REGISTRY_EVENT_GLOBAL_REMOVE && size === ONE_U32) {
      const name = readU32(bytes, start + 8);
      const shown = this.view.shown(name) !== undefined;
      const hide = live ? !shown : this.view.isHidden(name);
      this.view.removed(name);
      return hide ? "drop" : "pass";
    }
    let global = opcode === REGISTRY_EVENT_GLOBAL ? parseGlobal(bytes, start, size) : undefined;
    if (global === undefined) {
      if (live) return broken(`a malformed event ${opcode} on wl_registry#${id}`);
      if (opcode !== REGISTRY_EVENT_GLOBAL || !mayBeGlobal(bytes, start, size)) return "pass";
      // Version 0 is never shown.
      global = { name: readU32(bytes, start + 8), interface: "(malformed)", version: 0 };
    }
    if (global.interface === SECURITY_CONTEXT_MANAGER && !this.identified) {
      this.session.report(CONTEXT_OFFERED_REPORT, {});
      return refusal(
        ERROR_IMPLEMENTATION,
        "the identity of this connection is not attached yet",
        "the compositor takes security contexts now: the session was dialled without one",
      );
    }
    const announced = this.view.announced(global);
    if (announced.kind === "overflow") return broken("too many globals");
    if (announced.kind === "hidden") return "drop";
    return announced.global.version === global.version ? "pass" : { replace: encodeGlobal(id, announced.global) };
  }

  // ---- answers ----

  private refuse({ objectId, code, text, reason }: Refusal): void {
    if (this.ended) return;
    this.session.downstream.write(encodeError(objectId, code, text));
    this.end(printable(reason, MAX_LIST_TEXT));
  }

  private end(reason: string): void {
    this.ended = true;
    this.session.finish(reason);
  }

  // ---- for the operator ----

  private settleSoon(): void {
    if (this.deadlineSet) return;
    this.deadlineSet = true;
    this.session.setDeadline(this.session.now() + SETTLE_MS);
  }

  /** Hidden globals once a session; bound interfaces when there are more of them. */
  private tellOperator(): void {
    const { session, view } = this;
    if (!this.hiddenTold) {
      const hidden = view.hiddenInterfaces();
      if (hidden.length > 0) {
        this.hiddenTold = true;
        const globals = printable(hidden.join(", "), MAX_LIST_TEXT);
        session.deny({ action: HIDE_ACTION, rule: view.rule, asked: { globals, count: hidden.length } });
      }
    }
    if (!this.boundChanged) return;
    this.boundChanged = false;
    session.report(BOUND_REPORT, { interfaces: view.boundInterfaces() });
  }
}
