import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { type Chunk, ChunkPool } from "../../../src/relay/chunk.ts";
import { CHUNK_BYTES, KEEP_BYTES } from "../../../src/relay/limits.ts";
import { Outgoing } from "../../../src/relay/outgoing.ts";
import { Memory } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { closeAll, numbered, numberOf, Peer } from "../../support/relay-rig.ts";

const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 60);

function pair(type: number): [Peer, Peer] {
  const two = new Memory(8);
  pvx.pvx_socketpair(type, two.address);
  const [a, b] = new Int32Array(two.buffer);
  return [new Peer(a!), new Peer(b!)];
}
const openFds = () => readdirSync("/proc/self/fd").length;

describe("what waits for one peer", () => {
  let ours: Peer;
  let theirs: Peer;
  let pool: ChunkPool;
  beforeEach(() => {
    [ours, theirs] = pair(1);
    pool = new ChunkPool();
  });
  afterEach(() => {
    ours.close();
    theirs.close();
  });
  /** A chunk as after a receive. */
  const filled = (text: string) => {
    const chunk = pool.current();
    chunk.bytes.set(Buffer.from(text));
    return chunk;
  };

  test("leaves in order, forwarded and written bytes mixed", async () => {
    const out = new Outgoing(pool, false, 253);
    const chunk = filled("abcdef");
    out.forward(chunk, 0, 2, undefined);
    out.write(Buffer.from("-1-"), undefined);
    out.forward(chunk, 4, 6, undefined);
    out.write(Buffer.from("-2-"), undefined);
    expect(out.bytes).toBe(10);
    expect(out.flush(ours.fd)).toBe("sent");
    expect(await theirs.text(10)).toBe("ab-1-ef-2-");
    expect([out.bytes, out.empty, chunk.refs]).toEqual([0, true, 0]);
  });

  test("survives the receive buffer being used again, once it is settled", async () => {
    const out = new Outgoing(pool, false, 253);
    const chunk = filled("keep me");
    out.forward(chunk, 0, 7, undefined);
    out.settle();
    expect(chunk.refs).toBe(0);
    chunk.bytes.fill(0);
    out.flush(ours.fd);
    expect(await theirs.text(7)).toBe("keep me");
  });

  test("copies a small rest out of the receive buffer, and a large one too once many are kept", () => {
    const queues = Array.from({ length: 40 }, () => new Outgoing(pool, false, 253));
    const kept = new Set<Chunk>();
    for (const out of queues) {
      const chunk = pool.current();
      out.forward(chunk, 0, KEEP_BYTES + 1, undefined);
      out.settle();
      if (chunk.refs > 0) kept.add(chunk);
    }
    expect(kept.size).toBeGreaterThan(0);
    expect(kept.size).toBeLessThanOrEqual(17);
    for (const out of queues) out.drop();
    for (const chunk of kept) expect(chunk.refs).toBe(0);
  });

  test("keeps growing by small pieces without copying all of it each time", async () => {
    const out = new Outgoing(pool, false, 253);
    const chunks = new Set<unknown>();
    for (let i = 0; i < 5000; i++) {
      out.forward(filled(String(i % 10)), 0, 1, undefined);
      out.settle();
      chunks.add((out as unknown as { segments: { chunk: unknown }[] }).segments.at(-1)?.chunk);
    }
    expect(out.bytes).toBe(5000);
    // Doubling, not one for each piece.
    expect(chunks.size).toBeLessThan(12);
    expect((out as unknown as { segments: unknown[] }).segments.length).toBeLessThan(12);
    out.flush(ours.fd);
    expect(await theirs.text(5000)).toBe("0123456789".repeat(500));
  });

  test("fds leave with the first byte they were given with, in messages of at most so many", async () => {
    const out = new Outgoing(pool, false, 28);
    const before = openFds();
    const fds = Array.from({ length: 60 }, (_, i) => numbered(i));
    out.write(Buffer.from("before"), undefined);
    out.write(Buffer.from("with fds"), fds);
    expect(out.fdCount).toBe(60);
    expect(out.flush(ours.fd)).toBe("sent");
    expect(out.fdCount).toBe(0);
    const got: [number, number[]][] = [];
    for (let at = 0; at < 14; at++) {
      const { fds: came } = await theirs.recv(1);
      if (came.length > 0) got.push([at, came.map(numberOf)]);
      closeAll(came);
    }
    const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
    expect(got).toEqual([
      [6, range(0, 28)],
      [7, range(28, 56)],
      [8, range(56, 60)],
    ]);
    expect(openFds()).toBe(before);
  });

  test("more fds than its bytes can carry are refused and closed", () => {
    const out = new Outgoing(pool, false, 28);
    const before = openFds();
    const fds = Array.from({ length: 29 }, (_, i) => numbered(i));
    expect(() => out.write(Buffer.from("x"), fds)).toThrow(RangeError);
    expect(openFds()).toBe(before);
    expect([out.bytes, out.fdCount]).toEqual([0, 0]);
  });

  test("dropped, it closes its fds and lets go of the receive buffer", () => {
    const out = new Outgoing(pool, false, 253);
    const before = openFds();
    const chunk = filled("bytes");
    out.forward(chunk, 0, 5, [numbered(1), numbered(2)]);
    out.drop();
    expect([openFds(), chunk.refs, out.bytes, out.fdCount]).toEqual([before, 0, 0, 0]);
  });

  test("a peer that is gone is told by errno", () => {
    const out = new Outgoing(pool, false, 253);
    theirs.close();
    out.write(Buffer.from("x"), undefined);
    expect(out.flush(ours.fd)).toEqual({ errno: 32 });
    out.drop();
  });

  test("packets stay apart, empty ones too", async () => {
    const [a, b] = pair(5);
    const out = new Outgoing(pool, true, 253);
    const chunk = filled("onetwo");
    out.forward(chunk, 0, 3, undefined);
    out.forward(chunk, 3, 3, undefined);
    out.forward(chunk, 3, 6, undefined);
    out.settle();
    expect(out.flush(a.fd)).toBe("sent");
    const got = [await b.recv(), await b.recv(), await b.recv()].map(({ bytes }) => Buffer.from(bytes).toString());
    expect(got).toEqual(["one", "", "two"]);
    a.close();
    b.close();
  });

  test("any mix of pieces, blocked at any place and settled in between, arrives as it was queued", async () => {
    const piece = fc.record({
      size: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: CHUNK_BYTES })),
      own: fc.boolean(),
      fds: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3 })),
      drain: fc.nat(200_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        const [a, b] = pair(1);
        const out = new Outgoing(pool, false, 2);
        const expected: Buffer[] = [];
        const got: Buffer[] = [];
        const numbers: number[] = [];
        let next = 0;
        const read = async (length: number) => {
          const { n, bytes, fds } = await b.recv(length, 0);
          numbers.push(...fds.map(numberOf));
          closeAll(fds);
          if (n !== undefined && n > 0) got.push(Buffer.from(bytes));
          return n ?? 0;
        };
        for (const [i, { size, own, fds, drain }] of pieces.entries()) {
          const bytes = Buffer.alloc(size, i + 1);
          expected.push(bytes);
          const carried = Array.from({ length: Math.min(fds, 2 * size) }, () => numbered(next++));
          if (own) out.write(bytes, carried);
          else {
            const chunk = pool.current();
            chunk.bytes.set(bytes);
            out.forward(chunk, 0, size, carried);
          }
          out.flush(a.fd);
          out.settle();
          // The next receive writes over what nobody keeps.
          pool.current().bytes.fill(0xee);
          if (drain > 0) await read(drain);
        }
        while ((await read(1 << 20)) > 0 || !out.empty) out.flush(a.fd);
        expect(Buffer.compare(Buffer.concat(got), Buffer.concat(expected))).toBe(0);
        expect(numbers).toEqual(Array.from({ length: next }, (_, i) => i));
        expect([out.bytes, out.fdCount]).toEqual([0, 0]);
        a.close();
        b.close();
      }),
      { numRuns: RUNS },
    );
  });
});
