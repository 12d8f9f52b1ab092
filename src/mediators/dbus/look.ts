/** Looks into bodies for the two judges. */
import { validBody } from "../../protocol/dbus/body.ts";
import { MAX_NAME } from "../../protocol/dbus/constants.ts";
import type { Header } from "../../protocol/dbus/header.ts";
import { ascii } from "../../protocol/dbus/intern.ts";
import {
  type Keep,
  stripInterfacesAdded,
  stripInterfacesRemoved,
  stripManagedObjects,
  stripNames,
} from "../../protocol/dbus/objects.ts";
import { BodyReader, firstStringNeeds } from "../../protocol/dbus/peek.ts";

/** Members of org.freedesktop.DBus.Properties and their signatures: the first argument is the interface in each. */
const PROPERTY_SIGNATURES = new Map([
  ["Get", "ss"],
  ["Set", "ssv"],
  ["GetAll", "s"],
  ["PropertiesChanged", "sa{sv}as"],
]);

/**
 * The interface that a Properties message is about: undefined text where it has none to read.
 * A number: so many bytes of the message must be there first.
 */
export function interfaceArgument(
  b: Uint8Array,
  at: number,
  available: number,
  h: Header,
  member: string,
): { readonly text: string | undefined } | number {
  const signature = h.signature.at === 0 ? "" : ascii(b, at + h.signature.at, at + h.signature.end);
  if (signature !== PROPERTY_SIGNATURES.get(member)) return { text: undefined };
  const bodyAt = at + h.headerLength;
  const here = available - h.headerLength;
  const needs = firstStringNeeds(b, bodyAt, here, h.littleEndian, 4 + MAX_NAME + 1);
  if (needs > h.bodyLength) return { text: undefined };
  if (needs > here) return h.headerLength + needs;
  return { text: new BodyReader(b, at, bodyAt, bodyAt + needs, h.littleEndian).string() };
}

/** The whole `as` at hand with the visible names only. Undefined: malformed. */
export function visibleNames(
  b: Uint8Array,
  at: number,
  h: Header,
  visible: (name: string) => boolean,
): Uint8Array | undefined {
  const sig = at + h.signature.at;
  const sigEnd = at + h.signature.end;
  const from = at + h.headerLength;
  const to = from + h.bodyLength;
  if (h.signature.at === 0 || ascii(b, sig, sigEnd) !== "as") return undefined;
  if (!validBody(b, at, sig, sigEnd, from, to, h.littleEndian)) return undefined;
  return stripNames(b.subarray(from, to), h.littleEndian, visible);
}

const OBJECT_SIGNATURES = new Map([
  ["GetManagedObjects", "a{oa{sa{sv}}}"],
  ["InterfacesAdded", "oa{sa{sv}}"],
  ["InterfacesRemoved", "oas"],
]);

/** The whole body at hand of an ObjectManager message with only what `keep` keeps. Undefined: nothing is left, or malformed. */
export function stripped(b: Uint8Array, at: number, h: Header, member: string, keep: Keep): Uint8Array | undefined {
  const sig = at + h.signature.at;
  const sigEnd = at + h.signature.end;
  const from = at + h.headerLength;
  const to = from + h.bodyLength;
  if (h.signature.at === 0 || ascii(b, sig, sigEnd) !== OBJECT_SIGNATURES.get(member)) return undefined;
  if (!validBody(b, at, sig, sigEnd, from, to, h.littleEndian)) return undefined;
  const body = b.subarray(from, to);
  if (member === "GetManagedObjects") return stripManagedObjects(body, h.littleEndian, keep);
  if (member === "InterfacesAdded") return stripInterfacesAdded(body, h.littleEndian, keep);
  return stripInterfacesRemoved(body, h.littleEndian, keep);
}
