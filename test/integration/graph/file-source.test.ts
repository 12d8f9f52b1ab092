import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileSource } from "../../../src/graph/file-source.ts";
import type { FetchResult } from "../../../src/graph/source.ts";

const NEVER = new AbortController().signal;
const ENTRY = { type: "unix", name: "n", consumer: "a", consumer_pid: 1, provider_pid: 2, socket: "/s" };

let directory: string;
let path: string;
let source: FileSource;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-file-"));
  path = join(directory, "graph.json");
  source = new FileSource(path);
});
afterEach(() => {
  source.close();
  rmSync(directory, { recursive: true, force: true });
});
function failure(result: FetchResult): string {
  return result.kind === "unavailable" ? `${result.cause}: ${result.message.replace(path, "FILE")}` : result.kind;
}
/** Milliseconds until the source says that it changed. */
async function noticed(change: () => void, withinMs = 3000): Promise<number> {
  const start = performance.now();
  const seen = Promise.withResolvers<number>();
  source.onChange(() => seen.resolve(performance.now() - start));
  change();
  return await Promise.race([seen.promise, Bun.sleep(withinMs).then(() => Number.POSITIVE_INFINITY)]);
}

describe("the graph from a file", () => {
  test("is read, and the same object while its bytes are the same", async () => {
    writeFileSync(path, JSON.stringify([ENTRY]));
    const [first, second] = [await source.fetch(NEVER), await source.fetch(NEVER)];
    if (first.kind !== "graph" || second.kind !== "graph") throw new Error(failure(first));
    expect(first.graph.links[0]?.consumer).toBe("a");
    expect(second.graph).toBe(first.graph);
  });

  test("is unavailable, each in its own words, while it is absent, cut, huge, a directory or a fifo", async () => {
    expect(failure(await source.fetch(NEVER))).toBe("absent: Cannot read the graph from FILE: open: ENOENT");
    writeFileSync(path, "[{");
    expect(failure(await source.fetch(NEVER))).toStartWith(
      "malformed: Cannot read the graph from FILE: the graph is not JSON",
    );
    truncateSync(path, 10 * 1024 * 1024 + 1);
    expect(failure(await source.fetch(NEVER))).toBe(
      "too-large: Cannot read the graph from FILE: has more than 10485760 bytes",
    );
    rmSync(path);
    mkdirSync(path);
    expect(failure(await source.fetch(NEVER))).toBe("error: Cannot read the graph from FILE: is not a regular file");
    rmSync(path, { recursive: true });
    Bun.spawnSync(["mkfifo", path]);
    expect(failure(await source.fetch(NEVER))).toBe("error: Cannot read the graph from FILE: is not a regular file");
  });

  test("is noticed at once when it is rewritten in place", async () => {
    writeFileSync(path, "[]");
    expect(await noticed(() => writeFileSync(path, JSON.stringify([ENTRY])))).toBeLessThan(500);
  });
  test("is noticed at once when another file takes its place", async () => {
    writeFileSync(path, "[]");
    writeFileSync(`${path}.new`, "[ ]");
    expect(await noticed(() => renameSync(`${path}.new`, path))).toBeLessThan(500);
  });
  test("is noticed when it appears, and when its directory does", async () => {
    expect(await noticed(() => writeFileSync(path, "[]"))).toBeLessThan(500);
    const deep = join(directory, "later");
    source.close();
    source = new FileSource(join(deep, "graph.json"));
    const change = () => {
      mkdirSync(deep);
      writeFileSync(join(deep, "graph.json"), "[]");
    };
    expect(await noticed(change)).toBeLessThan(2500);
  });
  test("is noticed at once again after its directory was replaced", async () => {
    const inner = join(directory, "inner");
    mkdirSync(inner);
    source.close();
    source = new FileSource(join(inner, "graph.json"));
    let changes = 0;
    source.onChange(() => changes++);
    const next = async (withinMs: number) => {
      const before = changes;
      const start = performance.now();
      while (changes === before && performance.now() - start < withinMs) await Bun.sleep(2);
      return performance.now() - start;
    };
    renameSync(inner, join(directory, "old"));
    mkdirSync(inner);
    writeFileSync(join(inner, "graph.json"), "[]");
    expect(await next(2500)).toBeLessThan(2500);
    writeFileSync(join(inner, "graph.json"), "[ ]");
    expect(await next(2500)).toBeLessThan(500);
  });

  test("is not told of for another file of its directory, nor for being read", async () => {
    writeFileSync(path, "[]");
    const change = () => {
      writeFileSync(join(directory, "other"), "x");
      void source.fetch(NEVER);
    };
    expect(await noticed(change, 300)).toBe(Number.POSITIVE_INFINITY);
  });
});
