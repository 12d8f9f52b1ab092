/**
 * The graph from Pantavisor: `GET /xconnect-graph` over its control socket.
 *
 * pv-ctrl judges the cgroup of the process that connects, so this asks from the daemon
 * itself. A connection of its own for each request (`keepalive: false`): a kept one would
 * outlive a restarted pv-ctrl, and Bun's pool does not tell two socket paths apart.
 * Nothing is said of a failure here; the caller logs what changes.
 */
import { LastGraph } from "./last-graph.ts";
import { MAX_GRAPH_BYTES } from "./schema.ts";
import type { FetchResult, GraphSource, UnavailableCause } from "./source.ts";

/** During a shutdown pv-ctrl takes up to 28 s to answer; 25 % above that. */
export const PV_CTRL_DEADLINE_MS = 35_000;
/** pv-ctrl's errors are one short JSON object; of anything longer the rest is not read. */
const MAX_ERROR_BYTES = 4096;
/** What is shown of an error's text. */
const SHOWN_ERROR_CHARS = 200;

class BodyTooLarge extends Error {}

export class PvCtrlSource implements GraphSource {
  readonly name: string;
  private readonly path: string;
  private readonly deadlineMs: number;
  private readonly last = new LastGraph();
  private readonly closing = new AbortController();

  constructor(socketPath: string, deadlineMs: number = PV_CTRL_DEADLINE_MS) {
    this.name = `pv-ctrl ${socketPath}`;
    this.path = socketPath;
    this.deadlineMs = deadlineMs;
  }

  async fetch(signal: AbortSignal): Promise<FetchResult> {
    const deadline = AbortSignal.timeout(this.deadlineMs);
    const ended = AbortSignal.any([signal, this.closing.signal, deadline]);
    let answered = false;
    try {
      const response = await fetch("http://localhost/xconnect-graph", {
        unix: this.path,
        signal: ended,
        keepalive: false,
        redirect: "manual",
        decompress: false,
        headers: { "accept-encoding": "identity", accept: "application/json" },
      });
      answered = true;
      if (response.status !== 200) return await this.rejected(response);
      return this.last.read(await bodyOf(response, MAX_GRAPH_BYTES), this.where());
    } catch (error) {
      if (signal.aborted || this.closing.signal.aborted) return { kind: "aborted" };
      if (deadline.aborted) return this.unavailable("timeout", `no whole answer within ${this.deadlineMs / 1000} s`);
      return this.broken(error, answered);
    }
  }

  close(): void {
    this.closing.abort();
  }

  private where(): string {
    return `Cannot read the graph from ${this.path}`;
  }
  private unavailable(cause: UnavailableCause, what: string): FetchResult {
    return { kind: "unavailable", cause, message: `${this.where()}: ${what}` };
  }

  private async rejected(response: Response): Promise<FetchResult> {
    const { status } = response;
    const text = await errorText(response);
    const said = `GET /xconnect-graph: status ${status}${text === "" ? "" : ` ${JSON.stringify(text)}`}`;
    if (status === 404) return this.unavailable("disabled", `${said}: this Pantavisor is built without it`);
    return this.unavailable(status >= 500 ? "not-ready" : "rejected", said);
  }

  private broken(error: unknown, answered: boolean): FetchResult {
    if (error instanceof BodyTooLarge)
      return this.unavailable("too-large", `the answer has more than ${MAX_GRAPH_BYTES} bytes`);
    const code = (error as { code?: unknown }).code;
    if (answered) return this.unavailable("cut", `the answer was cut (${String(code ?? error)})`);
    switch (code) {
      case "ENOENT":
        return this.unavailable("absent", "connect: ENOENT");
      case "ECONNREFUSED":
        return this.unavailable("refused", "connect: ECONNREFUSED");
      case "ECONNRESET":
        return this.unavailable("closed", "the connection was closed without an answer");
      default:
        return this.unavailable("error", String(code ?? error));
    }
  }
}

/** The whole body, or `BodyTooLarge` as soon as it is known to be more than `max` bytes. */
async function bodyOf(response: Response, max: number): Promise<Uint8Array> {
  if (Number(response.headers.get("content-length") ?? 0) > max) {
    await response.body?.cancel();
    throw new BodyTooLarge();
  }
  const pieces: Uint8Array[] = [];
  let length = 0;
  const reader = response.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > max) {
      await reader.cancel();
      throw new BodyTooLarge();
    }
    pieces.push(value);
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}

/** `{"Error": "..."}` as its text; anything else as it is; "" when there is nothing to show. */
async function errorText(response: Response): Promise<string> {
  let text: string;
  try {
    text = Buffer.from(await bodyOf(response, MAX_ERROR_BYTES)).toString("utf8");
  } catch {
    return "";
  }
  try {
    const said = (JSON.parse(text) as { Error?: unknown } | null)?.Error;
    if (typeof said === "string") text = said;
  } catch {
    // Not pv-ctrl's form: shown as it came.
  }
  return text.slice(0, SHOWN_ERROR_CHARS);
}
