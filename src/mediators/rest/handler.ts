/** REST links, data plane: a provider connection for each consumer connection, dialled when the first request is allowed. */
import { ProviderDialer } from "../../inject/provider.ts";
import type { Dial, Filter, LinkHandler, LinkIdentity, Session } from "../../relay/filter.ts";
import type { RestConfig } from "./config.ts";
import { RestFilter } from "./filter.ts";
import { RestService } from "./service.ts";

class RestHandler implements LinkHandler {
  /** A refused request, and a connection that nobody uses, cost the provider nothing. */
  readonly dialsAtAccept = false;
  readonly exactFdPosition = false;
  /** None passes; a link of this type refuses them. */
  readonly maxFdsPerMessage = 0;
  private readonly service: RestService;
  private readonly dialer: ProviderDialer;

  constructor(link: LinkIdentity, config: RestConfig) {
    this.service = new RestService(link, config);
    this.dialer = new ProviderDialer(config.provider);
  }
  dial(): Dial {
    return this.dialer.dial();
  }
  open(session: Session): Filter {
    return new RestFilter(session, this.service);
  }
  configure(config: unknown): void {
    const { provider } = config as RestConfig;
    this.service.configure(config as RestConfig);
    this.dialer.update(provider);
  }
  close(): void {
    this.dialer.close();
  }
}

export function createHandler(link: LinkIdentity, config: RestConfig): LinkHandler {
  return new RestHandler(link, config);
}
