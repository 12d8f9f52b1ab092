/** D-Bus messages for tests: built and read by dbus-next, in either byte order, and a corpus of valid ones. */
import * as wire from "dbus-next/lib/message.js";
import { typeEnd } from "../../src/protocol/dbus/signature.ts";

export const CALL = 1;
export const RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;

export function message(fields: Partial<wire.WireMessage> & { type: number }): Uint8Array {
  return Uint8Array.from(wire.marshall({ serial: 1, ...fields })[0]);
}
/** Through dbus-next's stream parser: its `unmarshall` throws on messages without a body. */
export function read(bytes: Uint8Array): wire.WireMessage {
  let at = 0;
  let onReadable = (): void => {};
  const found: wire.WireMessage[] = [];
  const stream = {
    on: (_event: string, listener: () => void) => {
      onReadable = listener;
    },
    read: (n: number) => {
      if (at + n > bytes.length || (n > 0 && at >= bytes.length)) return null;
      at += n;
      // dbus-next looks an fd up for each `h`.
      return Object.assign(Buffer.from(bytes.subarray(at - n, at)), { fds: new Array(32).fill(0) });
    },
  };
  wire.unmarshalMessages(stream, (message) => found.push(message), {});
  onReadable();
  if (found[0] === undefined) throw new Error("dbus-next reads no message");
  return found[0];
}

/** Cuts a stream of whole messages. */
export function messagesIn(stream: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < stream.length; ) {
    const view = new DataView(stream.buffer, stream.byteOffset + at);
    const little = stream[at] === 108;
    const total = ((16 + view.getUint32(12, little) + 7) & ~7) + view.getUint32(4, little);
    out.push(stream.slice(at, at + total));
    at += total;
  }
  return out;
}

/** The same message, big-endian. dbus-next writes little-endian only, so this walks the types itself. */
export function bigEndian(little: Uint8Array): Uint8Array {
  const out = little.slice();
  const swap = (at: number, size: number): void => void out.subarray(at, at + size).reverse();
  const view = new DataView(little.buffer, little.byteOffset, little.length);
  const u32 = (at: number): number => view.getUint32(at, true);
  const align = (n: number, to: number): number => (n + to - 1) & ~(to - 1);
  const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
  /** Values of the types in `sig` from `at` on; where they end. */
  const values = (sig: string, at: number): number => {
    let p = at;
    const codes = bytes(sig);
    for (let s = 0; s < codes.length; ) {
      const next = typeEnd(codes, s, codes.length);
      p = value(sig.slice(s, next), p);
      s = next;
    }
    return p;
  };
  const value = (type: string, at: number): number => {
    const size = { y: 1, n: 2, q: 2, b: 4, i: 4, u: 4, h: 4, x: 8, t: 8, d: 8 }[type[0]!];
    if (size !== undefined) {
      const p = align(at, size);
      swap(p, size);
      return p + size;
    }
    if (type === "s" || type === "o") {
      const p = align(at, 4);
      swap(p, 4);
      return p + 4 + u32(p) + 1;
    }
    if (type === "g") return at + little[at]! + 2;
    if (type === "v") {
      const end = at + 1 + little[at]!;
      return values(Buffer.from(little.subarray(at + 1, end)).toString(), end + 1);
    }
    if (type[0] === "a") {
      const lengthAt = align(at, 4);
      swap(lengthAt, 4);
      const element = type.slice(1);
      const alignment = "xtd({".includes(element[0]!)
        ? 8
        : "ygv".includes(element[0]!)
          ? 1
          : "nq".includes(element[0]!)
            ? 2
            : 4;
      let p = align(lengthAt + 4, alignment);
      const stop = p + u32(lengthAt);
      while (p < stop) p = value(element, p);
      return p;
    }
    return values(type.slice(1, -1), align(at, 8));
  };
  const headerEnd = align(values("yyyyuua(yv)", 0), 8);
  out[0] = 66;
  const body = read(little).signature ?? "";
  values(body, headerEnd);
  return out;
}

/** Valid messages of every type and many bodies, little-endian. `self`: a unique name for their destination. */
export function corpus(self = ":1.1"): Uint8Array[] {
  const call = (fields: Partial<wire.WireMessage>): Uint8Array =>
    message({ type: CALL, path: "/org/example/Object_1", interface: "org.example.Iface", member: "Method", ...fields });
  const bodies: [string, unknown[]][] = [
    ["s", ["hello, world!"]],
    ["ss", ["org.example.Iface", "Property"]],
    ["ssv", ["org.example.Iface", "Property", ["u", 7]]],
    ["su", ["org.example.Name", 4]],
    ["as", [["a", "", "longer one"]]],
    ["sss", ["org.example.Name", "", ":1.5"]],
    [
      "sa{sv}as",
      [
        "org.example.Iface",
        [
          ["A", ["s", "ä€😀"]],
          ["B", ["ad", [1.5, 2]]],
        ],
        ["C"],
      ],
    ],
    [
      "a{oa{sa{sv}}}",
      [
        [
          [
            "/o",
            [
              ["org.example.A", [["P", ["b", true]]]],
              ["org.example.B", []],
            ],
          ],
        ],
      ],
    ],
    ["ybnqiuxtdsog", [1, true, -2, 3, -4, 5, BigInt(-6), BigInt(7), 8.5, "s", "/o/p", "a(ii)"]],
    ["(i(sv))", [[1, ["x", ["v", ["s", "deep"]]]]]],
    ["aay", [[Buffer.from([1, 2, 3]), Buffer.from([])]]],
    [
      "a{us}",
      [
        [
          [1, "one"],
          [2, "two"],
        ],
      ],
    ],
    ["ax", [[BigInt(1), BigInt(2)]]],
  ];
  return [
    ...bodies.map(([signature, body]) => call({ destination: self, signature, body })),
    call({ destination: "org.freedesktop.DBus", interface: "org.freedesktop.DBus", member: "GetId" }),
    call({
      destination: "org.freedesktop.DBus",
      interface: "org.freedesktop.DBus",
      member: "GetNameOwner",
      signature: "s",
      body: ["org.example.Name"],
    }),
    call({
      destination: "org.freedesktop.DBus",
      interface: "org.freedesktop.DBus",
      member: "AddMatch",
      signature: "s",
      body: ["type='signal',arg0='x'"],
    }),
    call({ destination: "org.example.Nobody", flags: 3 }),
    call({ destination: self, interface: undefined as unknown as string, path: "/" }),
    message({ type: RETURN, destination: self, replySerial: 9, signature: "s", body: ["answer"] }),
    message({ type: RETURN, destination: self, replySerial: 4294967295 }),
    message({
      type: ERROR,
      destination: self,
      replySerial: 3,
      errorName: "org.example.Error.Failed",
      signature: "s",
      body: ["why"],
    }),
    message({ type: SIGNAL, path: "/", interface: "org.example.Iface", member: "Changed" }),
    message({
      type: SIGNAL,
      path: "/a/b",
      interface: "org.freedesktop.DBus.Properties",
      member: "PropertiesChanged",
      signature: "sa{sv}as",
      body: ["org.example.Iface", [["Level", ["i", 3]]], []],
    }),
    message({
      type: SIGNAL,
      path: "/a",
      interface: "org.example.Iface",
      member: "Unicast",
      destination: self,
      sender: ":1.77",
      signature: "i",
      body: [1],
    }),
  ];
}
