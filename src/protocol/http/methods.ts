/**
 * The methods that are served: the IANA registry's and the ones in common use that every
 * strict parser knows, without CONNECT and PRI. A frozen table, because how an answer is
 * framed depends on the method (RFC 9112 section 6.3): an unknown one is 501, never guessed.
 */
import { ascii } from "./characters.ts";

export const METHODS = [
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "PATCH",
  "OPTIONS",
  "TRACE",
  "COPY",
  "LOCK",
  "MKCOL",
  "MOVE",
  "PROPFIND",
  "PROPPATCH",
  "SEARCH",
  "UNLOCK",
  "BIND",
  "REBIND",
  "UNBIND",
  "ACL",
  "REPORT",
  "MKACTIVITY",
  "CHECKOUT",
  "MERGE",
  "M-SEARCH",
  "NOTIFY",
  "SUBSCRIBE",
  "UNSUBSCRIBE",
  "PURGE",
  "MKCALENDAR",
  "LINK",
  "UNLINK",
  "QUERY",
] as const;
export type Method = (typeof METHODS)[number];

export const GET = 0;
export const HEAD = 1;
export const OPTIONS = METHODS.indexOf("OPTIONS");
/**
 * Methods whose content has no meaning (RFC 9110 sections 9.3.1, 9.3.2, 9.3.5, 9.3.8). Servers exist that leave it
 * unread, and then take it for the next request.
 */
export const CONTENT_MEANS_NOTHING: ReadonlySet<number> = new Set(
  (["GET", "HEAD", "DELETE", "TRACE"] as const).map((method) => METHODS.indexOf(method)),
);
/** Answers of `methodIndex` that are no index. */
export const UNKNOWN_METHOD = -1;
export const CONNECT_METHOD = -2;
export const HTTP2_METHOD = -3;
/** Longest method of the table, in bytes. */
export const METHOD_BYTES = Math.max(...METHODS.map((method) => method.length));

const NAMES = METHODS.map(ascii);
const CONNECT = ascii("CONNECT");
const PRI = ascii("PRI");

function equals(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  if (end - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
  return true;
}

/** Index in METHODS of the method in `bytes[start, end)`, or one of the negative answers. Case counts (RFC 9110 section 9.1). */
export function methodIndex(bytes: Uint8Array, start: number, end: number): number {
  for (let i = 0; i < NAMES.length; i++) if (equals(bytes, start, end, NAMES[i]!)) return i;
  if (equals(bytes, start, end, CONNECT)) return CONNECT_METHOD;
  // The connection preface of HTTP/2 with prior knowledge (RFC 9113 section 3.4).
  return equals(bytes, start, end, PRI) ? HTTP2_METHOD : UNKNOWN_METHOD;
}
