/**
 * The privileged conversation that attaches an identity to a link: security-context-v1 as
 * flatpak uses it, as a state machine without I/O. Ids are given in order and never reused.
 *
 * Ask for the globals; if wp_security_context_manager_v1 is among them, bind it, hand over
 * a listening socket with the identity, and wait until the compositor has taken all of it.
 * Opcodes: security-context-v1.xml.
 */
import {
  DISPLAY_EVENT_ERROR,
  DISPLAY_ID,
  DISPLAY_REQUEST_GET_REGISTRY,
  DISPLAY_REQUEST_SYNC,
  encodeMessage,
  HEADER_BYTES,
  opcodeAt,
  parseError,
  parseGlobal,
  printable,
  REGISTRY_EVENT_GLOBAL,
  REGISTRY_REQUEST_BIND,
  readU32,
  sizeAt,
} from "../../protocol/wayland/wire.ts";

export const SECURITY_CONTEXT_MANAGER = "wp_security_context_manager_v1";
/** Reverse DNS, as the protocol asks for; names this daemon whoever builds it. */
export const SANDBOX_ENGINE = "org.pantavisor";

const REGISTRY = 2;
const FIRST_SYNC = 3;
const MANAGER = 4;
const CONTEXT = 5;
const LAST_SYNC = 6;

const MANAGER_DESTROY = 0;
const MANAGER_CREATE_LISTENER = 1;
const CONTEXT_DESTROY = 0;
const CONTEXT_SET_SANDBOX_ENGINE = 1;
const CONTEXT_SET_APP_ID = 2;
const CONTEXT_SET_INSTANCE_ID = 3;
const CONTEXT_COMMIT = 4;

/** Whole messages of libwayland before 1.23 fit in 4,096 bytes; the longest here is a header, a length and one id. */
export const MAX_ID_BYTES = 4096 - HEADER_BYTES - 8;
/** All that a compositor may say meanwhile. Sixty globals are about 3 KiB. */
export const MAX_HEARD_BYTES = 256 * 1024;
const MAX_TEXT = 256;

export interface Identity {
  /** The consumer. */
  readonly appId: string;
  /** The link. */
  readonly instanceId: string;
}

export type HandshakeStep =
  | { readonly kind: "wait" }
  /** Send this, with the listening socket and the closing pipe's read end when `withFds`. */
  | { readonly kind: "send"; readonly bytes: Uint8Array; readonly withFds: boolean }
  /** The compositor knows no security contexts. */
  | { readonly kind: "absent" }
  /** It has taken the listening socket with the identity. */
  | { readonly kind: "attached" }
  | { readonly kind: "failed"; readonly reason: string };

/** Bytes of UTF-8, one character each, as `encodeMessage` takes them. */
const utf8 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

export class ContextHandshake {
  private readonly appId: string;
  private readonly instanceId: string;
  private rest: Uint8Array = new Uint8Array(0);
  private heard = 0;
  private manager: number | undefined;
  private phase: "globals" | "commit" | "over" = "globals";

  constructor(identity: Identity) {
    this.appId = utf8(identity.appId);
    this.instanceId = utf8(identity.instanceId);
  }

  /** The first step. */
  begin(): HandshakeStep {
    if (Math.max(this.appId.length, this.instanceId.length) > MAX_ID_BYTES)
      return this.fail(`the consumer's or the link's name is longer than ${MAX_ID_BYTES} bytes`);
    const bytes = Buffer.concat([
      encodeMessage(DISPLAY_ID, DISPLAY_REQUEST_GET_REGISTRY, REGISTRY),
      encodeMessage(DISPLAY_ID, DISPLAY_REQUEST_SYNC, FIRST_SYNC),
    ]);
    return { kind: "send", bytes, withFds: false };
  }

  /** What the compositor says. One step to take; `wait` for more of it. */
  hear(bytes: Uint8Array): HandshakeStep {
    this.heard += bytes.length;
    if (this.heard > MAX_HEARD_BYTES) return this.fail(`the compositor said more than ${MAX_HEARD_BYTES} bytes`);
    const buffer = this.rest.length === 0 ? bytes : Buffer.concat([this.rest, bytes]);
    let at = 0;
    while (this.phase !== "over" && buffer.length - at >= HEADER_BYTES) {
      const size = sizeAt(buffer, at);
      if (size === 0) return this.fail("the compositor sent a malformed message");
      if (size > buffer.length - at) break;
      const step = this.event(buffer, at, size);
      at += size;
      if (step.kind === "wait") continue;
      this.rest = buffer.slice(at);
      return step;
    }
    this.rest = buffer.slice(at);
    return { kind: "wait" };
  }

  private event(bytes: Uint8Array, start: number, size: number): HandshakeStep {
    const id = readU32(bytes, start);
    const opcode = opcodeAt(bytes, start);
    if (id === DISPLAY_ID && opcode === DISPLAY_EVENT_ERROR) {
      const error = parseError(bytes, start, size);
      const text =
        error === undefined ? "a malformed error" : `${printable(error.text, MAX_TEXT)} (code ${error.code})`;
      return this.fail(`the compositor refused: ${text}`);
    }
    if (id === REGISTRY && opcode === REGISTRY_EVENT_GLOBAL) {
      const global = parseGlobal(bytes, start, size);
      if (global?.interface === SECURITY_CONTEXT_MANAGER && global.version >= 1) this.manager ??= global.name;
      return { kind: "wait" };
    }
    if (id === FIRST_SYNC && this.phase === "globals") return this.globalsKnown();
    if (id === LAST_SYNC && this.phase === "commit") {
      this.phase = "over";
      return { kind: "attached" };
    }
    return { kind: "wait" };
  }

  private globalsKnown(): HandshakeStep {
    if (this.manager === undefined) {
      this.phase = "over";
      return { kind: "absent" };
    }
    this.phase = "commit";
    const bytes = Buffer.concat([
      encodeMessage(REGISTRY, REGISTRY_REQUEST_BIND, this.manager, SECURITY_CONTEXT_MANAGER, 1, MANAGER),
      encodeMessage(MANAGER, MANAGER_CREATE_LISTENER, CONTEXT),
      encodeMessage(CONTEXT, CONTEXT_SET_SANDBOX_ENGINE, SANDBOX_ENGINE),
      encodeMessage(CONTEXT, CONTEXT_SET_APP_ID, this.appId),
      encodeMessage(CONTEXT, CONTEXT_SET_INSTANCE_ID, this.instanceId),
      encodeMessage(CONTEXT, CONTEXT_COMMIT),
      encodeMessage(CONTEXT, CONTEXT_DESTROY),
      encodeMessage(MANAGER, MANAGER_DESTROY),
      encodeMessage(DISPLAY_ID, DISPLAY_REQUEST_SYNC, LAST_SYNC),
    ]);
    return { kind: "send", bytes, withFds: true };
  }

  private fail(reason: string): HandshakeStep {
    this.phase = "over";
    return { kind: "failed", reason };
  }
}
