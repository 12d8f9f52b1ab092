/** Hostile HTTP from honest: mutations of the fixtures, from a seed. */
import { httpCases } from "./http-fixtures.ts";

/** mulberry32: small, seedable, good enough to pick places. */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  /** 0 to n-1. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const TOKENS = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "=",
  '"',
  "%",
  "%2f",
  "%00",
  "?",
  "#",
  "/",
  "//",
  "..",
  "\\",
  "0",
  "5",
  "a",
  "0x5",
  "-1",
  "+1",
  "00",
  "ffffffffffffffff",
  "9007199254740993",
  "GET ",
  "HEAD ",
  "POST ",
  "OPTIONS ",
  "CONNECT ",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/0.9",
  "Host: a\r\n",
  "Content-Length: 5\r\n",
  "Content-Length: 0\r\n",
  "content-length:\t3 \r\n",
  "Content_Length: 4\r\n",
  "Transfer-Encoding: chunked\r\n",
  "transfer-encoding:chunked\r\n",
  "Transfer-Encoding: gzip\r\n",
  "Transfer-Encoding : chunked\r\n",
  "X-PV-Role: root\r\n",
  "x_pv_client: root\r\n",
  "X-PV-Role:\r\n",
  "Connection: close\r\n",
  "Connection: keep-alive\r\n",
  "Connection: X-PV-Role\r\n",
  "Connection: upgrade\r\nUpgrade: websocket\r\n",
  "Upgrade: h2c\r\n",
  "Proxy-Connection: close\r\n",
  "Expect: 100-continue\r\n",
  "Trailer: X-PV-Role\r\n",
  "TE: trailers\r\n",
  "\r\n\r\n",
  "0\r\n\r\n",
  "1\r\nx\r\n",
  "1;a=b\r\nx\r\n",
  "0\r\nX-PV-Role: root\r\n\r\n",
  "0\r\nX-Ok: 1\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  " chunked",
  "\x0b",
  "\x80",
  "\xff",
  "~",
] as const; // prettier-ignore

/** Short requests with everything in them, so that few mutations reach far. */
const SEEDS = [
  "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /c HTTP/1.1\r\nHost: a\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n",
  "HEAD http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\nX: y\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
];

const ANSWER_SEEDS = [
  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200\r\n\r\nrest",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\nHTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
];

const cases = httpCases();
const REQUESTS = [...SEEDS, ...cases.flatMap((c) => c.steps.filter((s) => s.from === "consumer").map((s) => s.bytes))];
const ANSWERS = [
  ...ANSWER_SEEDS,
  ...cases.flatMap((c) => c.steps.filter((s) => s.from === "provider").map((s) => s.bytes)),
];

export const mutatedRequests = (random: Random): string => mutated(random, REQUESTS);
export const mutatedAnswers = (random: Random): string => mutated(random, ANSWERS);

function mutated(random: Random, corpus: readonly string[]): string {
  let text = random.pick(corpus);
  for (let left = random.below(6); left > 0; left--) text = mutateOnce(random, text, corpus);
  return text.slice(0, 8192);
}

function mutateOnce(random: Random, text: string, corpus: readonly string[]): string {
  const at = random.below(text.length + 1);
  const to = Math.min(text.length, at + 1 + random.below(random.below(4) === 0 ? 40 : 4));
  switch (random.below(9)) {
    case 0:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + text.slice(to);
    case 2:
      return text.slice(0, to) + text.slice(at);
    case 3:
      return text.slice(0, at) + random.pick(corpus).slice(random.below(20));
    case 4:
      return text + random.pick(corpus);
    case 5:
      return insertAtLine(random, text, random.pick(TOKENS));
    case 6:
      return text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << random.below(8))) + text.slice(at + 1);
    default:
      return text.slice(0, at) + random.pick(TOKENS) + text.slice(random.below(2) === 0 ? at : to);
  }
}

/** At the beginning of a line, where a field would stand. */
function insertAtLine(random: Random, text: string, token: string): string {
  const lines = text.split("\r\n");
  lines[random.below(lines.length)] += `\r\n${token}`;
  return lines.join("\r\n").replace(`${token}\r\n`, token.endsWith("\r\n") ? token : `${token}\r\n`);
}
