/**
 * Attaches the consumer's identity to a link at the compositor (security-context-v1), once
 * for each life of the compositor. Control thread: asynchronous, one deadline for all of it.
 *
 * The listening socket that the compositor gets has a name only while it is made: the daemon
 * keeps an O_PATH fd of its inode and connects through /proc/self/fd. So nothing else can
 * dial it (an abstract name would stand open to every container that shares our network
 * namespace), and there is nothing to clean up after a kill.
 *
 * Ownership: an `Attachment` holds two fds until `detach`. Its pipe tells both ends of each
 * other's death: the compositor stops listening when ours closes, and ours has no reader
 * left when the compositor is gone.
 */
import { ProviderDialer, type ProviderEndpoint } from "../../inject/provider.ts";
import { closeApart } from "../../sys/close-apart.ts";
import { checked, EAGAIN, errnoName } from "../../sys/errno.ts";
import { AT_FDCWD, MSG_CTRUNC, O_CLOEXEC, O_NOFOLLOW, O_PATH, SOCK_STREAM } from "../../sys/flags.ts";
import { cstring, Memory } from "../../sys/memory.ts";
import { randomHex } from "../../sys/random.ts";
import { pvx } from "../../sys/shim.ts";
import { bindAt, listen, unixSocket } from "../../sys/unix-socket.ts";
import { ContextHandshake, type HandshakeStep, type Identity } from "./context-handshake.ts";

/** For the whole conversation: two round trips of a compositor that may be starting. */
export const CONTEXT_MS = 3000;
/** Sessions that wait for the compositor's accept; beyond, a dial is tried again (EAGAIN). */
const BACKLOG = 128;
/** Between looks at the compositor's answer, doubling: the first answer takes well below a millisecond. */
const POLL_FIRST_MS = 1;
const POLL_MAX_MS = 16;
/** One receive; and all requests of the conversation, two names of 4 KiB among them. */
const IO_BYTES = 16 * 1024;
/** unix(7): the kernel hands over at most 253 fds with a message. */
const FDS_MAX = 253;

export interface Attachment {
  /** O_PATH fd of the socket that sessions are dialled to. */
  readonly socket: number;
  /** Write end of the pipe whose read end the compositor holds. */
  readonly pipe: number;
}

export type ContextOutcome =
  | { readonly kind: "attached"; readonly attachment: Attachment }
  /** The compositor knows no security contexts: sessions dial it directly. */
  | { readonly kind: "absent" }
  /** Not there yet, or gone again: try later. */
  | { readonly kind: "unreachable"; readonly reason: string }
  /** It knows them and would not take ours, or broke the protocol: no session may be dialled. */
  | { readonly kind: "failed"; readonly reason: string };

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** One conversation at a time in a thread that awaits between its steps: each has buffers of its own. */
class Conversation {
  private readonly fd: number;
  private readonly deadline: number;
  // Fields, not locals: what the kernel is given an address of must stay referenced during the call.
  private readonly input = new Memory(IO_BYTES);
  private readonly output = new Memory(IO_BYTES);
  private readonly iov = new Memory(16);
  private readonly fds = new Memory(FDS_MAX * 4);
  private readonly info = new Memory(32);

  constructor(fd: number, deadline: number) {
    this.fd = fd;
    this.deadline = deadline;
  }

  /** Undefined, or why not. The few hundred bytes fit into any socket buffer: what is cut short is an error. */
  send(bytes: Uint8Array, fds: readonly number[]): string | undefined {
    const { output, iov } = this;
    if (bytes.length > output.length) return `a request of ${bytes.length} bytes is too long`;
    output.bytes.set(bytes);
    new BigUint64Array(iov.buffer).set([BigInt(output.address), BigInt(bytes.length)]);
    new Int32Array(this.fds.buffer).set(fds);
    const n = pvx.pvx_sendv(this.fd, iov.address, 1, this.fds.address, fds.length, null);
    if (n === bytes.length) return undefined;
    return n < 0 ? `sendmsg(): ${errnoName(n)}` : `sendmsg(): ${n} of ${bytes.length} bytes`;
  }

  /** The compositor's next bytes, or why there are none. */
  async receive(): Promise<Uint8Array | { readonly reason: string; readonly hostile: boolean }> {
    for (let pause = POLL_FIRST_MS; ; pause = Math.min(2 * pause, POLL_MAX_MS)) {
      const n = pvx.pvx_recv(this.fd, this.input.address, IO_BYTES, this.fds.address, this.info.address);
      const [received = 0, flags = 0] = new Int32Array(this.info.buffer);
      if (n >= 0) for (const fd of new Int32Array(this.fds.buffer, 0, received)) closeApart(fd, true);
      if (n > 0 && (received > 0 || (flags & MSG_CTRUNC) !== 0))
        return { reason: "the compositor sent fds that nobody asked for", hostile: true };
      if (n > 0) return this.input.bytes.slice(0, n);
      if (n === 0) return { reason: "the compositor closed the connection", hostile: false };
      if (n !== -EAGAIN) return { reason: `recvmsg(): ${errnoName(n)}`, hostile: false };
      if (performance.now() >= this.deadline)
        return { reason: `the compositor did not answer within ${CONTEXT_MS} ms`, hostile: false };
      await sleep(pause);
    }
  }
}

/** `directory`: an existing one of the daemon's own that no container sees; the socket's name is in it for a moment. */
export async function attachContext(
  provider: ProviderEndpoint,
  identity: Identity,
  directory: string,
): Promise<ContextOutcome> {
  const dialer = new ProviderDialer(provider);
  const dialled = dialer.connect(SOCK_STREAM);
  dialer.close();
  if (typeof dialled !== "number") return { kind: dialled.retry ? "unreachable" : "failed", reason: dialled.reason };
  const offer = new Offer(directory);
  try {
    const outcome = await converse(dialled, identity, offer);
    return outcome;
  } catch (error) {
    return { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
  } finally {
    closeApart(dialled, false);
    offer.close();
  }
}

/** The fds that go to the compositor and those that stay, while it is undecided which are needed. */
class Offer {
  private readonly directory: string;
  private readonly open = new Set<number>();
  constructor(directory: string) {
    this.directory = directory;
  }

  make(): { readonly theirs: readonly number[]; readonly attachment: Attachment } {
    const socket = this.keep(unixSocket(SOCK_STREAM));
    const pathFd = this.keep(this.bound(socket));
    listen(socket, BACKLOG);
    const two = new Memory(8);
    checked(pvx.pvx_pipe(two.address), () => "pipe2()");
    const [readEnd = -1, writeEnd = -1] = new Int32Array(two.buffer);
    return { theirs: [socket, this.keep(readEnd)], attachment: { socket: pathFd, pipe: this.keep(writeEnd) } };
  }

  /** Binds to a name nobody can guess, opens the inode behind it, and takes the name away. */
  private bound(socket: number): number {
    const { directory } = this;
    const dir = checked(
      pvx.pvx_openat(AT_FDCWD, cstring(directory), O_PATH | O_CLOEXEC, 0),
      () => `open(${JSON.stringify(directory)}, O_PATH)`,
    );
    const name = `.wayland-${randomHex(12)}`;
    try {
      bindAt(socket, dir, name, 0o600);
      const fd = pvx.pvx_openat(dir, cstring(name), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
      pvx.pvx_unlinkat(dir, cstring(name), 0);
      return checked(fd, () => `openat(${name}, O_PATH)`);
    } finally {
      pvx.pvx_close(dir);
    }
  }

  /** These two outlive the offer. */
  release(attachment: Attachment): void {
    this.open.delete(attachment.socket);
    this.open.delete(attachment.pipe);
  }
  close(): void {
    for (const fd of this.open) pvx.pvx_close(fd);
    this.open.clear();
  }
  private keep(fd: number): number {
    this.open.add(fd);
    return fd;
  }
}

async function converse(fd: number, identity: Identity, offer: Offer): Promise<ContextOutcome> {
  const conversation = new Conversation(fd, performance.now() + CONTEXT_MS);
  const handshake = new ContextHandshake(identity);
  let attachment: Attachment | undefined;
  let step: HandshakeStep = handshake.begin();
  for (;;) {
    switch (step.kind) {
      case "send": {
        const made = step.withFds ? offer.make() : undefined;
        attachment = made?.attachment;
        const problem = conversation.send(step.bytes, made?.theirs ?? []);
        if (problem !== undefined) return { kind: "unreachable", reason: problem };
        step = { kind: "wait" };
        break;
      }
      case "wait": {
        const heard = await conversation.receive();
        if (!(heard instanceof Uint8Array)) {
          // Having said that it takes identities, it is not let off by silence: sessions wait, none is dialled without.
          return { kind: heard.hostile ? "failed" : "unreachable", reason: heard.reason };
        }
        step = handshake.hear(heard);
        break;
      }
      case "attached":
        offer.release(attachment!);
        return { kind: "attached", attachment: attachment! };
      case "absent":
        return { kind: "absent" };
      case "failed":
        return { kind: "failed", reason: step.reason };
    }
  }
}

/** Whether the compositor that took the identity is still there: a pipe without a reader reports an error (poll(2), POLLERR). */
export function stillAttached(attachment: Attachment): boolean {
  return pvx.pvx_wait_readable(attachment.pipe, 0) === 0;
}

/** The compositor stops listening; sessions that it has accepted live on. */
export function detach(attachment: Attachment): void {
  pvx.pvx_close(attachment.pipe);
  pvx.pvx_close(attachment.socket);
}
