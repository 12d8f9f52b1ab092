/**
 * The scanner against dbus-daemon: whatever it accepts of a mutated corpus the daemon does not
 * disconnect for, and both read the same routing fields. The daemon's reading is what its
 * monitor prints (dbus-monitor --profile: libdbus's own parser, one line a message).
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { validBody } from "../../../src/protocol/dbus/body.ts";
import { Header, type HeaderLimits, type Span, scanFields, scanFixed } from "../../../src/protocol/dbus/header.ts";
import { Bus, RawClient } from "../../support/dbus-bus.ts";
import { mutated, random } from "../../support/dbus-mutate.ts";
import { bigEndian, CALL, corpus, message, messagesIn, read } from "../../support/dbus-wire.ts";
import { requireRealPart } from "../../support/real-parts.ts";

const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 20_000);
const SEED = Number(process.env["PVX_FUZZ_SEED"] ?? 1);
/** Messages in one write; short enough that a disconnect is found again quickly. */
const BATCH = 400;
const LIMITS: HeaderLimits = { maxMessage: 32 << 20, maxFields: 65536, unknownFields: false };

let bus: Bus;
const READY = requireRealPart("root", "dbus-daemon");
beforeAll(async () => {
  if (!READY) return;
  bus = await Bus.start({ limits: '<limit name="max_match_rules_per_connection">100000</limit>' });
});
afterAll(() => bus?.stop());

/** As the filter judges a consumer's message that came without fds. */
function accepts(b: Uint8Array, h: Header): boolean {
  if (b.length < 16 || scanFixed(b, 0, LIMITS, h) !== undefined) return false;
  if (h.headerLength + h.bodyLength !== b.length || scanFields(b, 0, LIMITS, h) !== undefined) return false;
  if (h.unixFds > 0) return false;
  return validBody(b, 0, h.signature.at, h.signature.end, h.headerLength, b.length, h.littleEndian);
}

const KINDS = ["", "mc", "mr", "err", "sig"];
/** What dbus-monitor --profile prints behind the time, by our own reading. */
function profile(b: Uint8Array, h: Header, sender: string): string {
  const text = (span: Span, none: string): string =>
    span.at === 0 ? none : Buffer.from(b.subarray(span.at, span.end)).toString();
  const to = text(h.destination, "<none>");
  const line = [KINDS[h.type]!, String(h.serial), sender, to];
  if (h.type === 1 || h.type === 4)
    line.push(text(h.path, "<none>"), text(h.interface, "<none>"), text(h.member, "<none>"));
  else line.push(String(h.replySerial));
  return line.join("\t");
}
/** The same out of a line of dbus-monitor. */
function monitored(line: string): string {
  const [kind, , ...rest] = line.split("\t");
  return [kind, ...rest].join("\t");
}

async function session(): Promise<{ client: RawClient; self: string }> {
  const client = await RawClient.connect(bus.socket);
  client.send(hello(1));
  const bytes = await client.bytesUntil((b) => b.length > 0);
  return { client, self: read(messagesIn(bytes)[0]!).body![0] as string };
}
const hello = (serial: number): Uint8Array => driver(serial, "Hello");
const driver = (serial: number, member: string): Uint8Array =>
  message({
    type: CALL,
    serial,
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member,
    destination: "org.freedesktop.DBus",
  });

/** True when the daemon has read all of it and is still there. */
async function survives(client: RawClient, messages: readonly Uint8Array[]): Promise<boolean> {
  client.discard = false;
  client.send(Buffer.concat([...messages, driver(0x7ffffff1, "GetId")]));
  const mark = Buffer.from([0xf1, 0xff, 0xff, 0x7f]);
  await client.bytesUntil((b) => Buffer.from(b).includes(mark));
  return !client.closed;
}

async function culprit(messages: readonly Uint8Array[]): Promise<Uint8Array> {
  let all = messages;
  while (all.length > 1) {
    const half = all.slice(0, all.length >> 1);
    const { client } = await session();
    const fine = await survives(client, half);
    client.close();
    all = fine ? all.slice(all.length >> 1) : half;
  }
  return all[0]!;
}

test.skipIf(!READY)(
  `of ${RUNS} mutated messages, those that are accepted never disconnect and are routed as they were read`,
  async () => {
    const monitor = Bun.spawn(["dbus-monitor", "--address", bus.address, "--profile"], { stdout: "pipe" });
    const lines = new Map<string, string>();
    const watched = (async () => {
      let rest = "";
      const decoder = new TextDecoder();
      for await (const chunk of monitor.stdout) {
        const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
        rest = parts.pop()!;
        for (const line of parts) {
          const fields = line.split("\t");
          lines.set(`${fields[3]} ${fields[2]}`, monitored(line));
        }
      }
    })();
    await Bun.sleep(300);
    const r = random(SEED);
    const h = new Header();
    let { client, self } = await session();
    const valid = corpus(self);
    const bases = [...valid, ...valid.map(bigEndian)];
    let batch: Uint8Array[] = [];
    let expected: [string, string][] = [];
    let accepted = 0;
    let compared = 0;
    const flush = async (): Promise<void> => {
      if (!(await survives(client, batch))) {
        const bad = await culprit(batch);
        throw new Error(`dbus-daemon disconnects for ${Buffer.from(bad).toString("hex")}`);
      }
      for (let i = 0; i < 500 && !lines.has(`${self} ${0x7ffffff1}`); i++) await Bun.sleep(2);
      for (const [key, line] of expected) {
        const seen = lines.get(key);
        // Replies and calls without a destination never reach the dispatcher.
        if (seen === undefined) continue;
        compared++;
        if (seen !== line) throw new Error(`read as ${line}, routed as ${seen}`);
      }
      lines.clear();
      batch = [];
      expected = [];
    };
    for (let i = 2; i < RUNS + 2; i++) {
      const b = mutated(bases[r(bases.length)]!, bases[r(bases.length)]!, r, i);
      if (!accepts(b, h)) continue;
      accepted++;
      batch.push(b);
      expected.push([`${self} ${h.serial}`, profile(b, h, self)]);
      if (batch.length === BATCH) await flush();
      // The daemon keeps calls that nobody answers, and match rules: begin anew now and then.
      if (accepted % 20_000 === 0) {
        client.close();
        ({ client, self } = await session());
      }
    }
    await flush();
    client.close();
    monitor.kill();
    await watched;
    console.log(`differential: ${RUNS} mutated, ${accepted} accepted, ${compared} compared`);
    expect(accepted).toBeGreaterThan(RUNS / 20);
    expect(compared).toBeGreaterThan(accepted / 2);
  },
  Math.max(60_000, RUNS),
);
