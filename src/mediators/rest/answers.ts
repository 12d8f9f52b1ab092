/** The answers that we give ourselves: a status and a short JSON body, then the connection closes. */
import { METHODS } from "../../protocol/http/methods.ts";
import type { Refusal } from "../../protocol/http/refusal.ts";

const REASON: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  405: "Method Not Allowed",
  408: "Request Timeout",
  417: "Expectation Failed",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

/** Fields that a status must or should bring along (RFC 9110 sections 15.5.6 and 15.6.4). */
const EXTRA: Readonly<Record<number, string>> = {
  405: `Allow: ${METHODS.join(", ")}\r\n`,
  503: "Retry-After: 1\r\n",
};

function answer(status: number, code: string, detail: string): Refusal {
  return Object.freeze({ status, code, detail });
}

/** Reasons beyond the parser's own. */
export const ANSWER = {
  forbidden: answer(403, "forbidden", "The policy does not allow this request."),
  path: answer(400, "path", "The path can't be judged."),
  override: answer(400, "override", "A field asks for another method or path than the request line."),
  fds: answer(400, "file-descriptors", "File descriptors do not belong on an HTTP connection."),
  incomplete: answer(400, "incomplete", "The request ended early."),
  slowHead: answer(408, "slow-head", "The head took too long to arrive."),
  slowBody: answer(408, "slow-body", "The body took too long to arrive."),
  pipeline: answer(503, "pipeline", "Too many requests wait for their answers on this connection."),
  unreachable: answer(503, "provider-unreachable", "The service can't be reached now."),
  badAnswer: answer(502, "bad-answer", "The service gave an answer that can't be passed on."),
  noAnswer: answer(502, "no-answer", "The service closed the connection without an answer."),
  slowAnswer: answer(504, "slow-answer", "The service took too long to answer."),
} as const satisfies Record<string, Refusal>;

/** The bytes of an answer. `bodyless`: the request was HEAD, which gets the head alone. */
export function answerBytes({ status, code, detail }: Refusal, bodyless: boolean): Uint8Array {
  const body = `${JSON.stringify({ error: code, detail })}\n`;
  const head =
    `HTTP/1.1 ${status} ${REASON[status] ?? "Error"}\r\n` +
    "Content-Type: application/json\r\n" +
    `Content-Length: ${Buffer.byteLength(body)}\r\n` +
    `Cache-Control: no-store\r\n${EXTRA[status] ?? ""}Connection: close\r\n\r\n`;
  return Buffer.from(bodyless ? head : head + body);
}
