/** A REST filter on a session without sockets. */
import { DEFAULT_TIMEOUTS, type RestConfig } from "../../src/mediators/rest/config.ts";
import { RestFilter } from "../../src/mediators/rest/filter.ts";
import { RestService } from "../../src/mediators/rest/service.ts";
import type { RestRule } from "../../src/policy/rest-schema.ts";
import { HTTP_LIMITS, type HttpLimits } from "../../src/protocol/http/refusal.ts";
import type { LinkIdentity } from "../../src/relay/filter.ts";
import { MemorySession } from "./memory-session.ts";

export interface RestOptions {
  readonly allow?: readonly RestRule[];
  readonly upgrade?: readonly string[];
  readonly accessLog?: boolean;
  readonly limits?: Partial<HttpLimits>;
  readonly carriedBytes?: number;
  readonly link?: Partial<LinkIdentity>;
}

export function restConfig({ allow, upgrade = ["websocket"], accessLog = false }: RestOptions = {}): RestConfig {
  return {
    provider: { pid: 0, path: "/run/provider.sock", seqpacket: false },
    access: { allow, upgrade, rule: "roles.any" },
    timeouts: DEFAULT_TIMEOUTS,
    accessLog,
  };
}

/** A session with its filter, and the service behind it. */
export function restSession(options: RestOptions = {}): MemorySession & { service: RestService } {
  const session = new MemorySession({ type: "rest", ...options.link });
  const service = new RestService(
    session.link,
    restConfig(options),
    { ...HTTP_LIMITS, ...options.limits },
    options.carriedBytes,
  );
  session.filter = new RestFilter(session, service);
  return Object.assign(session, { service });
}

/** The status and code of our own answer at the end of what the consumer got, and what came before it. */
export function splitRefusal(downstream: string): { before: string; refusal: string | undefined } {
  const at = [...downstream.matchAll(/HTTP\/1\.1 \d{3} /g)].at(-1)?.index ?? downstream.length;
  const last = downstream.slice(at);
  const match =
    /^HTTP\/1\.1 (\d{3}) [\s\S]*Cache-Control: no-store\r\n[\s\S]*Connection: close\r\n\r\n(?:\{"error":"([^"]*)".*\}\n)?$/.exec(
      last,
    );
  if (match === null) return { before: downstream, refusal: undefined };
  return { before: downstream.slice(0, at), refusal: `${match[1]} ${match[2] ?? "(no body)"}` };
}
