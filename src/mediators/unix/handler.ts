/**
 * Raw unix links, data plane: bytes and fds pass as they are, fds at their exact
 * place. By policy the provider is told first who is there: a line of JSON
 * ("greeting"), or SCM_CREDENTIALS of the consumer's process ("credentials").
 */
import { ProviderDialer, type ProviderEndpoint } from "../../inject/provider.ts";
import type { Filter, LinkHandler, LinkIdentity, PeerCredentials, Session } from "../../relay/filter.ts";
import { FDS_PER_MESSAGE_MAX } from "../../relay/limits.ts";

export interface UnixConfig {
  readonly provider: ProviderEndpoint;
  readonly identity: "none" | "greeting" | "credentials";
}

/** The line that precedes the consumer's first byte. pid, uid and gid are the kernel's word, as the host sees them. */
export function greetingLine(link: LinkIdentity, peer: PeerCredentials): Uint8Array {
  const { consumer: client, role, name: service } = link;
  const { pid, uid, gid } = peer;
  return Buffer.from(`${JSON.stringify({ client, role, service, pid, uid, gid })}\n`);
}

/** Greets when the provider is there; from then on nobody is in between. */
class Greeting implements Filter {
  private readonly session: Session;
  constructor(session: Session) {
    this.session = session;
  }
  onUpstreamConnected(): void {
    const { session } = this;
    session.upstream.write(greetingLine(session.link, session.peer));
    session.passThrough();
  }
  // Neither side is read before the provider is connected.
  fromConsumer(_buffer: Uint8Array, _length: number, fds: readonly number[]): void {
    this.session.closeFds(fds);
    this.session.abort("bytes before the greeting");
  }
  fromProvider(buffer: Uint8Array, length: number, fds: readonly number[]): void {
    this.fromConsumer(buffer, length, fds);
  }
}

class UnixHandler implements LinkHandler {
  readonly dialsAtAccept = true;
  readonly exactFdPosition = true;
  readonly maxFdsPerMessage = FDS_PER_MESSAGE_MAX;
  private config: UnixConfig;
  private readonly dialer: ProviderDialer;
  /** Nothing of these is looked at any more, yet a later policy must be able to end them. Closed ones are swept out now and then. */
  private sessions: Session[] = [];
  private sweepAt = 64;

  constructor(config: UnixConfig) {
    this.config = config;
    this.dialer = new ProviderDialer(config.provider);
  }
  dial() {
    return this.dialer.dial();
  }
  open(session: Session): Filter | undefined {
    if (this.sessions.length >= this.sweepAt) {
      this.sessions = this.sessions.filter(({ closed }) => !closed);
      this.sweepAt = Math.max(64, 2 * this.sessions.length);
    }
    this.sessions.push(session);
    if (this.config.identity === "greeting") return new Greeting(session);
    if (this.config.identity === "credentials") session.attachCredentials();
    return undefined;
  }
  configure(config: unknown): void {
    const before = this.config;
    this.config = config as UnixConfig;
    this.dialer.update(this.config.provider);
    const { identity, provider } = this.config;
    if (identity === before.identity && provider.path === before.provider.path) return;
    // Their provider was told of them otherwise, or is another one than policy has now.
    for (const session of this.sessions.splice(0)) if (!session.closed) session.finish("the policy has changed");
  }
  close(): void {
    this.dialer.close();
  }
}

export function createHandler(_link: LinkIdentity, config: UnixConfig): LinkHandler {
  return new UnixHandler(config);
}
