/** What a hostile consumer can cost: memory and fds stay flat, other sessions live. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { MATCH_RULES_MAX } from "../../../src/mediators/dbus/config.ts";
import { Bus, RawClient } from "../../support/dbus-bus.ts";
import { DbusLink, run, startService } from "../../support/dbus-link.ts";
import { CALL, ERROR, message, messagesIn, RETURN, read } from "../../support/dbus-wire.ts";
import type { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";

const NAME = "org.pantavisor.Example";
const PATH = "/org/pantavisor/Example";
const BUS = "org.freedesktop.DBus";
/** Anonymous memory that a run may add, in KiB: garbage not yet collected, and pools filled once. */
const FLAT_KIB = 24 * 1024;

let bus: Bus;
let service: Program;
const READY = requireRealPart("root", "dbus-daemon", "gdbus", "python3-dbus");
beforeAll(async () => {
  if (!READY) return;
  bus = await Bus.start();
  service = await startService(bus.address);
});
afterAll(async () => {
  await service?.stop();
  await bus?.stop();
});

async function withLink(
  options: Partial<Parameters<typeof DbusLink.start>[0]>,
  work: (link: DbusLink) => Promise<void>,
): Promise<void> {
  const link = await DbusLink.start({ upstream: bus.socket, rights: { interfaces: [NAME] }, ...options });
  try {
    await work(link);
    // Whatever was done to it, the link serves the next one.
    expect(await works(link)).toBe(true);
  } finally {
    await link.stop();
  }
}
const works = async (link: DbusLink): Promise<boolean> =>
  (
    await run([
      "gdbus",
      "call",
      "--address",
      link.address,
      "--dest",
      NAME,
      "--object-path",
      PATH,
      "--method",
      `${NAME}.Echo`,
      "x",
    ])
  ).code === 0;

const toBus = { type: CALL, destination: BUS, path: "/org/freedesktop/DBus", interface: BUS };
const echo = (serial: number, text: string): Uint8Array =>
  message({
    type: CALL,
    serial,
    destination: NAME,
    path: PATH,
    interface: NAME,
    member: "Echo",
    signature: "s",
    body: [text],
  });

async function connected(link: DbusLink): Promise<RawClient> {
  const client = await RawClient.connect(link.socket);
  client.send(message({ ...toBus, member: "Hello", serial: 1 }));
  await client.bytesUntil((b) => b.length > 0);
  return client;
}
/** A client that sends and never reads. */
async function deaf(link: DbusLink, script: string, ms: number): Promise<void> {
  const code = `
import socket, struct, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(${JSON.stringify(link.socket)})
s.sendall(b"\\0AUTH EXTERNAL\\r\\nDATA\\r\\nBEGIN\\r\\n")
s.sendall(bytes.fromhex("${Buffer.from(message({ ...toBus, member: "Hello", serial: 1 })).toString("hex")}"))
time.sleep(0.3)
s.settimeout(1)
end = time.time() + ${ms / 1000}
try:
    while time.time() < end:
${script.replace(/^/gm, "        ")}
except (OSError, socket.timeout) as e:
    print(type(e).__name__)
time.sleep(0.2)
`;
  await run(["/usr/bin/python3", "-c", code], {}, ms + 10_000);
}
const hex = (b: Uint8Array): string => `bytes.fromhex("${Buffer.from(b).toString("hex")}")`;

describe.skipIf(!READY)("memory stays flat", () => {
  test(
    "under a consumer that calls and never reads the answers",
    () =>
      withLink({}, async (link) => {
        await works(link);
        const before = await link.memory();
        await deaf(link, `s.sendall(${hex(echo(7, "x".repeat(4000)))} * 10)`, 3000);
        expect((await link.memory()) - before).toBeLessThan(FLAT_KIB);
      }),
    30_000,
  );
  test(
    "under refused calls whose answers are never read",
    () =>
      withLink({}, async (link) => {
        await works(link);
        const before = await link.memory();
        const refused = message({
          type: CALL,
          serial: 9,
          destination: "org.x.Y",
          path: "/",
          interface: "org.x.Y",
          member: "M",
        });
        await deaf(link, `s.sendall(${hex(refused)} * 100)`, 3000);
        expect((await link.memory()) - before).toBeLessThan(FLAT_KIB);
      }),
    30_000,
  );
  test(
    "under a declared message of 120 MiB that never comes",
    () =>
      withLink({ maxMessage: 128 << 20 }, async (link) => {
        await works(link);
        const before = await link.memory();
        const clients: RawClient[] = [];
        for (let i = 0; i < 20; i++) {
          const client = await connected(link);
          // One that is passed on as it comes, one whose beginning is kept.
          const big = message({
            type: CALL,
            serial: 9,
            destination: NAME,
            path: PATH,
            interface: i % 2 === 0 ? NAME : "org.freedesktop.DBus.Properties",
            member: i % 2 === 0 ? "Echo" : "GetAll",
            signature: "s",
            body: ["x".repeat(1000)],
          });
          new DataView(big.buffer).setUint32(4, 120 << 20, true);
          client.send(big);
          clients.push(client);
        }
        await Bun.sleep(300);
        expect((await link.memory()) - before).toBeLessThan(FLAT_KIB);
        for (const client of clients) client.close();
      }),
    30_000,
  );
  test(
    "a message above the cap ends its session at once",
    () =>
      withLink({}, async (link) => {
        const client = await connected(link);
        const big = echo(9, "x");
        new DataView(big.buffer).setUint32(4, 120 << 20, true);
        client.send(big);
        expect(await client.ended()).toBe(true);
      }),
    30_000,
  );
  test(
    "under 100,000 match rules, of which so many are taken",
    () =>
      withLink({}, async (link) => {
        const client = await connected(link);
        const before = await link.memory();
        let taken = 0;
        let refused = 0;
        for (let i = 0; i < 100_000; i += 500) {
          const batch = Array.from({ length: 500 }, (_, k) =>
            message({ ...toBus, member: "AddMatch", serial: i + k + 10, signature: "s", body: [`arg0='${i + k}'`] }),
          );
          client.send(Buffer.concat(batch));
          let replies: Uint8Array[] = [];
          await client.bytesUntil((b) => {
            replies = whole(b);
            return replies.length >= 500;
          });
          for (const reply of replies) {
            const type = reply[1];
            if (type === RETURN) taken++;
            else if (type === ERROR) refused++;
          }
        }
        expect([taken, refused]).toEqual([MATCH_RULES_MAX - 1, 100_000 - MATCH_RULES_MAX + 1]);
        expect((await link.memory()) - before).toBeLessThan(FLAT_KIB);
        client.close();
      }),
    120_000,
  );
});

/** The whole messages at the beginning. */
function whole(b: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at + 16 <= b.length; ) {
    const view = new DataView(b.buffer, b.byteOffset + at);
    const total = ((16 + view.getUint32(12, true) + 7) & ~7) + view.getUint32(4, true);
    if (at + total > b.length) break;
    out.push(b.subarray(at, at + total));
    at += total;
  }
  return out;
}

describe.skipIf(!READY)("fds", () => {
  test(
    "floods are cut off and nothing stays open",
    () =>
      withLink({}, async (link) => {
        await works(link);
        const before = link.fds();
        const flood = `
import array, os, socket, time
for n, per in ((40, 16), (40, 60), (40, 253)):
    s = socket.socket(socket.AF_UNIX)
    s.connect(${JSON.stringify(link.socket)})
    s.sendall(b"\\0AUTH EXTERNAL\\r\\nDATA\\r\\nNEGOTIATE_UNIX_FD\\r\\nBEGIN\\r\\n")
    s.sendall(${hex(message({ ...toBus, member: "Hello", serial: 1 }))})
    time.sleep(0.2)
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(per)]
    head = ${hex(echo(5, "x".repeat(100)))}[:40]
    try:
        for i in range(n):
            s.sendmsg([head[i:i + 1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
            time.sleep(0.005)
    except OSError:
        pass
    for fd in fds: os.close(fd)
    s.close()
`;
        await run(["/usr/bin/python3", "-c", flood], {}, 20_000);
        await Bun.sleep(200);
        expect(link.fds()).toBe(before);
      }),
    60_000,
  );
});

describe.skipIf(!READY)("connections", () => {
  test(
    "that never say Hello are few, and do not keep others out for longer than they live",
    () =>
      withLink({}, async (link) => {
        const idle = await Promise.all(Array.from({ length: 40 }, () => RawClient.connect(link.socket, "\0")));
        await Bun.sleep(300);
        expect(idle.filter((c) => c.closed).length).toBe(8);
        for (const client of idle) client.close();
        await Bun.sleep(100);
      }),
    30_000,
  );
});

describe.skipIf(!READY)("live policy", () => {
  test(
    "applies to an open connection, in the middle of its stream",
    () =>
      withLink({}, async (link) => {
        const client = await connected(link);
        const ask = async (serial: number): Promise<string> => {
          client.send(echo(serial, "hi"));
          const [reply] = messagesIn(await client.bytesUntil((b) => whole(b).length > 0));
          const m = read(reply!);
          return m.type === ERROR ? m.errorName! : String(m.body![0]);
        };
        expect(await ask(5)).toBe("hi");
        await link.configure({
          interfaces: [NAME],
          lists: { see: [NAME], talk: [], own: [], call: [], broadcast: [] },
        });
        expect(await ask(6)).toBe("org.freedesktop.DBus.Error.AccessDenied");
        await link.configure({ interfaces: ["org.other"] });
        expect(await ask(7)).toBe("org.freedesktop.DBus.Error.ServiceUnknown");
        // Half of a message before the change, half after: decided by what is in force when it can be decided.
        const split = echo(8, "split");
        client.send(split.subarray(0, 30));
        await Bun.sleep(50);
        await link.configure({ interfaces: [NAME] });
        client.send(split.subarray(30));
        const [reply] = messagesIn(await client.bytesUntil((b) => whole(b).length > 0));
        expect(read(reply!).body).toEqual(["split"]);
        expect(await ask(9)).toBe("hi");
        client.close();
      }),
    30_000,
  );
});
