/** D-Bus links, data plane: dials the bus as the role's uid and filters what is said. */
import { ProviderDialer } from "../../inject/provider.ts";
import type { Dial, Filter, LinkHandler, LinkIdentity, Session } from "../../relay/filter.ts";
import { type DbusConfig, FDS_MAX } from "./config.ts";
import { DbusFilter, type LinkState } from "./filter.ts";
import { IdentityResolver } from "./identity.ts";

class DbusHandler implements LinkHandler {
  readonly dialsAtAccept = false;
  readonly exactFdPosition = false;
  readonly maxFdsPerMessage = FDS_MAX;
  private config: DbusConfig;
  private readonly dialer: ProviderDialer;
  private resolver: IdentityResolver;
  private readonly state: LinkState = { halfOpen: 0, heldFds: 0 };

  constructor(config: DbusConfig) {
    this.config = config;
    this.dialer = new ProviderDialer(config.provider);
    this.resolver = this.newResolver();
  }

  dial(): Dial {
    const who = this.resolver.resolve(performance.now());
    if (!who.ok) return who;
    this.dialer.update({ ...this.config.provider, uid: who.uid, gid: who.gid });
    return this.dialer.dial();
  }
  open(session: Session): Filter {
    return new DbusFilter(session, this.config, this.state);
  }
  configure(config: unknown): void {
    this.config = config as DbusConfig;
    this.resolver.close();
    this.resolver = this.newResolver();
  }
  close(): void {
    this.resolver.close();
    this.dialer.close();
  }

  private newResolver(): IdentityResolver {
    const { identity, provider } = this.config;
    return new IdentityResolver(identity, provider.pid, provider.startTime);
  }
}

export function createHandler(_link: LinkIdentity, config: DbusConfig): LinkHandler {
  return new DbusHandler(config);
}
