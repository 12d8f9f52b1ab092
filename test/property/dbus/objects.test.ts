/** Stripped ObjectManager bodies: valid, and what dbus-next would have built without the foreign interfaces. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { validBody } from "../../../src/protocol/dbus/body.ts";
import {
  stripInterfacesAdded,
  stripInterfacesRemoved,
  stripManagedObjects,
} from "../../../src/protocol/dbus/objects.ts";
import { bigEndian, message, read, SIGNAL } from "../../support/dbus-wire.ts";

/** Milliseconds for the long run. */
const TIME = Math.max(20_000, Number(process.env["PVX_FUZZ_RUNS"] ?? 0));
const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 300);
const name = fc.stringMatching(/^(keep|drop)\.[a-z]{1,9}$/);
const value = fc.oneof(
  fc
    .string()
    .filter((s) => !s.includes("\0"))
    .map((s) => ["s", s]),
  fc.boolean().map((b) => ["b", b]),
  // No 64-bit integers: dbus-next swaps their halves in big-endian bodies.
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((d) => ["d", d]),
  fc.uint8Array({ maxLength: 9 }).map((a) => ["ay", Buffer.from(a)]),
  fc.integer().map((i) => ["(yi)", [1, i]]),
);
const properties = fc.array(fc.tuple(fc.stringMatching(/^[A-Z][a-z]{0,9}$/), value), { maxLength: 3 });
const interfaces = fc.array(fc.tuple(name, properties), { maxLength: 4 });
const path = fc.stringMatching(/^\/[a-z]{1,12}$/);
type Interfaces = [string, [string, unknown[]][]][];

const kept = (list: Interfaces): Interfaces => list.filter(([n]) => n.startsWith("keep"));
const keep = (_path: string, iface: string): boolean => iface.startsWith("keep");

function stripped(
  signature: string,
  body: unknown[],
  big: boolean,
  strip: (b: Uint8Array, little: boolean, k: typeof keep) => Uint8Array | undefined,
): unknown[] | undefined {
  const little = message({ type: SIGNAL, path: "/", interface: "a.b", member: "M", signature, body });
  const whole = big ? bigEndian(little) : little;
  const view = new DataView(whole.buffer, whole.byteOffset);
  const headerLength = (16 + view.getUint32(12, !big) + 7) & ~7;
  const out = strip(whole.subarray(headerLength), !big, keep);
  if (out === undefined) return undefined;
  const rebuilt = new Uint8Array(headerLength + out.length);
  rebuilt.set(whole.subarray(0, headerLength));
  rebuilt.set(out, headerLength);
  new DataView(rebuilt.buffer).setUint32(4, out.length, !big);
  const sig = Buffer.from(signature);
  const check = new Uint8Array(rebuilt.length + sig.length);
  check.set(rebuilt);
  check.set(sig, rebuilt.length);
  expect(validBody(check, 0, rebuilt.length, check.length, headerLength, rebuilt.length, !big)).toBe(true);
  return read(rebuilt).body;
}
/** Through dbus-next once, so that both sides have its forms. */
const expected = (signature: string, body: unknown[]): unknown[] | undefined =>
  read(message({ type: SIGNAL, path: "/", interface: "a.b", member: "M", signature, body })).body;

test(
  "GetManagedObjects",
  () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(path, interfaces), { maxLength: 5 }), fc.boolean(), (objects, big) => {
        const left = objects.map(([p, i]) => [p, kept(i as Interfaces)] as const).filter(([, i]) => i.length > 0);
        expect(stripped("a{oa{sa{sv}}}", [objects], big, stripManagedObjects)).toEqual(
          expected("a{oa{sa{sv}}}", [left]),
        );
      }),
      { numRuns: RUNS },
    );
  },
  TIME,
);
test(
  "InterfacesAdded and InterfacesRemoved",
  () => {
    fc.assert(
      fc.property(path, interfaces, fc.boolean(), (p, list, big) => {
        const left = kept(list as Interfaces);
        const added = left.length === 0 ? undefined : expected("oa{sa{sv}}", [p, left]);
        expect(stripped("oa{sa{sv}}", [p, list], big, stripInterfacesAdded)).toEqual(added);
        const names = left.map(([n]) => n);
        const removed = names.length === 0 ? undefined : expected("oas", [p, names]);
        expect(stripped("oas", [p, list.map(([n]) => n)], big, stripInterfacesRemoved)).toEqual(removed);
      }),
      { numRuns: RUNS },
    );
  },
  TIME,
);
