/** One D-Bus link through a real data plane, in a program of its own (link-serve.ts). */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DbusConfig, MESSAGE_MAX, type RoleIdentity } from "../../src/mediators/dbus/config.ts";
import type { RightsConfig } from "../../src/policy/dbus/rights.ts";
import { Program } from "./program.ts";

export interface LinkOptions {
  /** The bus's (or next link's) socket, as process `pid` sees it. */
  readonly upstream: string;
  readonly pid?: number;
  readonly role?: string;
  readonly identity?: RoleIdentity;
  readonly rights?: Partial<RightsConfig>;
  readonly maxMessage?: number;
}

export class DbusLink {
  readonly directory: string;
  readonly socket: string;
  readonly program: Program;
  private readonly options: LinkOptions;

  static async start(options: LinkOptions): Promise<DbusLink> {
    const link = new DbusLink(options);
    await link.program.event("serving");
    return link;
  }
  private constructor(options: LinkOptions) {
    this.options = options;
    this.directory = mkdtempSync(join(tmpdir(), "pvx-link-"));
    chmodSync(this.directory, 0o755);
    this.socket = join(this.directory, "bus");
    const link = {
      type: "dbus",
      name: "system-bus",
      consumer: "app",
      provider: "bus",
      role: options.role ?? "any",
      interface: "",
      target: "/run/bus",
    };
    const serve = { directory: this.directory, name: "bus", link, config: this.config() };
    this.program = new Program([process.execPath, join(import.meta.dir, "link-serve.ts"), JSON.stringify(serve)]);
  }
  private config(rights: Partial<RightsConfig> = this.options.rights ?? {}): DbusConfig {
    const { upstream, pid = 0, identity = { uid: 0, gid: 0 }, maxMessage = MESSAGE_MAX } = this.options;
    return {
      provider: { pid, path: upstream, seqpacket: false },
      identity,
      rights: { interfaces: null, lists: null, rule: "policy", learn: false, ...rights },
      maxMessage,
    };
  }
  get address(): string {
    return `unix:path=${this.socket}`;
  }
  get pid(): number {
    return this.program.pid;
  }
  /** New rights for the link and its open sessions. */
  async configure(rights: Partial<RightsConfig>): Promise<void> {
    this.program.write(`${JSON.stringify(this.config(rights))}\n`);
    await Bun.sleep(100);
  }
  /** The audit records, once there are so many of them: action, rule and what was asked. */
  async denials(count: number): Promise<{ action: string; rule: string; asked: Record<string, unknown> }[]> {
    type Denied = { record: { action: string; rule: string; asked: Record<string, unknown> } };
    for (let i = 0; i < 100 && this.program.events("denied").length < count; i++) await Bun.sleep(20);
    return this.program.events<Denied>("denied").map((e) => e.record);
  }
  /** Anonymous memory of the process in KiB. */
  async memory(): Promise<number> {
    const status = await Bun.file(`/proc/${this.pid}/status`).text();
    return Number(/RssAnon:\s+(\d+)/.exec(status)![1]);
  }
  fds(): number {
    return Bun.spawnSync(["ls", `/proc/${this.pid}/fd`])
      .stdout.toString()
      .trim()
      .split("\n").length;
  }
  async stop(): Promise<void> {
    await this.program.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Runs a client to its end. */
export async function run(
  argv: string[],
  env: Record<string, string> = {},
  ms = 10_000,
): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn(argv, { stdout: "pipe", stderr: "pipe", env: { ...process.env, ...env } });
  const timer = setTimeout(() => child.kill(9), ms);
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  return { code, out, err };
}

/** The bus policy of the documents, on top of the system bus's own defaults. */
export const DOCUMENTED_POLICY = `
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy user="root">
    <allow own="org.pantavisor.Example"/>
    <allow own="org.pantavisor.Hidden"/>
    <allow send_destination="org.pantavisor.Example"/>
  </policy>
  <policy context="default">
    <allow send_destination="org.pantavisor.Example"/>
    <allow send_destination="org.pantavisor.Hidden"/>
  </policy>`;

export async function startService(address: string): Promise<Program> {
  const service = new Program(["/usr/bin/python3", join(import.meta.dir, "dbus-service.py"), address]);
  await service.line(/^ready$/);
  return service;
}
