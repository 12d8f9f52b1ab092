/** A private dbus-daemon for a test, and the programs that talk to it. */
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program } from "./program.ts";

/** Everybody may do everything: what is refused is refused by us. */
export const OPEN_POLICY = `
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/><allow receive_sender="*" eavesdrop="true"/>
  </policy>`;

/** The accounts of the provider: roles of the documents, and one of the hosted bus's range. */
export const PASSWD = `root:x:0:0:root:/root:/bin/sh
operator:x:1001:1001::/:/bin/false
hosted:x:90003:90003::/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
`;

export class Bus {
  readonly directory: string;
  readonly socket: string;
  readonly daemon: Program;

  /** Throws when it does not come up. `directory`: to share one with others. */
  static async start(options: { policy?: string; limits?: string; directory?: string } = {}): Promise<Bus> {
    const bus = new Bus(options);
    for (let i = 0; i < 200 && !existsSync(bus.socket); i++) await Bun.sleep(10);
    if (!existsSync(bus.socket)) throw new Error(`dbus-daemon does not listen: ${bus.daemon.stderr.join("\n")}`);
    chmodSync(bus.socket, 0o777);
    return bus;
  }

  private constructor(options: { policy?: string; limits?: string; directory?: string }) {
    this.directory = options.directory ?? mkdtempSync(join(tmpdir(), "pvx-dbus-"));
    // Other uids connect: the directory is theirs to pass.
    chmodSync(this.directory, 0o755);
    this.socket = join(this.directory, "bus.sock");
    const config = join(this.directory, "bus.conf");
    writeFileSync(
      config,
      `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=${this.socket}</listen><auth>EXTERNAL</auth>
${options.policy ?? OPEN_POLICY}
${options.limits ?? ""}</busconfig>\n`,
    );
    const passwd = join(this.directory, "passwd");
    writeFileSync(passwd, PASSWD);
    // A passwd of its own: dbus-daemon refuses a uid that has no account, whatever its policy says.
    const start = `mount --bind ${passwd} /etc/passwd && exec dbus-daemon --config-file=${config} --nofork --nopidfile --nosyslog`;
    this.daemon = new Program(["unshare", "--mount", "--propagation", "private", "sh", "-c", start]);
  }

  get address(): string {
    return `unix:path=${this.socket}`;
  }
  async stop(): Promise<void> {
    await this.daemon.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A raw connection that has authenticated: bytes out, bytes in. No Hello yet. */
export class RawClient {
  private socket!: Awaited<ReturnType<typeof Bun.connect<undefined>>>;
  private chunks: Uint8Array[] = [];
  private unsent = new Uint8Array(0);
  private wake: (() => void) | undefined;
  private sasl = "";
  received = 0;
  closed = false;
  authenticated = false;
  /** True: what arrives is counted and thrown away. */
  discard = false;

  static async connect(path: string, handshake = "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"): Promise<RawClient> {
    const client = new RawClient();
    client.socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_s, data) => client.take(new Uint8Array(data)),
        drain: () => client.flush(),
        close: () => client.end(),
        error: () => client.end(),
      },
    });
    client.send(Buffer.from(handshake, "latin1"));
    return client;
  }

  send(bytes: Uint8Array): void {
    this.unsent = this.unsent.length === 0 ? bytes.slice() : Uint8Array.from(Buffer.concat([this.unsent, bytes]));
    this.flush();
  }
  close(): void {
    this.socket.end();
    this.closed = true;
  }
  /** Everything since the last call, once `enough` says so or the peer closed or `ms` passed. */
  async bytesUntil(enough: (bytes: Uint8Array) => boolean, ms = 10_000): Promise<Uint8Array> {
    const end = performance.now() + ms;
    for (;;) {
      const all = Uint8Array.from(Buffer.concat(this.chunks));
      if (enough(all) || this.closed || performance.now() > end) {
        this.chunks = [];
        return all;
      }
      await Promise.race([
        new Promise<void>((resolve) => (this.wake = resolve)),
        Bun.sleep(Math.max(1, end - performance.now())),
      ]);
    }
  }
  /** True once the peer has closed. */
  async ended(ms = 5000): Promise<boolean> {
    await this.bytesUntil(() => false, this.closed ? 0 : ms);
    return this.closed;
  }

  private take(data: Uint8Array): void {
    let bytes = data;
    if (!this.authenticated) {
      this.sasl += Buffer.from(data).toString("latin1");
      const ok = /OK [0-9a-f]{32}\r\n(AGREE_UNIX_FD\r\n|ERROR[^\r]*\r\n)?/.exec(this.sasl);
      if (ok === null) return;
      this.authenticated = true;
      bytes = Uint8Array.from(this.sasl.slice(ok.index + ok[0].length), (c) => c.charCodeAt(0));
    }
    this.received += bytes.length;
    if (!this.discard && bytes.length > 0) this.chunks.push(bytes);
    this.wake?.();
  }
  private flush(): void {
    if (this.unsent.length === 0 || this.closed) return;
    const n = this.socket.write(this.unsent);
    this.unsent = this.unsent.slice(Math.max(0, n));
  }
  private end(): void {
    this.closed = true;
    this.wake?.();
  }
}
