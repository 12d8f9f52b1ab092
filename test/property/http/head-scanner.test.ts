/**
 * The shortcut for usual heads (native/http-head.c) against the codec alone: whatever the bytes,
 * both read the same, and refuse the same for the same reason.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CarryBudget } from "../../../src/protocol/http/carry.ts";
import { ascii } from "../../../src/protocol/http/characters.ts";
import { HeadWriter } from "../../../src/protocol/http/forwarded-head.ts";
import { type HeadScanner, scannerTables } from "../../../src/protocol/http/head-scanner.ts";
import { EVENT } from "../../../src/protocol/http/message-reader.ts";
import { HTTP_LIMITS, type HttpLimits } from "../../../src/protocol/http/refusal.ts";
import { RequestReader } from "../../../src/protocol/http/request.ts";
import { ResponseReader } from "../../../src/protocol/http/response.ts";
import { NativeHeadScanner } from "../../../src/sys/head-scanner.ts";
import { mutatedAnswers, mutatedRequests, Random } from "../../support/http-mutations.ts";

const BATCH = 250;
const RUNS = Math.ceil(Number(process.env["PVX_FUZZ_RUNS"] ?? 20_000) / BATCH);
const IDENTITY = ascii("X-PV-Client: app\r\n");
const PATH = ascii("/other");

const { classes, letters } = scannerTables();

/** Counts the heads that took the shortcut. */
class Counting implements HeadScanner {
  usual = 0;
  private readonly native: NativeHeadScanner;
  constructor(limits: HttpLimits) {
    this.native = new NativeHeadScanner(classes, letters, limits.fields);
  }
  get found(): Uint32Array {
    return this.native.found;
  }
  request(bytes: Uint8Array, at: number, end: number): number {
    return this.count(this.native.request(bytes, at, end));
  }
  response(bytes: Uint8Array, at: number, end: number): number {
    return this.count(this.native.response(bytes, at, end));
  }
  private count(length: number): number {
    if (length > 0) this.usual++;
    return length;
  }
}

/** Behind the input stand bytes that would complete a head: nothing of them may be read. */
function placed(input: Uint8Array, before: number): Uint8Array {
  const tail = ascii("a\r\nHost: a\r\n\r\n");
  const all = new Uint8Array(before + input.length + tail.length);
  all.set(input, before);
  all.set(tail, before + input.length);
  return all;
}

function requestsIn(input: Uint8Array, limits: HttpLimits, scanner: HeadScanner | undefined): string[] {
  const reader = new RequestReader(new CarryBudget(1 << 20), limits, scanner);
  const writer = new HeadWriter(limits.headBytes, 256);
  const read: string[] = [];
  const bytes = placed(input, 3);
  reader.give(bytes, 3, 3 + input.length);
  for (let event = -1; event !== EVENT.MORE && event !== EVENT.REFUSED; ) {
    event = reader.next();
    read.push(`${event} ${reader.at} ${reader.spanStart} ${reader.spanEnd} ${reader.body.contentBytes}`);
    if (event === EVENT.REFUSED) read.push(reader.refusal!.code);
    if (event !== EVENT.HEAD) continue;
    const { head } = reader;
    const { method, minor, persists, hasBody, upgradeField, overrides, expectsContinue, framing, start, end } = head;
    const { chunked, contentLength } = framing;
    const { authorityStart, authorityEnd, pathStart, pathEnd, asterisk, escaped } = head.target;
    read.push(
      JSON.stringify([method, minor, persists, hasBody, upgradeField, overrides, expectsContinue, chunked]),
      JSON.stringify([contentLength, head.base + start, head.base + end, head.base + head.lineEnd]),
      JSON.stringify([authorityEnd - authorityStart, pathStart, pathEnd, head.target.end, asterisk, escaped]),
      Buffer.from(writer.write(head, IDENTITY, undefined, undefined)).toString("latin1"),
      Buffer.from(writer.write(head, IDENTITY, PATH, undefined)).toString("latin1"),
    );
  }
  return read;
}

function answersIn(input: Uint8Array, limits: HttpLimits, scanner: HeadScanner | undefined, head: boolean): string[] {
  const reader = new ResponseReader(new CarryBudget(1 << 20), limits, scanner);
  reader.answersHead = head;
  const read: string[] = [];
  const bytes = placed(input, 3);
  reader.give(bytes, 3, 3 + input.length);
  for (let event = -1; event !== EVENT.MORE && event !== EVENT.REFUSED; ) {
    event = reader.next();
    read.push(`${event} ${reader.at} ${reader.spanStart} ${reader.spanEnd} ${reader.body.contentBytes}`);
    if (event === EVENT.REFUSED) read.push(reader.refusal!.code);
    if (event !== EVENT.HEAD) continue;
    const { status, minor, persists, interim, upgradeField, framing, base, end } = reader.head;
    read.push(JSON.stringify([status, minor, persists, interim, upgradeField, framing, base, end, reader.endsAtClose]));
  }
  return read;
}

type Read = (input: Uint8Array, limits: HttpLimits, scanner: HeadScanner | undefined) => string[];

/** Holds both against each other; the number of heads that took the shortcut. */
function compare(read: Read, input: string, limits = HTTP_LIMITS): number {
  const bytes = Buffer.from(input, "latin1");
  const scanner = new Counting(limits);
  const shown = JSON.stringify(input);
  expect(read(bytes, limits, scanner), shown).toEqual(read(bytes, limits, undefined));
  return scanner.usual;
}

const REQUEST =
  "POST /a/b?c=%20d HTTP/1.1\r\nHost: a.b:80 \r\nx-a: \t b\xff\t\r\nContent-Length: 3\r\nX_P: v\r\n\r\nabcGET / HTTP/1.1\r\nhost:\r\n\r\n";
const ANSWER =
  "HTTP/1.1 200 OK\xe4\r\nServer: a b\r\ncontent-length:  3\r\nX-P:\r\n\r\nabcHTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n";
const kinds: readonly (readonly [string, string, Read])[] = [
  ["requests", REQUEST, requestsIn],
  ["answers", ANSWER, (input, limits, scanner) => answersIn(input, limits, scanner, false)],
  ["answers to HEAD", ANSWER, (input, limits, scanner) => answersIn(input, limits, scanner, true)],
];

describe.each(kinds)("%s", (_, usual, read) => {
  test("the usual ones take the shortcut", () => {
    expect(compare(read, usual)).toBeGreaterThan(0);
  });

  test("any byte in place of any byte", () => {
    for (let at = 0; at < usual.length; at++)
      for (let byte = 0; byte < 256; byte++)
        compare(read, usual.slice(0, at) + String.fromCharCode(byte) + usual.slice(at + 1));
  }, 60_000);

  test("any byte put in or left out, and cut anywhere", () => {
    for (let at = 0; at <= usual.length; at++) {
      compare(read, usual.slice(0, at));
      compare(read, usual.slice(0, at) + usual.slice(at + 1));
      for (const byte of "\0\t\n\r :;,%?/\\_-+0aXx\x7f\x80") compare(read, usual.slice(0, at) + byte + usual.slice(at));
    }
  });

  test("every limit", () => {
    for (let n = 1; n < usual.length; n++) compare(read, usual, { ...HTTP_LIMITS, headBytes: n, fields: 1 + (n % 6) });
  });
});

const NAMES =
  "te host expect upgrade connection keep-alive content-length http2-settings proxy-connection transfer-encoding x-http-method x-method-override x-http-method-override x-original-url x-original-uri x-rewrite-url x-pv-client x-pv- x-pv accept".split(
    " ",
  );

test("every name that matters, in any spelling", () => {
  const spellings = (name: string) => [
    name,
    name.toUpperCase(),
    name.replaceAll("-", "_"),
    name.replace("-", "."),
    `${name}s`,
    `a${name}`,
  ];
  for (const name of NAMES.flatMap(spellings))
    for (const value of ["", "a", "0", "5", "5 ", "5\t", "05", "5,5", "chunked", "close", "a, b", "100-continue"]) {
      compare(requestsIn, `GET /a HTTP/1.1\r\nHost: a\r\n${name}: ${value}\r\nContent-Length: 1\r\n\r\nx`);
      compare(requestsIn, `GET /a HTTP/1.1\r\n${name}:${value}\r\n\r\nxxxxx`);
      for (const status of [100, 101, 199, 200, 204, 304, 500, 599, 600])
        compare(kinds[1]![2], `HTTP/1.1 ${status} a\r\n${name}: ${value}\r\nContent-Length: 1\r\n\r\nx`);
    }
}, 60_000);

test(
  "whatever the bytes",
  () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = new Random(seed);
        for (let i = 0; i < BATCH; i++) {
          compare(requestsIn, mutatedRequests(random));
          compare(kinds[1 + (i & 1)]![2], mutatedAnswers(random));
        }
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  },
  60 * 60_000,
);
