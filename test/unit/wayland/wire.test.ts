import { describe, expect, test } from "bun:test";
import {
  encodeError,
  encodeGlobal,
  encodeMessage,
  mayBeBind,
  opcodeAt,
  parseBind,
  parseGlobal,
  printable,
  readU32,
  sizeAt,
} from "../../../src/protocol/wayland/wire.ts";

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"));

/** As libwayland 1.21 sends it: wl_registry#2.bind(7, "wl_shm", 1, new id 3). */
const BIND_SHM = hex("02000000 00002000 07000000 07000000 776c5f73686d0000 01000000 03000000");

describe("a header", () => {
  test("is an object id, an opcode and a size", () => {
    const sync = hex("01000000 00000c00 02000000");
    expect([readU32(sync, 0), opcodeAt(sync, 0), sizeAt(sync, 0)]).toEqual([1, 0, 12]);
  });
  test("with the highest id is read unsigned", () => {
    expect(readU32(hex("ffffffff"), 0)).toBe(0xffffffff);
  });
  test.each([0, 4, 7, 9, 10, 11, 65535])("that claims %d bytes belongs to no message", (size) => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint16(6, size, true);
    expect(sizeAt(bytes, 0)).toBe(0);
  });
  test("may claim 8 and 65,532 bytes", () => {
    expect(sizeAt(hex("01000000 00000800"), 0)).toBe(8);
    expect(sizeAt(hex("01000000 0000fcff"), 0)).toBe(65532);
  });
});

describe("a bind", () => {
  test("gives name, interface, version and new id", () => {
    expect(parseBind(BIND_SHM, 0, BIND_SHM.length)).toEqual({ name: 7, interface: "wl_shm", version: 1, newId: 3 });
  });
  test("is found inside a buffer, and what follows it there is not read", () => {
    const buffer = new Uint8Array(BIND_SHM.length + 20).fill(0xff);
    buffer.set(BIND_SHM, 5);
    expect(parseBind(buffer, 5, BIND_SHM.length)?.interface).toBe("wl_shm");
  });
  test("cut anywhere is none", () => {
    for (let size = 0; size < BIND_SHM.length; size++) expect(parseBind(BIND_SHM, 0, size)).toBeUndefined();
  });
  test("with bytes behind its last argument is none, though libwayland overlooks them", () => {
    const longer = new Uint8Array([...BIND_SHM, 0, 0, 0, 0]);
    expect(parseBind(longer, 0, longer.length)).toBeUndefined();
    expect(mayBeBind(longer, 0, longer.length)).toBe(true);
  });
  test.each([
    ["without a NUL at its end", (b: Uint8Array) => (b[22] = 0x61)],
    ["with a NUL inside", (b: Uint8Array) => (b[18] = 0)],
    ["of length 0, which is null", (b: Uint8Array) => (b[12] = 0)],
    ["longer than the message", (b: Uint8Array) => (b[12] = 200)],
    ["of length 2^32 - 1", (b: Uint8Array) => b.fill(0xff, 12, 16)],
    ["of length 2^31", (b: Uint8Array) => (b[15] = 0x80)],
  ])("with a string %s is none", (_what, spoil) => {
    const bytes = BIND_SHM.slice();
    spoil(bytes);
    expect(parseBind(bytes, 0, bytes.length)).toBeUndefined();
  });
  test("that an older libwayland would still take is told from what nobody could", () => {
    const nul = BIND_SHM.slice();
    nul[18] = 0;
    expect(mayBeBind(nul, 0, nul.length)).toBe(true);
    const empty = BIND_SHM.slice();
    empty[12] = 0;
    expect(mayBeBind(empty, 0, empty.length)).toBe(true);
    const tooLong = BIND_SHM.slice();
    tooLong[12] = 200;
    expect(mayBeBind(tooLong, 0, tooLong.length)).toBe(false);
    expect(mayBeBind(hex("02000000 00000800"), 0, 8)).toBe(false);
    expect(mayBeBind(encodeMessage(2, 0, 5), 0, 12)).toBe(false);
  });
});

describe("a global", () => {
  const global = { name: 12, interface: "wl_compositor", version: 5 };
  test("is read as it was written", () => {
    const bytes = encodeGlobal(9, global);
    expect(parseGlobal(bytes, 0, bytes.length)).toEqual(global);
    expect([readU32(bytes, 0), sizeAt(bytes, 0), bytes.length]).toEqual([9, 36, 36]);
  });
  test("with a name of every length modulo 4 is padded to whole words", () => {
    for (const name of ["a", "ab", "abc", "abcd", "abcde"]) {
      const bytes = encodeGlobal(2, { name: 1, interface: name, version: 1 });
      expect(bytes.length % 4).toBe(0);
      expect(parseGlobal(bytes, 0, bytes.length)?.interface).toBe(name);
    }
  });
  test("cut anywhere is none", () => {
    const bytes = encodeGlobal(9, global);
    for (let size = 0; size < bytes.length; size++) expect(parseGlobal(bytes, 0, size)).toBeUndefined();
  });
  test("whose name has no end is not kept whole", () => {
    const bytes = encodeGlobal(9, { ...global, interface: "x".repeat(60_000) });
    expect(parseGlobal(bytes, 0, bytes.length)?.interface).toBe("x".repeat(256));
  });
  test("whose name differs in one high byte has another name", () => {
    const bytes = encodeGlobal(9, global);
    bytes[16] = 0xf7;
    expect(parseGlobal(bytes, 0, bytes.length)?.interface).toBe("\xf7l_compositor");
  });
});

describe("an error", () => {
  test("is wl_display's event 0 with object, code and text", () => {
    const bytes = encodeError(3, 0, "no");
    expect(bytes).toEqual(hex("01000000 00001800 03000000 00000000 03000000 6e6f0000"));
  });
  test("is cut at 127 characters as libwayland cuts it", () => {
    const bytes = encodeError(1, 1, "x".repeat(500));
    expect(readU32(bytes, 16)).toBe(128);
  });
  test("carries nothing that moves a terminal's cursor", () => {
    expect(printable("a\x1b[2Jb\xe9\n", 100)).toBe("a?[2Jb??");
  });
});

test("a message above 65,532 bytes can't be made", () => {
  expect(() => encodeMessage(1, 0, "x".repeat(65_532))).toThrow(RangeError);
  expect(encodeMessage(1, 0, "x".repeat(65_532 - 8 - 4 - 1)).length).toBe(65_532);
});
