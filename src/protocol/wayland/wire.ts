/**
 * The Wayland wire format as far as a filter needs it: headers, and the messages of
 * wl_display and wl_registry. Everything else is bytes with an object id.
 *
 * Layout (wayland.freedesktop.org, "Wire Format"): two host-endian u32, object id and
 * `size << 16 | opcode`, then the arguments in 4-byte units. A string is a u32 length
 * that counts its NUL, the bytes, the NUL, padding; length 0 is null. fds take no bytes.
 * Both architectures of this project are little-endian, so is this file.
 *
 * Names of the constants: wayland.xml (wl_display, wl_registry).
 */

export const HEADER_BYTES = 8;
/** `size` has 16 bits and counts in whole words. */
export const MAX_MESSAGE_BYTES = 65532;

/** wl_display is object 1 from the start and for ever. */
export const DISPLAY_ID = 1;
/** Ids from here on are the compositor's to give (WL_SERVER_ID_START). */
export const FIRST_SERVER_ID = 0xff000000;

export const DISPLAY_REQUEST_SYNC = 0;
export const DISPLAY_REQUEST_GET_REGISTRY = 1;
export const DISPLAY_EVENT_ERROR = 0;
export const DISPLAY_EVENT_DELETE_ID = 1;
export const REGISTRY_REQUEST_BIND = 0;
export const REGISTRY_EVENT_GLOBAL = 0;
export const REGISTRY_EVENT_GLOBAL_REMOVE = 1;

/** wl_display.error codes. */
export const ERROR_INVALID_OBJECT = 0;
export const ERROR_INVALID_METHOD = 1;
export const ERROR_NO_MEMORY = 2;
export const ERROR_IMPLEMENTATION = 3;

/** libwayland formats its errors into 128 bytes with the NUL (wl_resource_post_error_vargs). */
const MAX_ERROR_TEXT = 127;

export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

export function opcodeAt(bytes: Uint8Array, start: number): number {
  return bytes[start + 4]! | (bytes[start + 5]! << 8);
}

/** The size that a header claims, in bytes, its own 8 included; 0 when no message can have it. */
export function sizeAt(bytes: Uint8Array, start: number): number {
  const size = bytes[start + 6]! | (bytes[start + 7]! << 8);
  return size < HEADER_BYTES || (size & 3) !== 0 ? 0 : size;
}

/**
 * Characters of a peer's text that are read: more than any name has, so that no cut one equals a name. The rest
 * would be kept with it, 64 KiB for each global that a compositor makes up.
 */
const MAX_TEXT = 256;

interface WireString {
  /** Cut at MAX_TEXT. */
  readonly text: string;
  /** Offset behind the padding. */
  readonly end: number;
}

/** A non-null string as libwayland takes it: NUL where the length says, none before it. */
function stringAt(bytes: Uint8Array, at: number, limit: number): WireString | undefined {
  if (limit - at < 4) return undefined;
  const length = readU32(bytes, at);
  const start = at + 4;
  if (length === 0 || length > limit - start) return undefined;
  const end = start + ((length + 3) & ~3);
  if (end > limit || bytes.indexOf(0, start) !== start + length - 1) return undefined;
  return { text: latin1(bytes, start, start + Math.min(length - 1, MAX_TEXT)), end };
}

/** One character a byte: nothing is lost or merged, so names compare as their bytes do. */
function latin1(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at]!);
  return text;
}

export interface Bind {
  readonly name: number;
  readonly interface: string;
  readonly version: number;
  readonly newId: number;
}

/** wl_registry.bind; undefined when `bytes[start, start + size)` is not exactly one. */
export function parseBind(bytes: Uint8Array, start: number, size: number): Bind | undefined {
  const limit = start + size;
  if (size < HEADER_BYTES + 4) return undefined;
  const string = stringAt(bytes, start + 12, limit);
  if (string === undefined || limit - string.end !== 8) return undefined;
  return {
    name: readU32(bytes, start + 8),
    interface: string.text,
    version: readU32(bytes, string.end),
    newId: readU32(bytes, string.end + 4),
  };
}

/**
 * Whether any compositor might take the message for a bind: the arguments have room, whatever they hold.
 * libwayland before 1.22 takes null and embedded NULs in strings, every version overlooks trailing bytes.
 */
export function mayBeBind(bytes: Uint8Array, start: number, size: number): boolean {
  if (size < HEADER_BYTES + 16) return false;
  const room = size - HEADER_BYTES - 16;
  return readU32(bytes, start + 12) <= room;
}

export interface Global {
  readonly name: number;
  readonly interface: string;
  readonly version: number;
}

/** wl_registry.global; undefined when it is not exactly one. */
export function parseGlobal(bytes: Uint8Array, start: number, size: number): Global | undefined {
  const limit = start + size;
  if (size < HEADER_BYTES + 4) return undefined;
  const string = stringAt(bytes, start + 12, limit);
  if (string === undefined || limit - string.end !== 4) return undefined;
  return { name: readU32(bytes, start + 8), interface: string.text, version: readU32(bytes, string.end) };
}

export interface ProtocolError {
  readonly objectId: number;
  readonly code: number;
  readonly text: string;
}

/** wl_display.error; undefined when it is not exactly one. */
export function parseError(bytes: Uint8Array, start: number, size: number): ProtocolError | undefined {
  const limit = start + size;
  if (size < HEADER_BYTES + 8) return undefined;
  const string = stringAt(bytes, start + 16, limit);
  if (string === undefined || string.end !== limit) return undefined;
  return { objectId: readU32(bytes, start + 8), code: readU32(bytes, start + 12), text: string.text };
}

/**
 * Whether the most lenient reader would see an interface in it: the string may end early, bytes may trail.
 * For objects that may or may not be registries; their events rarely hold text where a global has it.
 */
export function mayBeGlobal(bytes: Uint8Array, start: number, size: number): boolean {
  const room = size - HEADER_BYTES - 12;
  if (room < 0 || readU32(bytes, start + 12) > room) return false;
  const text = latin1(bytes, start + 16, start + 16 + readU32(bytes, start + 12));
  return /^[A-Za-z_]\w*(\0|$)/.test(text);
}

/** One message. Numbers become u32 (ids, names, versions), strings become strings (bytes as latin1), null a null string. */
export function encodeMessage(id: number, opcode: number, ...args: readonly (number | string | null)[]): Uint8Array {
  let size = HEADER_BYTES;
  for (const arg of args) size += 4 + (typeof arg === "string" ? (arg.length + 4) & ~3 : 0);
  if (size > MAX_MESSAGE_BYTES) throw new RangeError(`Cannot encode a Wayland message of ${size} bytes: at most 65532`);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id, true);
  view.setUint32(4, ((size << 16) | opcode) >>> 0, true);
  let at = HEADER_BYTES;
  for (const arg of args) {
    view.setUint32(at, typeof arg === "number" ? arg >>> 0 : arg === null ? 0 : arg.length + 1, true);
    at += 4;
    if (typeof arg !== "string") continue;
    for (let i = 0; i < arg.length; i++) bytes[at + i] = arg.charCodeAt(i);
    at += (arg.length + 4) & ~3;
  }
  return bytes;
}

/** wl_display.error, cut as libwayland cuts it; what is not printable ASCII becomes "?". */
export function encodeError(objectId: number, code: number, text: string): Uint8Array {
  return encodeMessage(DISPLAY_ID, DISPLAY_EVENT_ERROR, objectId, code, printable(text, MAX_ERROR_TEXT));
}

export function encodeGlobal(registry: number, global: Global): Uint8Array {
  return encodeMessage(registry, REGISTRY_EVENT_GLOBAL, global.name, global.interface, global.version);
}

export function encodeGlobalRemove(registry: number, name: number): Uint8Array {
  return encodeMessage(registry, REGISTRY_EVENT_GLOBAL_REMOVE, name);
}

/** Text from a peer, for logs and errors: bounded, printable ASCII only. */
export function printable(text: string, limit: number): string {
  return text.slice(0, limit).replace(/[^\x20-\x7e]/g, "?");
}
