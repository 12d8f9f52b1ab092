/** Damaged D-Bus messages out of valid ones: single faults where parsers differ, and several at once. */

/** A small generator of reproducible numbers (mulberry32). */
export function random(seed: number): (below: number) => number {
  let a = seed >>> 0;
  return (below) => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below) | 0;
  };
}

type Random = (below: number) => number;

const u32 = (b: Uint8Array, at: number): number => {
  const view = new DataView(b.buffer, b.byteOffset);
  return view.getUint32(at, b[0] === 108);
};
const setU32 = (b: Uint8Array, at: number, value: number): void =>
  new DataView(b.buffer, b.byteOffset).setUint32(at, value >>> 0, b[0] === 108);

/** Bytes that mean something somewhere in the format. */
const TELLING = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 32, 40, 41, 45, 46, 47, 48, 58, 66, 95, 97, 98, 103, 104, 108, 111, 115, 117, 118,
  123, 125, 127, 128, 0xc0, 0xed, 0xf4, 0xff,
];

const MUTATIONS: ((b: Uint8Array, r: Random, other: Uint8Array) => Uint8Array)[] = [
  // One bit, one byte, one telling byte.
  (b, r) => {
    b[r(b.length)]! ^= 1 << r(8);
    return b;
  },
  (b, r) => {
    b[r(b.length)] = r(256);
    return b;
  },
  (b, r) => {
    b[r(b.length)] = TELLING[r(TELLING.length)]!;
    return b;
  },
  // The same in the header only, where the decisions are.
  (b, r) => {
    b[r(Math.min(b.length, 16 + u32(b, 12)))] = TELLING[r(TELLING.length)]!;
    return b;
  },
  // A length or number that is a little off, or at an edge.
  (b, r) => {
    const at = r((b.length >> 2) - 1) * 4;
    setU32(b, at, u32(b, at) + r(17) - 8);
    return b;
  },
  (b, r) => {
    const at = r((b.length >> 2) - 1) * 4;
    setU32(b, at, [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 67108864, 67108865, 134217728][r(8)]!);
    return b;
  },
  // Bytes put in or taken out; the lengths are wrong then, or made right by the caller.
  (b, r) => {
    const at = r(b.length);
    const n = 1 + r(8);
    const out = new Uint8Array(b.length + n);
    out.set(b.subarray(0, at));
    for (let i = 0; i < n; i++) out[at + i] = r(3) === 0 ? r(256) : 0;
    out.set(b.subarray(at), at + n);
    return out;
  },
  (b, r) => {
    if (b.length < 24) return b;
    const at = r(b.length - 8);
    const n = 1 + r(8);
    const out = new Uint8Array(b.length - n);
    out.set(b.subarray(0, at));
    out.set(b.subarray(at + n), at);
    return out;
  },
  // A header field's code changed: another type, unknown, or the same twice.
  (b, r) => {
    const at = fieldStarts(b);
    if (at.length > 0) b[at[r(at.length)]!] = r(12);
    return b;
  },
  // A field of another message in the place of one of ours.
  (b, r, other) => {
    const mine = fieldStarts(b);
    const theirs = fieldStarts(other);
    if (mine.length === 0 || theirs.length === 0) return b;
    const from = theirs[r(theirs.length)]!;
    return withField(b, other.subarray(from, fieldEnd(other, from)));
  },
  // The length of the body or of the fields.
  (b, r) => {
    setU32(b, r(2) === 0 ? 4 : 12, u32(b, r(2) === 0 ? 4 : 12) + r(33) - 16);
    return b;
  },
  // Types of the body: another code in the signature.
  (b, r) => {
    const at = fieldStarts(b).find((p) => b[p] === 8);
    if (at !== undefined) b[at + 5 + r(Math.max(1, b[at + 4]!))] = "ybnqiuxtdsogvah(){}"[r(19)]!.charCodeAt(0);
    return b;
  },
  // The other byte order's mark over these bytes.
  (b) => {
    b[0] = b[0] === 108 ? 66 : 108;
    return b;
  },
];

function fieldEnd(b: Uint8Array, at: number): number {
  const type = b[at + 2];
  if (type === 117) return at + 8;
  return type === 103 ? at + 6 + b[at + 4]! : at + 9 + u32(b, at + 4);
}
function fieldStarts(b: Uint8Array): number[] {
  const out: number[] = [];
  const end = Math.min(16 + u32(b, 12), b.length - 8);
  for (let at = 16; at + 16 < end; ) {
    const next = fieldEnd(b, at);
    if (next > end) break;
    out.push(at);
    at = (next + 7) & ~7;
  }
  return out;
}
function withField(b: Uint8Array, field: Uint8Array): Uint8Array {
  const fields = u32(b, 12);
  if (fields > b.length) return b;
  const at = (16 + fields + 7) & ~7;
  const bodyAt = at;
  if (bodyAt > b.length) return b;
  const out = new Uint8Array(at + ((field.length + 7) & ~7) + b.length - bodyAt);
  out.set(b.subarray(0, bodyAt));
  out.set(field, at);
  out.set(b.subarray(bodyAt), at + ((field.length + 7) & ~7));
  setU32(out, 12, at + field.length - 16);
  return out;
}

/**
 * A mutation of `base` with serial `serial`, as long as its own lengths say (so that a stream of
 * them stays in step), at most 8 KiB.
 */
export function mutated(base: Uint8Array, other: Uint8Array, r: Random, serial: number): Uint8Array {
  let b: Uint8Array = base.slice();
  for (let n = 1 + (r(3) === 0 ? r(4) : 0); n > 0; n--) b = MUTATIONS[r(MUTATIONS.length)]!(b, r, other);
  if (b.length < 16) return b;
  if (u32(b, 8) !== 0) setU32(b, 8, serial);
  if (u32(b, 12) > 4096 || u32(b, 4) > 4096) return b;
  const header = (16 + u32(b, 12) + 7) & ~7;
  const total = header + u32(b, 4);
  if (r(2) === 0 && header <= b.length) {
    // The body's length made to fit what is there.
    setU32(b, 4, b.length - header);
    return b;
  }
  const out = new Uint8Array(total);
  out.set(b.subarray(0, total));
  return out;
}
