/** The scanner against dbus-next on valid messages, in both byte orders, and its conduct on any bytes. */
import { describe, expect, test } from "bun:test";
import type { WireMessage } from "dbus-next/lib/message.js";
import fc from "fast-check";
import { validBody } from "../../../src/protocol/dbus/body.ts";
import { DROP, Framer, type Judge, PASS } from "../../../src/protocol/dbus/framer.ts";
import { Header, type HeaderLimits, type Span, scanFields, scanFixed } from "../../../src/protocol/dbus/header.ts";
import { bigEndian, CALL, corpus, ERROR, message, RETURN, read, SIGNAL } from "../../support/dbus-wire.ts";

/** Milliseconds for the long run. */
const TIME = Math.max(20_000, Number(process.env["PVX_FUZZ_RUNS"] ?? 0));
const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 500);
const LIMITS: HeaderLimits = { maxMessage: 32 << 20, maxFields: 65536, unknownFields: false };

const element = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,12}$/);
const iface = fc.array(element, { minLength: 2, maxLength: 5 }).map((parts) => parts.join("."));
const wellKnown = fc
  .array(fc.stringMatching(/^[A-Za-z_-][A-Za-z0-9_-]{0,12}$/), { minLength: 2, maxLength: 5 })
  .map((parts) => parts.join("."));
const unique = fc.tuple(fc.nat(99999), fc.nat(99999)).map(([a, b]) => `:${a}.${b}`);
const busName = fc.oneof(wellKnown, unique);
const path = fc.oneof(
  fc.constant("/"),
  fc
    .array(fc.stringMatching(/^[A-Za-z0-9_]{1,10}$/), { minLength: 1, maxLength: 6 })
    .map((parts) => `/${parts.join("/")}`),
);
const serial = fc.integer({ min: 1, max: 0xffffffff });
const text = fc.string({ unit: "binary" }).filter((s) => !s.includes("\0"));
const body = fc.oneof(
  fc.constant({}),
  text.map((s) => ({ signature: "s", body: [s] })),
  fc.array(text).map((list) => ({ signature: "as", body: [list] })),
  fc
    .tuple(text, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean())
    .map(([s, d, b]) => ({ signature: "a{sv}d", body: [[[s, ["b", b]]], d] })),
  fc.uint8Array().map((bytes) => ({ signature: "yay", body: [7, Buffer.from(bytes)] })),
  fc.tuple(fc.integer(), text).map(([i, s]) => ({ signature: "(iv)x", body: [[i, ["s", s]], BigInt(i)] })),
);
const common = { serial, flags: fc.nat(7) };
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const valid: fc.Arbitrary<WireMessage> = fc
  .tuple(
    fc.oneof(
      fc.record({
        type: fc.constant(CALL),
        path,
        member: element,
        interface: maybe(iface),
        destination: maybe(busName),
        ...common,
      }),
      fc.record({
        type: fc.constant(RETURN),
        replySerial: serial,
        destination: maybe(busName),
        sender: maybe(busName),
        ...common,
      }),
      fc.record({
        type: fc.constant(ERROR),
        errorName: iface,
        replySerial: serial,
        destination: maybe(busName),
        ...common,
      }),
      fc.record({
        type: fc.constant(SIGNAL),
        path,
        member: element,
        interface: iface,
        destination: maybe(busName),
        sender: maybe(busName),
        ...common,
      }),
    ),
    body,
  )
  .map(([header, rest]) => ({ ...header, ...rest }) as WireMessage);

const textOf = (b: Uint8Array, span: Span): string | undefined =>
  span.at === 0 ? undefined : Buffer.from(b.subarray(span.at, span.end)).toString();

/** Every field as read by the scanner, in dbus-next's words. */
function scanned(b: Uint8Array): Record<string, unknown> | string {
  const h = new Header();
  const wrong = scanFixed(b, 0, LIMITS, h) ?? scanFields(b, 0, LIMITS, h);
  if (wrong !== undefined) return wrong;
  if (!validBody(b, 0, h.signature.at, h.signature.end, h.headerLength, b.length, h.littleEndian)) return "body";
  return {
    type: h.type,
    flags: h.flags,
    serial: h.serial,
    path: textOf(b, h.path),
    interface: textOf(b, h.interface),
    member: textOf(b, h.member),
    errorName: textOf(b, h.errorName),
    destination: textOf(b, h.destination),
    sender: textOf(b, h.sender),
    signature: textOf(b, h.signature),
    replySerial: h.replySerial === 0 ? undefined : h.replySerial,
  };
}
function oracle(b: Uint8Array): Record<string, unknown> {
  const {
    type,
    flags,
    serial: s,
    path: p,
    interface: i,
    member,
    errorName,
    destination,
    sender,
    signature,
    replySerial,
  } = read(b);
  return {
    type,
    flags,
    serial: s,
    path: p,
    interface: i,
    member,
    errorName,
    destination,
    sender,
    signature,
    replySerial,
  };
}

describe("valid messages", () => {
  test(
    "the scanner and dbus-next agree on every field, in both byte orders",
    () => {
      fc.assert(
        fc.property(valid, (fields) => {
          const little = message(fields);
          const big = bigEndian(little);
          expect(scanned(little)).toEqual(oracle(little));
          expect(scanned(big)).toEqual(oracle(big));
          expect(scanned(big)).toEqual(scanned(little));
        }),
        { numRuns: RUNS },
      );
    },
    TIME,
  );
  test("the fixed corpus is accepted in both byte orders", () => {
    for (const little of corpus()) for (const b of [little, bigEndian(little)]) expect(scanned(b)).toEqual(oracle(b));
  });
});

/** Joins what passes, and drops every message whose serial is a multiple of 3; wants `ahead` bytes of the others' bodies first. */
class Collector implements Judge {
  readonly passed: Uint8Array[] = [];
  readonly seen: number[] = [];
  chunk = new Uint8Array(0);
  private readonly ahead: number;
  constructor(ahead: number) {
    this.ahead = ahead;
  }
  judge(_b: Uint8Array, _at: number, available: number, h: Header): number {
    const wanted = Math.min(h.headerLength + this.ahead, h.headerLength + h.bodyLength);
    if (available < wanted) return wanted;
    this.seen.push(h.serial);
    return h.serial % 3 === 0 ? DROP : PASS;
  }
  passChunk(start: number, end: number): void {
    this.passed.push(this.chunk.slice(start, end));
  }
  passKept(bytes: Uint8Array): void {
    this.passed.push(bytes.slice());
  }
  boundary(): void {}
}

describe("streams", () => {
  test(
    "however a stream is cut, the same messages are seen and the same bytes pass",
    () => {
      const pieces = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 });
      fc.assert(
        fc.property(fc.array(valid, { minLength: 1, maxLength: 8 }), pieces, fc.nat(64), (fields, cuts, ahead) => {
          const messages = fields.map((f, i) => (i % 2 === 0 ? message(f) : bigEndian(message(f))));
          const stream = Buffer.concat(messages);
          const judge = new Collector(ahead);
          const framer = new Framer(LIMITS, judge);
          for (let at = 0, i = 0; at < stream.length; i++) {
            const piece = Uint8Array.from(stream.subarray(at, at + cuts[i % cuts.length]!));
            judge.chunk = piece;
            expect(framer.push(piece, piece.length)).toBeUndefined();
            at += piece.length;
          }
          expect(framer.atBoundary).toBe(true);
          expect(judge.seen).toEqual(fields.map((f) => f.serial));
          const expected = Buffer.concat(messages.filter((_, i) => fields[i]!.serial % 3 !== 0));
          expect(Buffer.concat(judge.passed)).toEqual(expected);
        }),
        { numRuns: RUNS },
      );
    },
    TIME,
  );

  test(
    "any bytes are refused or waited for, never thrown on",
    () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, plausible) => {
          const b = bytes.slice();
          if (plausible && b.length > 4) b.set([108, 1, 0, 1]);
          const judge = new Collector(16);
          judge.chunk = b;
          new Framer(LIMITS, judge).push(b, b.length);
        }),
        { numRuns: RUNS },
      );
    },
    TIME,
  );
});
