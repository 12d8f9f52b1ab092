import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pvx } from "../../../src/sys/shim.ts";

const here = (path: string) => readFileSync(join(import.meta.dir, "../../..", path), "utf8");

test("every function of the shim is bound, by one FFI or the other, and none that is not there", () => {
  const source = here("native/pvx.c") + here("native/http-head.c");
  const made = [...source.matchAll(/^API \w+ (pvx_\w+)\(/gm)].map((found) => found[1]!).sort();
  const cold = [...here("src/sys/koffi.ts").matchAll(/"int (pvx_\w+)\(/g)].map((found) => found[1]!);
  expect([...new Set([...Object.keys(pvx), ...cold])].sort()).toEqual(made);
});

test("the shim needs no library and no executable stack", () => {
  const bytes = readFileSync(join(import.meta.dir, "../../../build/native/libpvx.so"));
  expect(bytes.includes("GLIBC_")).toBe(false);
  expect(bytes.includes("libc.so")).toBe(false);
  // Elf64_Phdr of PT_GNU_STACK (elf(5)): flags RW, not RWX.
  const [table, size, count] = [Number(bytes.readBigUInt64LE(32)), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  const headers = Array.from({ length: count }, (_, i) => table + i * size);
  const stack = headers.find((at) => bytes.readUInt32LE(at) === 0x6474_e551);
  expect(stack !== undefined && bytes.readUInt32LE(stack + 4)).toBe(6);
});
