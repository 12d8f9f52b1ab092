/**
 * The whole filter under damaged messages from both sides: it never throws, no fd is lost or used twice
 * (MemorySession checks that), and what it sends on is whole messages, in step, that the scanner accepts.
 */
import { expect, test } from "bun:test";
import { validBody } from "../../../src/protocol/dbus/body.ts";
import { Header, type HeaderLimits, scanFields, scanFixed } from "../../../src/protocol/dbus/header.ts";
import { mutated, random } from "../../support/dbus-mutate.ts";
import { config, DbusSession, lists, SELF } from "../../support/dbus-session.ts";
import { bigEndian, CALL, corpus, message, RETURN, SIGNAL } from "../../support/dbus-wire.ts";

const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 4000);
const SEED = Number(process.env["PVX_FUZZ_SEED"] ?? 3);
const BUS = "org.freedesktop.DBus";
const OWNERS = { "org.example.Name": ":1.9", "org.example.Iface": ":1.9", "org.x.Hidden": ":1.8" };

const CONFIGS = [
  config(),
  config({ interfaces: ["org.example"] }),
  config({
    lists: lists({
      talk: ["org.example.*"],
      call: ["org.example.Iface.Method@/org/**"],
      own: ["org.mine.*"],
      see: ["org.x.Hidden"],
    }),
  }),
  config({ learn: true }),
];

/** Messages that reach the special cases. */
function special(): Uint8Array[] {
  const driver = (member: string, signature: string, body: unknown[]): Uint8Array =>
    message({
      type: CALL,
      destination: BUS,
      path: "/org/freedesktop/DBus",
      interface: BUS,
      member,
      serial: 2,
      ...(signature === "" ? {} : { signature, body }),
    });
  const example = { destination: "org.example.Name", path: "/org/a" };
  return [
    driver("ListNames", "", []),
    driver("RequestName", "su", ["org.mine.Name", 0]),
    driver("AddMatch", "s", ["type='signal',member='NameOwnerChanged'"]),
    driver("RemoveMatch", "s", ["type='signal',member='NameOwnerChanged'"]),
    driver("NameHasOwner", "s", ["org.x.Hidden"]),
    driver("StartServiceByName", "su", ["org.example.Name", 0]),
    message({ type: CALL, ...example, interface: "org.example.Iface", member: "Method", signature: "s", body: ["x"] }),
    message({
      type: CALL,
      ...example,
      interface: "org.freedesktop.DBus.Properties",
      member: "Get",
      signature: "ss",
      body: ["org.example.Iface", "P"],
    }),
    message({ type: CALL, ...example, interface: "org.freedesktop.DBus.ObjectManager", member: "GetManagedObjects" }),
    message({
      type: CALL,
      ...example,
      interface: "org.example.Iface",
      member: "Fd",
      unixFd: 1,
      signature: "h",
      body: [0],
    }),
    message({
      type: SIGNAL,
      path: "/",
      interface: "org.freedesktop.DBus.ObjectManager",
      member: "InterfacesAdded",
      signature: "oa{sa{sv}}",
      body: [
        "/o",
        [
          ["org.example.Iface", [["P", ["s", "v"]]]],
          ["org.z.Z", []],
        ],
      ],
    }),
    message({
      type: SIGNAL,
      path: "/",
      interface: "org.freedesktop.DBus.ObjectManager",
      member: "InterfacesRemoved",
      signature: "oas",
      body: ["/o", ["org.example.Iface", "org.z.Z"]],
    }),
  ];
}
/** What the bus may send besides: with a sender, and replies to serials that the filter used lately. */
function fromBus(recent: number): Uint8Array[] {
  const to = { destination: SELF, replySerial: recent };
  return [
    message({
      type: RETURN,
      sender: BUS,
      ...to,
      signature: "as",
      body: [[BUS, "org.x.Hidden", "org.example.Name", ":1.9"]],
    }),
    message({
      type: RETURN,
      sender: ":1.9",
      ...to,
      signature: "a{oa{sa{sv}}}",
      body: [
        [
          [
            "/o",
            [
              ["org.example.Iface", []],
              ["org.z.Z", [["P", ["u", 1]]]],
            ],
          ],
        ],
      ],
    }),
    message({ type: RETURN, sender: BUS, ...to, signature: "s", body: [":1.9"] }),
    message({ type: RETURN, sender: ":1.9", ...to, unixFd: 1, signature: "h", body: [0] }),
    message({
      type: SIGNAL,
      sender: BUS,
      path: "/org/freedesktop/DBus",
      interface: BUS,
      member: "NameOwnerChanged",
      signature: "sss",
      body: ["org.example.Name", ":1.9", ":1.10"],
    }),
    message({
      type: SIGNAL,
      sender: ":1.9",
      path: "/o",
      interface: "org.freedesktop.DBus.ObjectManager",
      member: "InterfacesAdded",
      signature: "oa{sa{sv}}",
      body: [
        "/o",
        [
          ["org.example.Iface", []],
          ["org.z.Z", []],
        ],
      ],
    }),
    message({ type: CALL, sender: ":1.44", destination: SELF, path: "/", member: "M", serial: 77 }),
  ];
}

const LIMITS: HeaderLimits = { maxMessage: 128 << 20, maxFields: 65536, unknownFields: true };
/** Cuts what was sent into messages; throws when one is not sound. The last may be incomplete. */
function sound(stream: Uint8Array, consumer: boolean): void {
  const h = new Header();
  for (let at = 0; at + 16 <= stream.length; ) {
    const wrong = scanFixed(stream, at, LIMITS, h);
    if (wrong !== undefined) throw new Error(`sent ${wrong} at ${at}`);
    if (at + h.headerLength > stream.length) return;
    const unsound = scanFields(stream, at, LIMITS, h);
    if (unsound !== undefined) throw new Error(`sent ${unsound} at ${at}`);
    const end = at + h.headerLength + h.bodyLength;
    if (end > stream.length) return;
    // Only what the consumer sent is validated; the bus answers for its own.
    if (
      consumer &&
      h.bodyLength < 4096 &&
      !validBody(stream, at, at + h.signature.at, at + h.signature.end, at + h.headerLength, end, h.littleEndian)
    )
      throw new Error(`sent a malformed body at ${at}`);
    at = end;
  }
}

test(
  `${RUNS} damaged messages from both sides`,
  () => {
    const r = random(SEED);
    const valid = [...corpus(SELF), ...special()];
    const bases = [...valid, ...valid.map(bigEndian)];
    let sessions = 0;
    for (let i = 0; i < RUNS; ) {
      const s = DbusSession.open(CONFIGS[r(CONFIGS.length)]!, { owners: OWNERS });
      sessions++;
      const upFrom = s.session.upstream.bytes.length;
      const downFrom = s.session.downstream.bytes.length;
      for (let n = 0; n < 30 && s.session.state === "open"; n++, i++) {
        const busSide = r(3) === 0;
        const choices = busSide ? [...fromBus(2 + r(20)), ...bases] : bases;
        const base = choices[r(choices.length)]!;
        // Half of them whole, so that sessions live long enough to get somewhere.
        const bytes = r(2) === 0 ? base : mutated(base, bases[r(bases.length)]!, r, 2 + r(100));
        const fds = r(6) === 0 ? [1000 + i * 2] : [];
        const split = [0, 0, 1, 7, 64][r(5)]!;
        if (busSide) s.session.providerSends(bytes, fds, split);
        else s.session.consumerSends(bytes, fds, split);
        if (r(40) === 0 && s.session.state === "open") s.filter.onConfig(CONFIGS[r(CONFIGS.length)]!);
        if (r(60) === 0) s.session.advance(1000);
      }
      s.session.end();
      expect(s.session.leakedFds).toEqual([]);
      sound(s.session.upstream.bytes.subarray(upFrom), true);
      sound(s.session.downstream.bytes.subarray(downFrom), false);
    }
    expect(sessions).toBeGreaterThan(RUNS / 200);
  },
  Math.max(20_000, RUNS),
);
