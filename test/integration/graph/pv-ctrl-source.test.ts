import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PvCtrlSource } from "../../../src/graph/pv-ctrl-source.ts";
import type { FetchResult } from "../../../src/graph/source.ts";
import { PvCtrl, type PvCtrlMode } from "../../support/pv-ctrl.ts";

const ENTRY = {
  type: "unix",
  name: "raw",
  consumer: "app",
  consumer_pid: 12,
  provider: "backend",
  provider_pid: 34,
  target: "/run/raw.sock",
  socket: "/run/example/raw.sock",
};
const NEVER = new AbortController().signal;

let directory: string;
let socket: string;
let ctrl: PvCtrl | undefined;
let source: PvCtrlSource;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-ctrl-"));
  socket = join(directory, "pv-ctrl");
  source = new PvCtrlSource(socket, 2000);
});
afterEach(async () => {
  source.close();
  await ctrl?.close();
  ctrl = undefined;
  rmSync(directory, { recursive: true, force: true });
});

async function serve(mode: Partial<PvCtrlMode> = {}, graph: unknown = [ENTRY]): Promise<PvCtrl> {
  ctrl = await PvCtrl.start({ socket, mode });
  ctrl.setGraph(graph);
  return ctrl;
}
function failure(result: FetchResult): string {
  return result.kind === "unavailable" ? `${result.cause}: ${result.message.replace(socket, "SOCKET")}` : result.kind;
}

describe("the graph from pv-ctrl", () => {
  test.each<[string, Partial<PvCtrlMode>]>([
    ["HTTP/1.1 with a length", {}],
    ["HTTP/1.1 with a length, byte by byte", { chunk: 1 }],
    ["HTTP/1.1 in chunks, seven bytes a write", { framing: "chunked", chunk: 7 }],
    ["HTTP/1.0 that ends at EOF", { version: "1.0" }],
    ["HTTP/1.0 that ends at EOF, byte by byte", { version: "1.0", chunk: 1 }],
    ["HTTP/1.1 with pauses inside", { chunk: 60, chunkDelayMs: 20 }],
  ])("arrives by %s", async (_, mode) => {
    await serve(mode);
    const result = await source.fetch(NEVER);
    expect(failure(result)).toBe("graph");
    expect(result.kind === "graph" && result.graph.links.map((link) => link.consumer)).toEqual(["app"]);
    expect(ctrl?.refusedHosts).toBe(0);
  });

  test("is the same object while its bytes are the same, and a new one after a change", async () => {
    const server = await serve();
    const [first, second] = [await source.fetch(NEVER), await source.fetch(NEVER)];
    server.setContainer("app", 99);
    const third = await source.fetch(NEVER);
    if (first.kind !== "graph" || second.kind !== "graph" || third.kind !== "graph") throw new Error(failure(third));
    expect(second.graph).toBe(first.graph);
    expect(third.graph).not.toBe(first.graph);
    expect(third.graph.links[0]?.consumerPid).toBe(99);
  });

  test.each<[string, Partial<PvCtrlMode>, unknown, string]>([
    [
      "500",
      { notLoaded: 1 },
      [],
      'not-ready: Cannot read the graph from SOCKET: GET /xconnect-graph: status 500 "State not loaded yet"',
    ],
    [
      "404",
      { status: 404 },
      [],
      'disabled: Cannot read the graph from SOCKET: GET /xconnect-graph: status 404 "xconnect not enabled at build time": this Pantavisor is built without it',
    ],
    [
      "403",
      { status: 403 },
      [],
      'rejected: Cannot read the graph from SOCKET: GET /xconnect-graph: status 403 "Request not sent from mgmt platform"',
    ],
    [
      "a connection closed without a word",
      { hangUp: true },
      [],
      "closed: Cannot read the graph from SOCKET: the connection was closed without an answer",
    ],
    [
      "an answer cut below its length",
      { cutAt: 20 },
      [ENTRY],
      "cut: Cannot read the graph from SOCKET: the answer was cut (ECONNRESET)",
    ],
    [
      "a cut chunked answer",
      { cutAt: 20, framing: "chunked" },
      [ENTRY],
      "cut: Cannot read the graph from SOCKET: the answer was cut (ECONNRESET)",
    ],
    [
      "an object",
      {},
      { links: [] },
      "malformed: Cannot read the graph from SOCKET: the graph is an object, expected an array",
    ],
  ])("is unavailable, with its own message, for %s", async (_, mode, graph, message) => {
    await serve(mode, graph);
    expect(failure(await source.fetch(NEVER))).toBe(message);
  });

  test("is unavailable for an HTTP/1.0 answer cut in its JSON: EOF alone makes no graph", async () => {
    await serve({ version: "1.0", cutAt: 30 });
    expect(failure(await source.fetch(NEVER))).toStartWith(
      "malformed: Cannot read the graph from SOCKET: the graph is not JSON",
    );
  });

  test("is unavailable without a socket, and behind one that nobody listens on", async () => {
    expect(failure(await source.fetch(NEVER))).toBe("absent: Cannot read the graph from SOCKET: connect: ENOENT");
    writeFileSync(socket, "");
    expect(failure(await source.fetch(NEVER))).toBe(
      "refused: Cannot read the graph from SOCKET: connect: ECONNREFUSED",
    );
  });

  test("is unavailable when no answer comes within the deadline, and the connection is given up", async () => {
    const server = await serve({ silent: true });
    source = new PvCtrlSource(socket, 100);
    expect(failure(await source.fetch(NEVER))).toBe(
      "timeout: Cannot read the graph from SOCKET: no whole answer within 0.1 s",
    );
    await Bun.sleep(20);
    expect(server.connections).toBe(0);
  });

  test("is unavailable when its body never ends, within the same deadline", async () => {
    await serve({ chunk: 20, chunkDelayMs: 50 });
    source = new PvCtrlSource(socket, 100);
    expect(failure(await source.fetch(NEVER))).toStartWith("timeout:");
  });

  test.each<[string, Partial<PvCtrlMode>]>([
    ["told by its length", {}],
    ["told only by reading", { version: "1.0" }],
  ])("is refused beyond 10 MB, %s", async (_, mode) => {
    await serve(mode, () => new Uint8Array(10 * 1024 * 1024 + 1).fill(0x20));
    expect(failure(await source.fetch(NEVER))).toBe(
      "too-large: Cannot read the graph from SOCKET: the answer has more than 10485760 bytes",
    );
  });

  test("leaves no connection open that a later pv-ctrl could not know of", async () => {
    const server = await serve();
    await source.fetch(NEVER);
    await Bun.sleep(50);
    expect(server.connections).toBe(0);
  });

  test("waits through seconds of silence", async () => {
    await serve({ silenceMs: 1200 });
    expect(failure(await source.fetch(NEVER))).toBe("graph");
  });

  test("is aborted by its caller and by close, at once", async () => {
    await serve({ silent: true });
    const caller = new AbortController();
    setTimeout(() => caller.abort(), 20);
    expect(await source.fetch(caller.signal)).toEqual({ kind: "aborted" });
    setTimeout(() => source.close(), 20);
    expect(await source.fetch(NEVER)).toEqual({ kind: "aborted" });
  });

  test("leaves no fd behind, whatever the answers were", async () => {
    const server = await serve();
    await source.fetch(NEVER);
    await Bun.sleep(50);
    const before = readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 30; round++) {
      server.setMode({ hangUp: round % 3 === 0, cutAt: round % 3 === 1 ? 10 : undefined, notLoaded: round % 2 });
      await source.fetch(NEVER);
    }
    await Bun.sleep(100);
    expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
  });
});

describe("the pv-ctrl double", () => {
  async function raw(request: string): Promise<string> {
    let answer = "";
    const done = Promise.withResolvers<void>();
    await Bun.connect({
      unix: socket,
      socket: {
        open: (s) => void s.write(request),
        data: (_, bytes) => {
          answer += bytes.toString();
        },
        close: () => done.resolve(),
      },
    });
    await Promise.race([done.promise, Bun.sleep(150)]);
    return answer;
  }

  test("closes without a word for a foreign Host, and answers an empty one", async () => {
    const server = await serve();
    expect(await raw("GET /xconnect-graph HTTP/1.1\r\nHost: example.com\r\n\r\n")).toBe("");
    expect(server.refusedHosts).toBe(1);
    expect(await raw("GET /xconnect-graph HTTP/1.1\r\nHost:\r\n\r\n")).toStartWith("HTTP/1.1 200 ");
  });
  test("keeps a connection of HTTP/1.1 open for the next request", async () => {
    await serve();
    const request = "GET /xconnect-graph HTTP/1.1\r\nHost: localhost\r\n\r\n";
    expect((await raw(request + request)).match(/HTTP\/1.1 200/g)).toHaveLength(2);
  });
  test.each(["GET /xconnect-graph/ HTTP/1.1", "POST /xconnect-graph HTTP/1.1", "GET /nope HTTP/1.1"])(
    "answers 400 to %s",
    async (line) => {
      await serve();
      expect(await raw(`${line}\r\nHost: localhost\r\n\r\n`)).toStartWith("HTTP/1.1 400 ");
    },
  );
  test("is late when it is told to", async () => {
    ctrl = await PvCtrl.start({ socket, lateMs: 80 });
    expect(failure(await source.fetch(NEVER))).toStartWith("absent:");
    await Bun.sleep(150);
    expect(failure(await source.fetch(NEVER))).toBe("graph");
  });
});
