/**
 * A pv-ctrl for tests and the demo, with the traits of the real one as they were
 * observed: a late socket, 500 before the state is loaded, seconds of silence, the Host check
 * that closes without a word, HTTP/1.1 with a length or HTTP/1.0 that ends at EOF, errors
 * as `{"Error": ...}`, pids of dead containers that stay. It writes its own bytes (node:net), so
 * it can also cut, split and lie.
 *
 *     bun test/support/pv-ctrl.ts --socket PATH --graph FILE [--late MS] [--http 1.0|1.1] [--chunk BYTES]
 *
 * reads FILE at each request and ends with SIGTERM.
 */
import { readFileSync, unlinkSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { parseArgs } from "node:util";

export interface PvCtrlMode {
  /** 1.1: keep-alive with Content-Length. 1.0: no length, the end is EOF. */
  readonly version: "1.0" | "1.1";
  /** How the body of a 1.1 answer is framed. */
  readonly framing: "length" | "chunked";
  /** Bytes of one write; 0: all at once. */
  readonly chunk: number;
  /** Milliseconds between two writes. */
  readonly chunkDelayMs: number;
  /** Milliseconds from a request to its answer (5 s at boot, up to 28 s at a shutdown). */
  readonly silenceMs: number;
  /** So many requests get 500 "State not loaded yet" first. */
  readonly notLoaded: number;
  /** Answer every request with this status instead. */
  readonly status: number | undefined;
  /** Close after so many bytes of the body; the length still promises all of it. */
  readonly cutAt: number | undefined;
  /** Close each connection without a word. */
  readonly hangUp: boolean;
  /** Take requests and never answer. */
  readonly silent: boolean;
}

const USUAL: PvCtrlMode = {
  version: "1.1",
  framing: "length",
  chunk: 0,
  chunkDelayMs: 0,
  silenceMs: 0,
  notLoaded: 0,
  status: undefined,
  cutAt: undefined,
  hangUp: false,
  silent: false,
};

const ERRORS: Readonly<Record<number, string>> = {
  400: "Request not valid",
  403: "Request not sent from mgmt platform",
  404: "xconnect not enabled at build time",
  500: "State not loaded yet",
};

export interface PvCtrlOptions {
  readonly socket: string;
  /** The socket appears so many milliseconds after `start`. */
  readonly lateMs?: number;
  readonly mode?: Partial<PvCtrlMode>;
}

/** Any JSON: tests also serve what is no graph. A function is asked at each request. */
export type ServedGraph = unknown | (() => string | Uint8Array);

export class PvCtrl {
  readonly socket: string;
  /** Requests for the graph so far, and when each came (performance.now()). */
  readonly requests: number[] = [];
  /** Connections that were closed for their Host header. */
  refusedHosts = 0;
  private readonly server: Server;
  private readonly open = new Set<Socket>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private mode: PvCtrlMode;
  private graph: ServedGraph = [];
  private readonly pids = new Map<string, number>();
  private notLoaded: number;

  private constructor(options: PvCtrlOptions) {
    this.socket = options.socket;
    this.mode = { ...USUAL, ...options.mode };
    this.notLoaded = this.mode.notLoaded;
    this.server = createServer((socket) => this.connected(socket));
  }

  /** Resolves once the socket is there, or at once when it is to be late. */
  static async start(options: PvCtrlOptions): Promise<PvCtrl> {
    const ctrl = new PvCtrl(options);
    if (options.lateMs === undefined) await ctrl.listen();
    else ctrl.later(options.lateMs, () => void ctrl.listen());
    return ctrl;
  }

  setMode(change: Partial<PvCtrlMode>): void {
    this.mode = { ...this.mode, ...change };
    if (change.notLoaded !== undefined) this.notLoaded = change.notLoaded;
  }
  setGraph(graph: ServedGraph): void {
    this.graph = graph;
  }
  /**
   * The container's init is this process from the next answer on: wherever the graph names it
   * as consumer or provider, its pid is this one. -1: not started yet. A container that stops keeps its old
   * pid until it is started again, as in the real graph, so there is no call for stopping.
   */
  setContainer(name: string, pid: number): void {
    this.pids.set(name, pid);
  }
  get connections(): number {
    return this.open.size;
  }

  async close(): Promise<void> {
    for (const timer of this.timers) clearTimeout(timer);
    for (const socket of this.open) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private async listen(): Promise<void> {
    try {
      unlinkSync(this.socket);
    } catch {
      // Nothing left behind.
    }
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(this.socket, resolve);
    });
  }

  private later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      run();
    }, ms);
    this.timers.add(timer);
  }

  private connected(socket: Socket): void {
    this.open.add(socket);
    socket.on("close", () => this.open.delete(socket));
    socket.on("error", () => socket.destroy());
    if (this.mode.hangUp) {
      socket.destroy();
      return;
    }
    let head = "";
    socket.on("data", (bytes) => {
      head += bytes.toString("latin1");
      for (let end = head.indexOf("\r\n\r\n"); end >= 0; end = head.indexOf("\r\n\r\n")) {
        const request = head.slice(0, end);
        head = head.slice(end + 4);
        this.request(socket, request);
      }
    });
  }

  private request(socket: Socket, head: string): void {
    const [line = "", ...headers] = head.split("\r\n");
    const host =
      headers
        .find((header) => /^host:/i.test(header))
        ?.slice(5)
        .trim() ?? "";
    if (host !== "" && host !== "localhost") {
      this.refusedHosts++;
      socket.destroy();
      return;
    }
    this.requests.push(performance.now());
    if (this.mode.silent) return;
    const closeAfter = headers.some((header) => /^connection:\s*close$/i.test(header));
    const [method, path] = line.split(" ");
    this.later(this.mode.silenceMs, () => {
      if (method !== "GET" || path !== "/xconnect-graph") this.error(socket, 400, closeAfter);
      else if (this.notLoaded > 0) {
        this.notLoaded--;
        this.error(socket, 500, closeAfter);
      } else if (this.mode.status !== undefined) this.error(socket, this.mode.status, closeAfter);
      else this.answer(socket, 200, this.body(), closeAfter);
    });
  }

  private error(socket: Socket, status: number, closeAfter: boolean): void {
    this.answer(socket, status, Buffer.from(JSON.stringify({ Error: ERRORS[status] ?? "Error" })), closeAfter);
  }

  private body(): Buffer {
    const served = typeof this.graph === "function" ? (this.graph as () => string | Uint8Array)() : this.graph;
    if (typeof served === "string" || served instanceof Uint8Array) return Buffer.from(served as Uint8Array);
    const withPids = Array.isArray(served) ? served.map((entry) => this.withPids(entry)) : served;
    return Buffer.from(JSON.stringify(withPids));
  }
  private withPids(entry: unknown): unknown {
    if (typeof entry !== "object" || entry === null) return entry;
    const { consumer, provider } = entry as { consumer?: string; provider?: string };
    const changed: Record<string, unknown> = { ...entry };
    for (const [name, key] of [
      [consumer, "consumer_pid"],
      [provider, "provider_pid"],
    ] as const) {
      const pid = name === undefined ? undefined : this.pids.get(name);
      if (pid !== undefined) changed[key] = pid;
    }
    return changed;
  }

  private answer(socket: Socket, status: number, body: Buffer, closeAfter: boolean): void {
    const { version, framing } = this.mode;
    const reason = status === 200 ? "OK" : "Error";
    let head = `HTTP/${version} ${status} ${reason}\r\nContent-Type: application/json\r\n`;
    let payload = body;
    if (version === "1.1" && framing === "length") head += `Content-Length: ${body.length}\r\n`;
    if (version === "1.1" && framing === "chunked") {
      head += "Transfer-Encoding: chunked\r\n";
      payload = Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from("\r\n0\r\n\r\n")]);
    }
    const start = Buffer.from(`${head}\r\n`);
    const cut = this.mode.cutAt === undefined ? payload : payload.subarray(0, this.mode.cutAt);
    const ends = version === "1.0" || closeAfter || this.mode.cutAt !== undefined;
    this.write(socket, Buffer.concat([start, cut]), ends);
  }

  private write(socket: Socket, bytes: Buffer, ends: boolean): void {
    const { chunk, chunkDelayMs } = this.mode;
    if (socket.destroyed) return;
    if (chunk <= 0 || bytes.length <= chunk) {
      if (ends) socket.end(bytes);
      else socket.write(bytes);
      return;
    }
    socket.write(bytes.subarray(0, chunk));
    this.later(chunkDelayMs, () => this.write(socket, bytes.subarray(chunk), ends));
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      socket: { type: "string" },
      graph: { type: "string" },
      late: { type: "string" },
      http: { type: "string", default: "1.1" },
      chunk: { type: "string", default: "0" },
    },
  });
  const { socket, graph } = values;
  if (socket === undefined || graph === undefined) {
    process.stderr.write("usage: pv-ctrl.ts --socket PATH --graph FILE [--late MS] [--http 1.0|1.1] [--chunk BYTES]\n");
    process.exit(2);
  }
  const mode = { version: values.http === "1.0" ? ("1.0" as const) : ("1.1" as const), chunk: Number(values.chunk) };
  const late = values.late === undefined ? {} : { lateMs: Number(values.late) };
  const ctrl = await PvCtrl.start({ socket, mode, ...late });
  ctrl.setGraph(() => readFileSync(graph));
  process.stdout.write(`pv-ctrl: ${graph} on ${socket}\n`);
  process.on("SIGTERM", () => void ctrl.close().then(() => process.exit(0)));
}

if (import.meta.main) await main();
