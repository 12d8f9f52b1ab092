/**
 * The messages that we send ourselves: calls of our own to the bus, and the answers that
 * stand for a refusal. dbus-next marshals them; what repeats is marshalled once and its
 * serials are written into a copy, because a consumer may ask for refusals as fast as it can.
 */
import * as wire from "dbus-next/lib/message.js";
import { BUS_INTERFACE, BUS_NAME, BUS_PATH } from "../../policy/dbus/driver.ts";
import { ERROR, METHOD_CALL, METHOD_RETURN, NO_REPLY_EXPECTED, SIGNAL } from "../../protocol/dbus/constants.ts";
import {
  BODY_LENGTH_AT,
  Header,
  type HeaderLimits,
  SERIAL_AT,
  scanFields,
  scanFixed,
} from "../../protocol/dbus/header.ts";
import { writeU32 } from "../../protocol/dbus/integers.ts";

/** Answers of one session that are kept marshalled. They differ by error name and text only. */
const TEMPLATES_MAX = 64;
/** Different texts of one session. Each costs a marshalling of 15 us; a consumer that has seen so many gets the short one. */
const TEXTS_MAX = 512;
/** Stands in a template where the real serial is written. dbus-next takes no 0. */
const PLACEHOLDER = 0x7fffffff;
const OWN: HeaderLimits = { maxMessage: 1 << 20, maxFields: 1 << 16, unknownFields: false };

interface Template {
  readonly bytes: Uint8Array;
  readonly replySerialAt: number;
}

/** A copy: a Buffer's own `slice` would share its memory. */
function marshall(message: wire.WireMessage): Uint8Array {
  return new Uint8Array(wire.marshall(message)[0]);
}

/** A call to the bus driver with our serial. */
export function driverCall(serial: number, member: string, signature: string, body: unknown[]): Uint8Array {
  const call = { type: METHOD_CALL, serial, destination: BUS_NAME, path: BUS_PATH, interface: BUS_INTERFACE, member };
  return marshall(signature === "" ? call : { ...call, signature, body });
}

const turn = driverCall(PLACEHOLDER, "GetId", "", []);
/** The call that orders refusals: the cheapest one that every bus and every proxy answers. */
export function turnCall(serial: number): Uint8Array {
  const bytes = turn.slice();
  writeU32(bytes, SERIAL_AT, true, serial);
  return bytes;
}

/** An error of ours to a caller on the bus. */
export function errorTo(
  serial: number,
  destination: string,
  replySerial: number,
  error: string,
  text: string,
): Uint8Array {
  return marshall({
    type: ERROR,
    serial,
    flags: NO_REPLY_EXPECTED,
    destination,
    replySerial,
    errorName: `org.freedesktop.DBus.Error.${error}`,
    signature: "s",
    body: [text],
  });
}

/** Answers to the consumer, as if from the bus driver. */
export class Answers {
  private readonly templates = new Map<string, Template>();
  private readonly self: string;
  private serial = 0;
  private texts = 0;

  /** `self`: the consumer's unique name, which the answers are addressed to. */
  constructor(self: string) {
    this.self = self;
  }

  /** `short` stands for `text` once too many different ones were asked for. */
  error(replySerial: number, error: string, text: string, short = error): Uint8Array {
    const full = `${error}\0${text}`;
    const said = this.templates.has(full) || this.texts++ < TEXTS_MAX ? text : short;
    return this.fill(`${error}\0${said}`, replySerial, () => ({
      type: ERROR,
      errorName: `org.freedesktop.DBus.Error.${error}`,
      signature: "s",
      body: [said],
    }));
  }
  boolean(replySerial: number, value: boolean): Uint8Array {
    return this.fill(`b${value}`, replySerial, () => ({ type: METHOD_RETURN, signature: "b", body: [value] }));
  }
  /** The answer to Hello and the NameAcquired that every bus sends behind it. */
  hello(replySerial: number): Uint8Array {
    const reply = this.marshall({ type: METHOD_RETURN, replySerial, signature: "s", body: [this.self] });
    const acquired = this.marshall({
      type: SIGNAL,
      path: BUS_PATH,
      interface: BUS_INTERFACE,
      member: "NameAcquired",
      signature: "s",
      body: [this.self],
    });
    return joined(reply, acquired);
  }
  private nextSerial(): number {
    this.serial = this.serial === 0x7ffffffe ? 1 : this.serial + 1;
    return this.serial;
  }
  private marshall(part: Partial<wire.WireMessage> & { type: number }): Uint8Array {
    const flags = NO_REPLY_EXPECTED;
    return marshall({ flags, ...part, serial: this.nextSerial(), sender: BUS_NAME, destination: this.self });
  }
  private fill(key: string, replySerial: number, make: () => Partial<wire.WireMessage> & { type: number }): Uint8Array {
    let template = this.templates.get(key);
    if (template === undefined) {
      const bytes = this.marshall({ ...make(), replySerial: PLACEHOLDER });
      template = { bytes, replySerialAt: replySerialAt(bytes) };
      if (this.templates.size >= TEMPLATES_MAX) this.templates.clear();
      this.templates.set(key, template);
    }
    const bytes = template.bytes.slice();
    writeU32(bytes, SERIAL_AT, true, this.nextSerial());
    writeU32(bytes, template.replySerialAt, true, replySerial);
    return bytes;
  }
}

function replySerialAt(bytes: Uint8Array): number {
  const header = new Header();
  if (scanFixed(bytes, 0, OWN, header) !== undefined || scanFields(bytes, 0, OWN, header) !== undefined)
    throw new Error("Cannot read a message of our own");
  return header.replySerialAt;
}

/** The header at `b[at]` with another body: same fields, new length. The signature must fit the body still. */
export function withBody(b: Uint8Array, at: number, header: Header, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(header.headerLength + body.length);
  out.set(b.subarray(at, at + header.headerLength));
  out.set(body, header.headerLength);
  writeU32(out, BODY_LENGTH_AT, header.littleEndian, body.length);
  return out;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
