/**
 * A Wayland filter on a `MemorySession`: shorthand for the messages of both sides, and a plain
 * reading of what came out, made independently of the filter's own codec.
 */
import { WaylandFilter } from "../../src/mediators/wayland/filter.ts";
import type { WaylandTable } from "../../src/policy/wayland.ts";
import { PROFILE_TABLES } from "../../src/policy/wayland-profiles.ts";
import { encodeMessage } from "../../src/protocol/wayland/wire.ts";
import { MemorySession } from "./memory-session.ts";

export const APP_TABLE: WaylandTable = { rule: "profile app", globals: Object.entries(PROFILE_TABLES.app) };

/** What both sides say, as bytes. */
export const client = {
  sync: (id: number) => encodeMessage(1, 0, id),
  getRegistry: (id: number) => encodeMessage(1, 1, id),
  bind: (registry: number, name: number, interface_: string, version: number, id: number) =>
    encodeMessage(registry, 0, name, interface_, version, id),
};
export const server = {
  global: (registry: number, name: number, interface_: string, version: number) =>
    encodeMessage(registry, 0, name, interface_, version),
  globalRemove: (registry: number, name: number) => encodeMessage(registry, 1, name),
  done: (callback: number) => encodeMessage(callback, 0, 77),
  deleteId: (id: number) => encodeMessage(1, 1, id),
};

export const joined = (...parts: readonly Uint8Array[]) => Uint8Array.from(Buffer.concat(parts));

export interface Message {
  readonly id: number;
  readonly opcode: number;
  readonly body: Buffer;
}

/** The messages in a stream; throws when it does not end with one. */
export function messagesIn(bytes: Uint8Array): Message[] {
  const buffer = Buffer.from(bytes);
  const messages: Message[] = [];
  for (let at = 0; at < buffer.length; ) {
    if (buffer.length - at < 8) throw new Error(`stream ends inside a header at ${at} of ${buffer.length}`);
    const size = buffer.readUInt16LE(at + 6);
    if (size < 8 || size % 4 !== 0 || at + size > buffer.length) throw new Error(`size ${size} at ${at}`);
    messages.push({
      id: buffer.readUInt32LE(at),
      opcode: buffer.readUInt16LE(at + 4),
      body: buffer.subarray(at + 8, at + size),
    });
    at += size;
  }
  return messages;
}

/** "error OBJECT CODE TEXT" of every wl_display.error in a stream. */
export function errorsIn(bytes: Uint8Array): string[] {
  return messagesIn(bytes)
    .filter((m) => m.id === 1 && m.opcode === 0)
    .map(({ body }) => {
      const text = body.toString("latin1", 12, 12 + body.readUInt32LE(8) - 1);
      return `error ${body.readUInt32LE(0)} ${body.readUInt32LE(4)} ${text}`;
    });
}

/** "name interface vN" of every event 0 of one object, read as wl_registry.global. */
export function globalsIn(bytes: Uint8Array, registry: number): string[] {
  return messagesIn(bytes)
    .filter((m) => m.id === registry && m.opcode === 0)
    .map(({ body }) => {
      const length = body.readUInt32LE(4);
      const text = body.toString("latin1", 8, 8 + length - 1);
      return `${body.readUInt32LE(0)} ${text} v${body.readUInt32LE(8 + ((length + 3) & ~3))}`;
    });
}

export class WaylandSession {
  readonly session: MemorySession;
  readonly filter: WaylandFilter;
  readonly heldFds = { count: 0 };

  constructor(table: WaylandTable = APP_TABLE, identityAttached = true) {
    this.session = new MemorySession({ type: "wayland", name: "wayland-0" });
    this.filter = new WaylandFilter(this.session, table, { heldFds: this.heldFds, identityAttached });
    this.session.filter = this.filter;
    this.filter.onUpstreamConnected();
  }

  /** The consumer sends; returns what the compositor got of it. */
  up(bytes: Uint8Array, fds: readonly number[] = [], split = 0): Uint8Array {
    const before = this.session.upstream.bytes.length;
    this.session.consumerSends(bytes, fds, split);
    return this.session.upstream.bytes.slice(before);
  }
  /** The compositor sends; returns what the consumer got of it. */
  down(bytes: Uint8Array, fds: readonly number[] = [], split = 0): Uint8Array {
    const before = this.session.downstream.bytes.length;
    this.session.providerSends(bytes, fds, split);
    return this.session.downstream.bytes.slice(before);
  }
  /** A registry with the given globals announced on it. */
  withGlobals(registry: number, ...globals: readonly (readonly [number, string, number])[]): this {
    this.up(client.getRegistry(registry));
    for (const [name, interface_, version] of globals) this.down(server.global(registry, name, interface_, version));
    return this;
  }
  get errors(): string[] {
    return errorsIn(this.session.downstream.bytes);
  }
  get open(): boolean {
    return this.session.state === "open";
  }
}
