/**
 * Names out of bytes without allocating for those seen lately: a small table in which
 * each name has one place and the latest wins. Bounded whatever a peer sends.
 */
const SLOTS = 256;

export class Names {
  private readonly slots: string[] = new Array(SLOTS).fill("");

  /** The ASCII name in b[start, end), which is not empty and was validated. */
  get(b: Uint8Array, start: number, end: number): string {
    const length = end - start;
    // Names that are used together differ in their length or near their end.
    const hash = length * 31 + b[end - 1]! * 7 + b[end - (length >> 2) - 1]! * 13 + b[start + (length >> 1)]! * 3;
    const slot = hash & (SLOTS - 1);
    const known = this.slots[slot]!;
    if (known.length === length && same(known, b, start)) return known;
    const name = ascii(b, start, end);
    this.slots[slot] = name;
    return name;
  }
}

function same(name: string, b: Uint8Array, start: number): boolean {
  for (let i = name.length - 1; i >= 0; i--) if (name.charCodeAt(i) !== b[start + i]) return false;
  return true;
}

/** Each byte as one character. */
export function ascii(b: Uint8Array, start: number, end: number): string {
  return String.fromCharCode.apply(null, b.subarray(start, end) as unknown as number[]);
}
