/** 32-bit integers of either byte order in raw bytes. */

export function readU32(b: Uint8Array, at: number, littleEndian: boolean): number {
  return littleEndian
    ? (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0
    : (b[at + 3]! | (b[at + 2]! << 8) | (b[at + 1]! << 16) | (b[at]! << 24)) >>> 0;
}

export function writeU32(b: Uint8Array, at: number, littleEndian: boolean, value: number): void {
  if (littleEndian) {
    b[at] = value;
    b[at + 1] = value >>> 8;
    b[at + 2] = value >>> 16;
    b[at + 3] = value >>> 24;
  } else {
    b[at + 3] = value;
    b[at + 2] = value >>> 8;
    b[at + 1] = value >>> 16;
    b[at] = value >>> 24;
  }
}
