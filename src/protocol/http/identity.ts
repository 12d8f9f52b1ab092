/** The identity fields. Their values are made once a link, never from anything a consumer sent. */
import { ascii } from "./characters.ts";

const PLAIN = /^[A-Za-z0-9._~:@+/-]$/;

/**
 * A name as a field value: UTF-8, with everything percent-encoded (RFC 3986 section 2.1) but
 * letters, digits and `. _ ~ : @ + / -`. Two names never have one encoding, no name can end
 * the line, and usual container names read as they are.
 */
export function encodeName(name: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(name)) {
    const character = String.fromCharCode(byte);
    encoded += PLAIN.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** The two lines that every request of a link carries. */
export function identityFields(consumer: string, role: string): Uint8Array {
  return ascii(`X-PV-Client: ${encodeName(consumer)}\r\nX-PV-Role: ${encodeName(role)}\r\n`);
}
