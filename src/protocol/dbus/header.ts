/**
 * One pass over a message header in either byte order: every field located and
 * validated, nothing allocated.
 *
 * What is accepted here a dbus-daemon does not disconnect for; the reverse does
 * not hold. Stricter than the daemon: message types above 4 and (where asked)
 * header fields above 9 are refused, because a receiver may give them a meaning
 * that nobody decided on.
 * Source: D-Bus Specification, "Message Format"; the daemon's own order of checks
 * only matters for its log.
 *
 * All positions are relative to the message's first byte, so that they stay true
 * when the bytes are moved.
 */
import { validateVariant } from "./body.ts";
import { FIXED_HEADER, MAX_SIGNATURE, METHOD_CALL, SIGNAL } from "./constants.ts";
import { readU32 } from "./integers.ts";
import { validBusName, validInterface, validMember, validPath } from "./names.ts";
import { validSignature } from "./signature.ts";

const LITTLE = 108;
const BIG = 66;

/** A place in the message; `at` is 0 when the field is absent. */
export interface Span {
  at: number;
  end: number;
}

export interface HeaderLimits {
  /** Longest message in bytes, header and body. */
  readonly maxMessage: number;
  /** Longest header fields array in bytes. */
  readonly maxFields: number;
  /** Header fields above UNIX_FDS: skipped when true (what the bus sends), refused when false. */
  readonly unknownFields: boolean;
  /**
   * Messages with longer fields: thrown away as they come instead of refused. For what a bus sends,
   * which is any peer's to choose: a path may be longer than is kept, and must not end the session.
   */
  readonly skipLongFields?: boolean;
}

/** Result of a scan, used again for every message. */
export class Header {
  littleEndian = true;
  type = 0;
  flags = 0;
  serial = 0;
  /** Bytes of the header with its padding; the body begins here. */
  headerLength = 0;
  bodyLength = 0;
  readonly path: Span = { at: 0, end: 0 };
  readonly interface: Span = { at: 0, end: 0 };
  readonly member: Span = { at: 0, end: 0 };
  readonly errorName: Span = { at: 0, end: 0 };
  readonly destination: Span = { at: 0, end: 0 };
  readonly sender: Span = { at: 0, end: 0 };
  readonly signature: Span = { at: 0, end: 0 };
  replySerial = 0;
  /** Where the reply serial stands, 0 when there is none. */
  replySerialAt = 0;
  unixFds = 0;

  clear(): void {
    this.path.at = this.path.end = 0;
    this.interface.at = this.interface.end = 0;
    this.member.at = this.member.end = 0;
    this.errorName.at = this.errorName.end = 0;
    this.destination.at = this.destination.end = 0;
    this.sender.at = this.sender.end = 0;
    this.signature.at = this.signature.end = 0;
    this.replySerial = this.replySerialAt = this.unixFds = 0;
  }
}

/** Why a message is refused: stable codes for logs and tests. */
export type HeaderError =
  | "byte-order"
  | "message-type"
  | "protocol-version"
  | "serial-zero"
  | "fields-too-long"
  | "message-too-long"
  | "padding"
  | "field-code"
  | "field-type"
  | "field-twice"
  | "field-bounds"
  | "bad-path"
  | "bad-interface"
  | "bad-member"
  | "bad-error-name"
  | "bad-destination"
  | "bad-sender"
  | "bad-signature"
  | "reply-serial-zero"
  | "reserved-name"
  | "missing-field"
  | "body-without-signature";

/** Where the serial stands in every message. */
export const SERIAL_AT = 8;
/** Where the body's length stands in every message. */
export const BODY_LENGTH_AT = 4;

/**
 * The 16 fixed bytes at `at`: fills `out`'s byte order, type, flags, serial and lengths.
 * Undefined when they are sound; nothing is said of the fields yet.
 */
export function scanFixed(b: Uint8Array, at: number, limits: HeaderLimits, out: Header): HeaderError | undefined {
  const order = b[at]!;
  if (order !== LITTLE && order !== BIG) return "byte-order";
  const le = order === LITTLE;
  out.littleEndian = le;
  out.type = b[at + 1]!;
  if (out.type < METHOD_CALL || out.type > SIGNAL) return "message-type";
  out.flags = b[at + 2]!;
  if (b[at + 3] !== 1) return "protocol-version";
  out.serial = readU32(b, at + SERIAL_AT, le);
  if (out.serial === 0) return "serial-zero";
  const fields = readU32(b, at + 12, le);
  out.bodyLength = readU32(b, at + BODY_LENGTH_AT, le);
  out.headerLength = Math.ceil((FIXED_HEADER + fields) / 8) * 8;
  if (out.bodyLength + out.headerLength > limits.maxMessage) return "message-too-long";
  return fields > limits.maxFields ? "fields-too-long" : undefined;
}

// Type of each field by its code: PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS.
const TYPE_OF = Uint8Array.from("\0osssussgu", (c) => c.charCodeAt(0));
const STRING = 115;
const OBJECT_PATH = 111;
const UINT32 = 117;
const LAST_FIELD = 9;

/**
 * The fields of the header at `at`; `scanFixed` has filled `out` and all of
 * `out.headerLength` bytes are there. Undefined: the header is sound.
 */
export function scanFields(b: Uint8Array, at: number, limits: HeaderLimits, out: Header): HeaderError | undefined {
  out.clear();
  const le = out.littleEndian;
  const end = at + FIXED_HEADER + readU32(b, at + 12, le);
  let seen = 0;
  let p = at + FIXED_HEADER;
  while (p < end) {
    const aligned = at + ((p - at + 7) & ~7);
    for (; p < aligned; p++) if (p >= end || b[p] !== 0) return "padding";
    // Code, signature of one type (length, code, NUL): 4 bytes, then at least one of the value.
    if (p + 4 >= end) return "field-bounds";
    const code = b[p]!;
    if (code === 0) return "field-code";
    if (code > LAST_FIELD) {
      if (!limits.unknownFields) return "field-code";
      p = validateVariant(b, at, p + 1, end, le);
      if (p < 0) return "field-bounds";
      continue;
    }
    if (b[p + 1] !== 1 || b[p + 2] !== TYPE_OF[code] || b[p + 3] !== 0) return "field-type";
    if ((seen & (1 << code)) !== 0) return "field-twice";
    seen |= 1 << code;
    const type = TYPE_OF[code]!;
    p += 4; // Fields are aligned to 8, so the value stands at 4 modulo 8: no padding before any known type.
    if (type === UINT32) {
      if (p + 4 > end) return "field-bounds";
      const value = readU32(b, p, le);
      if (code === 5) {
        if (value === 0) return "reply-serial-zero";
        out.replySerial = value;
        out.replySerialAt = p - at;
      } else out.unixFds = value;
      p += 4;
    } else {
      let length: number;
      if (type === STRING || type === OBJECT_PATH) {
        if (p + 4 > end) return "field-bounds";
        length = readU32(b, p, le);
        p += 4;
      } else length = b[p++]!;
      if (length >= end - p || b[p + length] !== 0) return "field-bounds";
      const wrong = keepString(b, at, p, p + length, code, out);
      if (wrong !== undefined) return wrong;
      p += length + 1;
    }
  }
  const bodyAt = at + out.headerLength;
  for (; p < bodyAt; p++) if (b[p] !== 0) return "padding";
  return missing(seen, out);
}

function keepString(b: Uint8Array, at: number, from: number, to: number, code: number, out: Header) {
  let span: Span;
  switch (code) {
    case 1:
      if (!validPath(b, from, to)) return "bad-path";
      if (startsWith(b, from, to, LOCAL_PATH)) return "reserved-name";
      span = out.path;
      break;
    case 2:
      if (!validInterface(b, from, to)) return "bad-interface";
      if (startsWith(b, from, to, LOCAL_INTERFACE)) return "reserved-name";
      span = out.interface;
      break;
    case 3:
      if (!validMember(b, from, to)) return "bad-member";
      span = out.member;
      break;
    case 4:
      if (!validInterface(b, from, to)) return "bad-error-name";
      span = out.errorName;
      break;
    case 6:
      if (!validBusName(b, from, to)) return "bad-destination";
      span = out.destination;
      break;
    case 7:
      if (!validBusName(b, from, to)) return "bad-sender";
      span = out.sender;
      break;
    default:
      if (to - from > MAX_SIGNATURE || !validSignature(b, from, to)) return "bad-signature";
      span = out.signature;
  }
  span.at = from - at;
  span.end = to - at;
  return undefined;
}

// "Reserved for local use: a message with it must be refused" ("Message Format"). dbus-daemon compares the first
// bytes only, so a longer name that begins with the reserved one disconnects too.
const LOCAL_PATH = Uint8Array.from("/org/freedesktop/DBus/Local", (c) => c.charCodeAt(0));
const LOCAL_INTERFACE = Uint8Array.from("org.freedesktop.DBus.Local", (c) => c.charCodeAt(0));

function startsWith(b: Uint8Array, from: number, to: number, prefix: Uint8Array): boolean {
  if (to - from < prefix.length) return false;
  // The last character tells most names apart at once.
  for (let i = prefix.length - 1; i >= 0; i--) if (b[from + i] !== prefix[i]) return false;
  return true;
}

const PATH = 1 << 1;
const INTERFACE = 1 << 2;
const MEMBER = 1 << 3;
const ERROR_NAME = 1 << 4;
const REPLY_SERIAL = 1 << 5;
/** By message type: METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL. */
const REQUIRED = [0, PATH | MEMBER, REPLY_SERIAL, ERROR_NAME | REPLY_SERIAL, PATH | INTERFACE | MEMBER];

function missing(seen: number, out: Header): HeaderError | undefined {
  const required = REQUIRED[out.type]!;
  if ((seen & required) !== required) return "missing-field";
  // An absent or empty signature means an empty body, and a type means at least one byte.
  return (out.bodyLength === 0) === (out.signature.end === out.signature.at) ? undefined : "body-without-signature";
}
