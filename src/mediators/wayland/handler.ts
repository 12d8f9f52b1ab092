/**
 * Wayland links, data plane: dials the compositor the way the control side has settled
 * (directly, or through the socket that carries the consumer's identity) and gives each
 * session its filter.
 *
 * Ownership: `context.socket` belongs to the handler from the configuration on that
 * brings it; each configuration brings an fd of its own.
 */
import { ProviderDialer, type ProviderEndpoint } from "../../inject/provider.ts";
import type { WaylandTable } from "../../policy/wayland.ts";
import type { Dial, Filter, LinkHandler, LinkIdentity, PeerCredentials, Session } from "../../relay/filter.ts";
import { EACCES, ECONNREFUSED, errnoName } from "../../sys/errno.ts";
import { SOCK_STREAM } from "../../sys/flags.ts";
import { pvx } from "../../sys/shim.ts";
import { connectTo } from "../../sys/unix-socket.ts";
import { WaylandFilter } from "./filter.ts";
import { FDS_PER_MESSAGE, type HeldFds } from "./flow.ts";

/** How sessions of a link reach the compositor. */
export type ContextState =
  /** Not known yet whether it takes identities: sessions are held. */
  | { readonly state: "pending"; readonly reason: string }
  /** It does and would not take ours: no session. */
  | { readonly state: "refused"; readonly reason: string }
  /** It does not. */
  | { readonly state: "absent" }
  /** Through this socket (O_PATH). */
  | { readonly state: "attached"; readonly socket: number };

export interface WaylandConfig {
  readonly provider: ProviderEndpoint;
  readonly table: WaylandTable;
  readonly context: ContextState;
}

class WaylandHandler implements LinkHandler {
  readonly dialsAtAccept = true;
  readonly exactFdPosition = false;
  readonly maxFdsPerMessage = FDS_PER_MESSAGE;
  /** Shared by the link's filters. */
  readonly heldFds: HeldFds = { count: 0 };
  private config: WaylandConfig;
  private readonly dialer: ProviderDialer;

  constructor(config: WaylandConfig) {
    this.config = config;
    this.dialer = new ProviderDialer(config.provider);
  }

  get identityAttached(): boolean {
    return this.config.context.state === "attached";
  }

  dial(_peer: PeerCredentials): Dial {
    const { context } = this.config;
    switch (context.state) {
      case "pending":
        return { ok: false, retry: true, reason: context.reason };
      case "refused":
        return { ok: false, retry: false, reason: context.reason };
      case "absent":
        return this.dialer.dial();
      case "attached":
        return dialAttached(context.socket);
    }
  }
  open(session: Session): Filter {
    return new WaylandFilter(session, this.config.table, this);
  }
  configure(config: unknown): void {
    this.closeSocket();
    this.config = config as WaylandConfig;
    this.dialer.update(this.config.provider);
  }
  close(): void {
    this.closeSocket();
    this.dialer.close();
  }

  private closeSocket(): void {
    const { context } = this.config;
    if (context.state === "attached") pvx.pvx_close(context.socket);
  }
}

function dialAttached(socket: number): Dial {
  const fd = pvx.pvx_socket(SOCK_STREAM);
  const r = fd < 0 ? fd : connectTo(fd, socket);
  if (r >= 0) return { ok: true, fd };
  if (fd >= 0) pvx.pvx_close(fd);
  // Nobody listens any more: the compositor that took the identity is gone, the next one has yet to take it.
  const gone = r === -ECONNREFUSED;
  const reason = gone ? "the compositor that took the link's identity is gone" : `connect(): ${errnoName(r)}`;
  return { ok: false, retry: r !== -EACCES, reason: `Cannot reach the compositor: ${reason}` };
}

export function createHandler(_link: LinkIdentity, config: WaylandConfig): LinkHandler {
  return new WaylandHandler(config);
}
