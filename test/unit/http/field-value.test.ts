import { expect, test } from "bun:test";
import { FIELD_VALUE } from "../../../src/protocol/http/characters.ts";
import { endOfValue } from "../../../src/protocol/http/field-value.ts";

/** What the four-bytes-a-step search must agree with. */
function slowly(bytes: Uint8Array, at: number, stop: number): number {
  let i = at;
  while (i < stop && FIELD_VALUE[bytes[i]!] !== 0) i++;
  return i;
}

test("every byte at every place of a word is found or passed as the table says", () => {
  for (const filler of [0x20, 0x61, 0x7e, 0x80, 0xff, 0x09])
    for (let byte = 0; byte < 256; byte++)
      for (let place = 0; place < 24; place++) {
        const bytes = new Uint8Array(24).fill(filler);
        bytes[place] = byte;
        for (const start of [0, 1, 3]) expect(endOfValue(bytes, start, 24)).toBe(slowly(bytes, start, 24));
      }
});

test("neighbours do not hide each other", () => {
  const edge = [0x00, 0x09, 0x0a, 0x0d, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0xff];
  for (const a of edge)
    for (const b of edge)
      for (const c of edge) {
        const bytes = new Uint8Array(20).fill(0x41);
        bytes.set([a, b, c], 8);
        expect(endOfValue(bytes, 0, 20)).toBe(slowly(bytes, 0, 20));
      }
});

test("a view into a larger buffer is read at its own place", () => {
  const whole = new Uint8Array(64).fill(0x41);
  whole[40] = 0x0d;
  const part = whole.subarray(10, 60);
  expect(endOfValue(part, 0, part.length)).toBe(30);
  expect(endOfValue(whole, 0, whole.length)).toBe(40);
});
