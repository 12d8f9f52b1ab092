/** One REST link through a real data plane in a program of its own (link-serve.ts), and real providers behind it. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RestConfig, RestTimeouts } from "../../src/mediators/rest/config.ts";
import { DEFAULT_TIMEOUTS } from "../../src/mediators/rest/config.ts";
import { type Finished, Program } from "./program.ts";
import { type RestOptions, restConfig } from "./rest-session.ts";

export type ProviderKind = "python" | "nginx" | "node" | "bun";

export interface RestLinkOptions extends RestOptions {
  readonly timeouts?: Partial<RestTimeouts>;
}

/** What the JSON providers tell of a request. */
export interface Told {
  readonly method: string;
  readonly path: string;
  readonly version: string;
  /** In their order; names in small letters. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: number;
}

export class RestLink {
  readonly directory = mkdtempSync(join(tmpdir(), "pvx-rest-"));
  /** Where the consumer connects. */
  readonly socket = join(this.directory, "api.sock");
  /** Where the provider listens. */
  readonly upstream = join(this.directory, "provider.sock");
  readonly program: Program;
  private readonly providers: Program[] = [];
  private readonly options: RestLinkOptions;

  static async start(options: RestLinkOptions = {}): Promise<RestLink> {
    const link = new RestLink(options);
    await link.program.event("serving");
    return link;
  }
  private constructor(options: RestLinkOptions) {
    this.options = options;
    chmodSync(this.directory, 0o755);
    const link = {
      type: "rest",
      name: "api",
      consumer: "app",
      provider: "server",
      role: "admin",
      interface: "rest",
      target: "/run/api.sock",
      ...options.link,
    };
    const serve = { directory: this.directory, name: "api.sock", link, config: this.config(options) };
    this.program = new Program([process.execPath, join(import.meta.dir, "link-serve.ts"), JSON.stringify(serve)]);
  }
  private config(options: RestLinkOptions): RestConfig {
    return {
      ...restConfig(options),
      provider: { pid: 0, path: this.upstream, seqpacket: false },
      timeouts: { ...DEFAULT_TIMEOUTS, ...this.options.timeouts },
    };
  }

  /** Starts a provider at `upstream`. */
  async provide(kind: ProviderKind): Promise<Program> {
    rmSync(this.upstream, { force: true });
    const provider = new Program(kind === "nginx" ? this.nginx() : this.scripted(kind), { stdin: "ignore" });
    this.providers.push(provider);
    if (kind !== "nginx") await provider.line(/listening/);
    else
      for (let i = 0; i < 200 && !(await Bun.file(join(this.directory, "nginx.pid")).exists()); i++)
        await Bun.sleep(10);
    return provider;
  }
  private scripted(kind: "python" | "node" | "bun"): string[] {
    if (kind === "python") return ["/usr/bin/python3", join(import.meta.dir, "rest-provider.py"), this.upstream];
    return [kind === "bun" ? process.execPath : "node", join(import.meta.dir, "rest-provider.cjs"), this.upstream];
  }
  private nginx(): string[] {
    const config = join(this.directory, "nginx.conf");
    writeFileSync(config, nginxConfig(this.directory, this.upstream));
    return ["nginx", "-c", config, "-e", "stderr"];
  }

  /** curl to the link, to its end. `path` with its leading slash. */
  async curl(path: string | readonly string[], ...flags: readonly string[]): Promise<Finished> {
    const urls = (typeof path === "string" ? [path] : path).map((p) => `http://localhost${p}`);
    const argv = ["curl", "-sS", "--max-time", "60", "--unix-socket", this.socket, ...flags, ...urls];
    return await new Program(argv, { stdin: "ignore" }).finished(90_000);
  }
  /** curl to a JSON provider. */
  async told(path: string, ...flags: readonly string[]): Promise<Told> {
    const done = await this.curl(path, ...flags);
    if (done.code !== 0) throw new Error(`curl exited ${done.code}: ${done.stderr}`);
    return JSON.parse(done.stdout) as Told;
  }
  /** Bytes through a program that speaks to a unix socket, such as nc. */
  async pipe(argv: readonly string[], input: string): Promise<Finished> {
    const program = new Program(argv);
    program.write(input);
    program.closeInput();
    return await program.finished();
  }

  async configure(options: RestOptions): Promise<void> {
    this.program.write(`${JSON.stringify(this.config(options))}\n`);
    await Bun.sleep(100);
  }
  denials(): { action: string; rule: string; asked: Record<string, unknown> }[] {
    return this.program
      .events<{ record: { action: string; rule: string; asked: Record<string, unknown> } }>("denied")
      .map((e) => e.record);
  }
  reports(): Record<string, unknown>[] {
    return this.program.events<{ record: Record<string, unknown> }>("report").map((e) => e.record);
  }
  /** Log lines of level "error": a bug of ours. */
  errors(): string[] {
    return this.program
      .events<{ level: string; message: string }>("log")
      .filter((e) => e.level === "error")
      .map((e) => e.message);
  }
  /** Anonymous memory of the process, KiB. */
  async memory(): Promise<number> {
    const status = await Bun.file(`/proc/${this.program.pid}/status`).text();
    return Number(/RssAnon:\s+(\d+)/.exec(status)![1]);
  }
  fds(): number {
    return Bun.spawnSync(["ls", `/proc/${this.program.pid}/fd`])
      .stdout.toString()
      .trim()
      .split("\n").length;
  }
  async stop(): Promise<void> {
    for (const provider of this.providers) await provider.stop();
    await this.program.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function nginxConfig(directory: string, socket: string): string {
  return `
daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
user root;
events { worker_connections 256; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  server {
    listen unix:${socket};
    root ${directory};
    location /echo { return 200 "$request_method $request_uri $server_protocol client=$http_x_pv_client role=$http_x_pv_role foo=$http_x_foo\\n"; }
    location /files/ { }
  }
}
`;
}
