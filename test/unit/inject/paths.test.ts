import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { trustOf } from "../../../src/inject/file-systems.ts";
import { parseFact } from "../../../src/inject/journal-lines.ts";
import { newNookName } from "../../../src/inject/nook.ts";
import { sameIdentity } from "../../../src/inject/object-id.ts";
import { splitPath, temporaryName } from "../../../src/inject/settle.ts";

describe("a target", () => {
  test("is a directory and a name in it", () => {
    expect(splitPath("/run/nm/api.sock")).toEqual({ directory: "/run/nm", name: "api.sock" });
    expect(splitPath("/api.sock")).toEqual({ directory: "/", name: "api.sock" });
  });
  test("that names no entry of a directory is refused", () => {
    for (const path of ["/", "", "/run/", "/run/.", "/run/..", "relative/x"])
      expect(() => splitPath(path)).toThrow("does not name a place");
  });
});

describe("temporary names", () => {
  test("are never the same, and are such as the journal believes", () => {
    const names = Array.from({ length: 1_000 }, temporaryName);
    expect(new Set(names).size).toBe(1_000);
    const { nook, inner, recorded } = newNookName();
    expect(recorded).toBe(`${nook}/${inner}`);
    for (const temporary of [names[0]!, recorded]) {
      const line = { op: "hidden", id: 1, temporary };
      expect(parseFact(JSON.stringify(line))).toEqual(line as never);
    }
  });
});

describe("an object", () => {
  const object = { dev: "0:5", ino: "7", born: "1.5" };
  test("is the same by device, inode and birth, all three", () => {
    expect(sameIdentity(object, { ...object })).toBe(true);
    for (const other of [{ dev: "0:6" }, { ino: "8" }, { born: "1.6" }, { born: "" }])
      expect(sameIdentity(object, { ...object, ...other })).toBe(false);
  });
});

describe("a file system", () => {
  test("that answers from memory is touched without a guard, FUSE never, an overlay when the host has mounted it", () => {
    expect(trustOf(0x0102_1994, "0:999999")).toBe("local");
    expect(trustOf(0xef53, "8:1")).toBe("local");
    expect(trustOf(0x6573_5546, "0:999999")).toBe("fuse");
    expect(trustOf(0x794c_7630, "0:999999")).toBe("foreign");
    const mounted = readFileSync("/proc/self/mountinfo", "latin1").split("\n")[0]!.split(" ")[2]!;
    expect(trustOf(0x794c_7630, mounted)).toBe("local");
    expect(trustOf(0x6573_5546, mounted)).toBe("fuse");
  });
});
