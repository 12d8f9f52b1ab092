import { describe, expect, test } from "bun:test";
import { Framer } from "../../../src/protocol/wayland/framer.ts";
import { encodeMessage } from "../../../src/protocol/wayland/wire.ts";

describe("a cut message", () => {
  test("is whole once its last byte has come, however it was cut", () => {
    const message = encodeMessage(7, 2, 1, "hello", 9);
    for (let cut = 1; cut < message.length; cut++) {
      const framer = new Framer();
      framer.keep(message, 0, cut);
      expect(framer.carried).toBe(cut);
      const rest = message.slice(cut);
      expect(framer.fill(rest, rest.length)).toEqual({ taken: rest.length, state: "whole" });
      expect(framer.bytes).toEqual(message);
    }
  });
  test("takes nothing of the message behind it", () => {
    const message = encodeMessage(7, 2, 1);
    const framer = new Framer();
    framer.keep(message, 0, 3);
    const rest = new Uint8Array([...message.slice(3), 1, 2, 3]);
    expect(framer.fill(rest, rest.length)).toEqual({ taken: message.length - 3, state: "whole" });
  });
  test("byte by byte up to 65,532 bytes is the same message", () => {
    const message = encodeMessage(7, 2, "y".repeat(65_532 - 13));
    const framer = new Framer();
    framer.keep(message, 0, 1);
    for (let at = 1; at < message.length; at++) {
      const { taken, state } = framer.fill(message.subarray(at, at + 1), 1);
      if (taken !== 1 || state !== (at === message.length - 1 ? "whole" : "part"))
        throw new Error(`at ${at}: ${state}`);
    }
    expect(Buffer.compare(framer.bytes, message)).toBe(0);
  });
  test("does not change when the chunk it came with is written over", () => {
    const message = encodeMessage(7, 2, 42);
    const framer = new Framer();
    const chunk = message.slice();
    framer.keep(chunk, 0, 9);
    chunk.fill(0xee);
    const rest = message.slice(9);
    framer.fill(rest, rest.length);
    expect(framer.bytes).toEqual(message);
  });
  test("that claims an impossible size is malformed as soon as its header is whole", () => {
    const framer = new Framer();
    framer.keep(new Uint8Array([1, 0, 0, 0, 0, 0, 6]), 0, 7);
    expect(framer.fill(new Uint8Array([0, 9, 9]), 3)).toEqual({ taken: 1, state: "malformed" });
  });
  test("that is done with leaves room for the next one", () => {
    const framer = new Framer();
    const message = encodeMessage(7, 2, "z".repeat(5000));
    framer.keep(message, 0, 4000);
    framer.clear();
    expect(framer.carried).toBe(0);
    framer.keep(encodeMessage(1, 0, 2), 0, 5);
    expect(framer.bytes).toEqual(encodeMessage(1, 0, 2).slice(0, 5));
  });
});
