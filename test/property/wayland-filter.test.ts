/**
 * Hostile streams in both directions against an oracle that shares no code with the filter:
 * it reads what the compositor and the client get, the way the most lenient libwayland reads it.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeMessage } from "../../src/protocol/wayland/wire.ts";
import { client, joined, server, WaylandSession } from "../support/wayland-session.ts";

/** A million in the long run. */
const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 4000);
/** 10 microseconds a run would be optimistic; the long run sets its own pace. */
const TIMEOUT_MS = Math.max(30_000, RUNS);

const ALLOWED = ["wl_compositor", "wl_shm", "wl_seat"] as const;
const HIDDEN = ["zwlr_screencopy_manager_v1", "wl_shm2", "wl_sh", "wl_fixes", ""] as const;
const CAPS: Readonly<Record<string, number>> = { wl_compositor: 4, wl_shm: 1, wl_seat: 7 };
const TABLE = { rule: "fuzz", globals: Object.entries(CAPS) };

/** Numbers from a seed; fast-check drives the seed alone, since a million structured values cost too much. */
class Dice {
  private state: number;
  constructor(seed: number) {
    this.state = seed | 1;
  }
  /** An integer in [0, n). */
  below(n: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % n;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const ids = [1, 2, 3, 4, 5, 0xff000000, 0] as const;
const texts = ["x", "text/plain", "wl_shm", "zwlr_screencopy_manager_v1"] as const;

function requestFrom(dice: Dice): Uint8Array {
  const id = dice.of(ids);
  switch (dice.below(6)) {
    case 0:
      return client.getRegistry(dice.of(ids));
    case 1:
      return client.sync(dice.of(ids));
    case 2:
    case 3: {
      const interface_ = dice.chance(60) ? dice.of(ALLOWED) : dice.of(HIDDEN);
      return client.bind(id, dice.below(6), interface_, dice.below(9), 2 + dice.below(8));
    }
    case 4:
      return encodeMessage(id, dice.below(3), dice.below(8), dice.of(texts), dice.below(9), dice.below(9));
    default:
      return encodeMessage(id, dice.below(3), ...Array.from({ length: dice.below(4) }, () => dice.below(9)));
  }
}
function eventFrom(dice: Dice): Uint8Array {
  const id = dice.of(ids);
  switch (dice.below(6)) {
    case 0:
    case 1:
    case 2: {
      const interface_ = dice.chance(50) ? dice.of(ALLOWED) : dice.of(HIDDEN);
      return server.global(id, dice.below(6), interface_, dice.below(9));
    }
    case 3:
      return server.globalRemove(id, dice.below(6));
    case 4:
      return server.deleteId(dice.of(ids));
    default:
      return encodeMessage(id, dice.below(3), ...Array.from({ length: dice.below(4) }, () => dice.below(9)));
  }
}
function mutated(dice: Dice, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  switch (dice.below(5)) {
    case 0:
      copy[dice.below(copy.length)] = dice.below(256);
      return copy;
    case 1:
      copy[dice.below(copy.length)]! ^= 1 << dice.below(8);
      return copy;
    case 2:
      return copy.slice(0, 1 + dice.below(copy.length));
    case 3: {
      const longer = new Uint8Array(copy.length + 4);
      longer.set(copy);
      longer[6] = longer.length;
      return longer;
    }
    default:
      copy[copy.length - 1 - dice.below(Math.min(12, copy.length))] = 0;
      return copy;
  }
}

/** Incremental reader of a stream of messages; stops at what libwayland could not read on from. */
class Reader {
  private rest = Buffer.alloc(0);
  private broken = false;
  read(bytes: Uint8Array): { id: number; opcode: number; body: Buffer }[] {
    const out = [];
    this.rest = Buffer.concat([this.rest, bytes]);
    while (!this.broken && this.rest.length >= 8) {
      const size = this.rest.readUInt16LE(6);
      if (size < 8) this.broken = true;
      if (size < 8 || size > this.rest.length) break;
      out.push({
        id: this.rest.readUInt32LE(0),
        opcode: this.rest.readUInt16LE(4),
        body: this.rest.subarray(8, size),
      });
      this.rest = this.rest.subarray(size);
    }
    return out;
  }
}

/** As libwayland 1.21: the string ends at its first NUL, whatever its length says. Undefined: no such string. */
function lenientString(body: Buffer, at: number): { text: string; end: number } | undefined {
  if (body.length < at + 4) return undefined;
  const length = body.readUInt32LE(at);
  if (length > body.length - at - 4) return undefined;
  const text = body.toString("latin1", at + 4, at + 4 + length);
  return { text: text.split("\0")[0]!, end: at + 4 + ((length + 3) & ~3) };
}

/** What must never happen (text that is no identifier names no interface, whoever reads it), told from the bytes that both ends get. */
class Oracle {
  /** For ever: nothing in core Wayland ends a registry. */
  private readonly registries = new Set<number>();
  private readonly announced = new Map<number, { interface: string; version: number }>();
  private readonly everShown = new Set<number>();
  /** Names announced before the step that is being played: within one, the order of the two ends is not told apart. */
  private readonly announcedBefore = new Set<number>();
  private readonly sentByServer = new Reader();
  private readonly gotByServer = new Reader();
  private readonly gotByClient = new Reader();

  serverSends(bytes: Uint8Array): void {
    for (const { id, opcode, body } of this.sentByServer.read(bytes)) {
      if (!this.registries.has(id) || opcode !== 0) continue;
      const string = lenientString(body, 4);
      if (string === undefined || !/^[A-Za-z_]\w*$/.test(string.text) || body.length < string.end + 4) continue;
      this.announced.set(body.readUInt32LE(0), { interface: string.text, version: body.readUInt32LE(string.end) });
    }
  }
  serverGets(bytes: Uint8Array): void {
    for (const { id, opcode, body } of this.gotByServer.read(bytes)) {
      if (id === 1 && opcode === 1 && body.length >= 4) this.registries.add(body.readUInt32LE(0));
      if (!this.registries.has(id) || opcode !== 0) continue;
      const string = lenientString(body, 4);
      if (string === undefined || body.length < string.end + 8) continue;
      const [name, version] = [body.readUInt32LE(0), body.readUInt32LE(string.end)];
      const global = this.announced.get(name);
      const cap = CAPS[string.text] ?? 0;
      if (global?.interface !== string.text || version < 1 || version > Math.min(cap, global.version))
        throw new Error(`bind of ${name} "${string.text}" v${version} reached the compositor`);
    }
  }
  stepDone(): void {
    for (const name of this.announced.keys()) this.announcedBefore.add(name);
  }
  clientGets(bytes: Uint8Array): void {
    for (const { id, opcode, body } of this.gotByClient.read(bytes)) {
      if (!this.registries.has(id)) continue;
      const string = opcode === 0 ? lenientString(body, 4) : undefined;
      if (string !== undefined && /^[A-Za-z_]\w*$/.test(string.text) && body.length >= string.end + 4) {
        const version = body.readUInt32LE(string.end);
        if (!(version >= 1 && version <= (CAPS[string.text] ?? 0)))
          throw new Error(`hidden global "${string.text}" v${version} was shown`);
        this.everShown.add(body.readUInt32LE(0));
      }
      if (opcode === 1 && body.length === 4) {
        const name = body.readUInt32LE(0);
        if (this.announcedBefore.has(name) && !this.everShown.has(name))
          throw new Error(`the removal of hidden global ${name} was shown`);
      }
    }
  }
}

interface Step {
  readonly up: boolean;
  readonly bytes: Uint8Array;
  readonly fds: number;
  readonly split: number;
}

function stepsFrom(dice: Dice): Step[] {
  const steps: Step[] = [{ up: true, bytes: client.getRegistry(2), fds: 0, split: 0 }];
  for (let left = 2 + dice.below(12); left > 0; left--) {
    const up = dice.chance(50);
    const parts = Array.from({ length: 1 + dice.below(3) }, () => {
      const message = up ? requestFrom(dice) : eventFrom(dice);
      return dice.chance(8) ? mutated(dice, message) : message;
    });
    const fds = dice.chance(20) ? dice.below(4) : dice.chance(1) ? 253 : 0;
    steps.push({ up, bytes: joined(...parts), fds, split: dice.chance(30) ? 1 + dice.below(9) : 0 });
  }
  return steps;
}

function play(seed: number): { open: number; shown: number } {
  const s = new WaylandSession(TABLE);
  const oracle = new Oracle();
  let fd = 1000;
  let shown = 0;
  for (const { up, bytes, fds, split } of stepsFrom(new Dice(seed))) {
    if (!s.open) break;
    const carried = Array.from({ length: fds }, () => fd++);
    const [requests, events] = [s.session.upstream.sent.length, s.session.downstream.sent.length];
    // What the compositor has sent exists from its sending on, whether or not the filter shows it.
    if (!up) oracle.serverSends(bytes);
    if (up) s.up(bytes, carried, split);
    else s.down(bytes, carried, split);
    for (const { bytes: got } of s.session.upstream.sent.slice(requests)) oracle.serverGets(got);
    for (const { bytes: got } of s.session.downstream.sent.slice(events)) oracle.clientGets(got);
    oracle.stepDone();
    shown += s.session.downstream.sent.length - events;
  }
  const open = s.open ? 1 : 0;
  s.session.end();
  if (s.session.leakedFds.length > 0) throw new Error(`leaked ${s.session.leakedFds.length} fds`);
  if (s.heldFds.count !== 0) throw new Error(`${s.heldFds.count} fds still counted`);
  return { open, shown };
}

describe("hostile clients and compositors", () => {
  test(
    "never make the filter throw, show a hidden global, pass a refused bind, or leak an fd",
    () => {
      let open = 0;
      let shown = 0;
      fc.assert(
        fc.property(fc.integer(), (seed) => {
          const result = play(seed);
          open += result.open;
          shown += result.shown;
        }),
        { numRuns: RUNS },
      );
      // The streams must be interesting: many sessions live to the end, and many events come through.
      expect(open).toBeGreaterThan(RUNS / 20);
      expect(shown).toBeGreaterThan(RUNS);
    },
    TIMEOUT_MS,
  );
});

describe("any split of the streams", () => {
  const outcome = (steps: readonly Step[], split: (step: Step) => number) => {
    const s = new WaylandSession(TABLE);
    let fd = 1000;
    for (const step of steps) {
      if (!s.open) break;
      const carried = Array.from({ length: step.fds }, () => fd++);
      if (step.up) s.up(step.bytes, carried, split(step));
      else s.down(step.bytes, carried, split(step));
    }
    const { upstream, downstream, state } = s.session;
    return {
      state,
      up: Buffer.from(upstream.bytes).toString("hex"),
      down: Buffer.from(downstream.bytes).toString("hex"),
      upFds: s.open ? upstream.fds : [],
      downFds: s.open ? downstream.fds : [],
    };
  };
  test(
    "gives the same bytes, the same fds in the same order and the same end",
    () => {
      fc.assert(
        fc.property(fc.integer(), (seed) => {
          const steps = stepsFrom(new Dice(seed)).map((step) => ({ ...step, fds: Math.min(step.fds, 20) }));
          const whole = outcome(steps, () => 0);
          for (const size of [1, 3, 8]) expect(outcome(steps, () => size)).toEqual(whole);
        }),
        { numRuns: Math.min(RUNS / 4, 50_000) },
      );
    },
    TIMEOUT_MS,
  );
});

describe("a well-behaved stream", () => {
  test(
    "passes unchanged with every fd at or before the first byte of what it came with",
    () => {
      fc.assert(
        fc.property(fc.integer(), (seed) => {
          const dice = new Dice(seed);
          const s = new WaylandSession(TABLE);
          const stream = joined(
            ...Array.from({ length: 1 + dice.below(20) }, () =>
              encodeMessage(10 + dice.below(5), dice.below(4), dice.below(9), dice.of(texts)),
            ),
          );
          const arrivedAt = new Map<number, number>();
          for (let at = 0; at < stream.length; ) {
            const size = 1 + dice.below(60);
            const fds = Array.from({ length: dice.below(3) }, (_, i) => 1000 + 4 * at + i);
            for (const fd of fds) arrivedAt.set(fd, at);
            s.up(stream.subarray(at, at + size), fds);
            at += size;
          }
          expect(Buffer.compare(s.session.upstream.bytes, stream)).toBe(0);
          expect(s.session.upstream.fds).toEqual([...arrivedAt.keys()]);
          let left = 0;
          for (const { bytes, fds } of s.session.upstream.sent) {
            for (const fd of fds) expect(left).toBeLessThanOrEqual(arrivedAt.get(fd)!);
            left += bytes.length;
          }
        }),
        { numRuns: Math.min(RUNS / 4, 50_000) },
      );
    },
    TIMEOUT_MS,
  );
});
