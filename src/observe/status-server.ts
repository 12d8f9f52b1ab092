/**
 * HTTP on `<state-dir>/status.sock`, mode 0600: what the daemon is doing, for people
 * and for scrapers on the device.
 */
import { chmodSync, rmSync, unlinkSync } from "node:fs";
import type { AuditEvent, AuditStream } from "./audit.ts";
import { OPEN_METRICS_TYPE } from "./open-metrics.ts";

export interface StatusProviders {
  status(): unknown;
  metrics(): string;
  /** What links in learn mode have used, as a policy. */
  learned(): unknown;
  /** Resolves when the new policy and graph are in force; the answer tells what was wrong, if anything. */
  reload(): Promise<unknown>;
  readonly audit: AuditStream;
}

/** Requests carry no body that we read. */
const BODY_MAX = 1024;
/** Records queued for one listener that does not read; then it is cut off. */
const BACKLOG_MAX = 1024;

const json = (value: unknown, status = 200): Response =>
  new Response(`${JSON.stringify(value)}\n`, { status, headers: { "content-type": "application/json" } });

/** NDJSON: what is remembered, then each new record as it comes. */
function auditResponse(audit: AuditStream, follow: boolean, closing: Set<() => void>): Response {
  const line = (event: AuditEvent) => `${JSON.stringify(event)}\n`;
  const headers = { "content-type": "application/x-ndjson" };
  if (!follow) return new Response(audit.recent().map(line).join(""), { headers });
  let stop: (() => void) | undefined;
  const stream = new ReadableStream<string>(
    {
      start(controller) {
        for (const event of audit.recent()) controller.enqueue(line(event));
        const unlisten = audit.listen((event) => {
          if ((controller.desiredSize ?? 0) <= 0) stop?.();
          else controller.enqueue(line(event));
        });
        if (unlisten === undefined) {
          controller.close();
          return;
        }
        stop = () => {
          unlisten();
          closing.delete(stop!);
          try {
            controller.close();
          } catch {
            // The listener has gone by itself.
          }
        };
        closing.add(stop);
      },
      cancel() {
        stop?.();
      },
    },
    { highWaterMark: BACKLOG_MAX },
  );
  return new Response(stream, { headers });
}

export class StatusServer {
  private readonly server: ReturnType<typeof Bun.serve>;
  private readonly path: string;
  private readonly streams = new Set<() => void>();

  constructor(path: string, providers: StatusProviders) {
    this.path = path;
    // The state directory is ours and locked: what stands there is a killed daemon's.
    rmSync(path, { force: true });
    this.server = Bun.serve({
      unix: path,
      maxRequestBodySize: BODY_MAX,
      fetch: (request, server) => this.answer(request, providers, server),
      error: (error) => json({ error: "Cannot answer", detail: error.message }, 500),
    });
    chmodSync(path, 0o600);
  }

  private async answer(
    request: Request,
    providers: StatusProviders,
    server: { timeout(r: Request, s: number): void },
  ): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const wants = `${request.method} ${pathname}`;
    switch (wants) {
      case "GET /status":
        return json(providers.status());
      case "GET /metrics":
        return new Response(providers.metrics(), { headers: { "content-type": OPEN_METRICS_TYPE } });
      case "GET /audit":
        server.timeout(request, 0);
        return auditResponse(providers.audit, searchParams.get("follow") !== "0", this.streams);
      case "GET /learned":
        return json(providers.learned());
      case "POST /reload":
        return json(await providers.reload());
    }
    const known = ["/status", "/metrics", "/audit", "/learned", "/reload"].includes(pathname);
    return json(
      {
        error: known ? "Method not allowed" : "Not found",
        detail: "GET /status, GET /metrics, GET /audit, GET /learned, POST /reload",
      },
      known ? 405 : 404,
    );
  }

  close(): void {
    for (const stop of [...this.streams]) stop();
    this.server.stop(true);
    try {
      unlinkSync(this.path);
    } catch {
      // Bun may have removed it already.
    }
  }
}
