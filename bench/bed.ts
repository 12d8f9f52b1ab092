/** The test bed of a bench: a folder, ends made by build/bench/load, pv-xconnect and socat between them. All of it dies with the bench. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program } from "../test/support/program.ts";

export const ROOT = join(import.meta.dir, "..");
const LOAD = join(ROOT, "build/bench/load");
/** PV_XCONNECT_BINARY: another build, to compare two. */
export const BINARY = process.env["PV_XCONNECT_BINARY"] ?? join(ROOT, "build/pv-xconnect");
const READY_MS = 10_000;

/** Resolves when something accepts at the path; false after `ms`. */
export async function accepts(path: string, ms = READY_MS): Promise<boolean> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(path, () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (open) return true;
    await Bun.sleep(1);
  }
  return false;
}

/** One wanted link between two host-side peers: bytes to `target` reach `socket`. */
export interface BenchLink {
  readonly name: string;
  readonly type?: string;
  readonly role?: string;
  readonly socket: string;
  readonly target: string;
  readonly [more: string]: unknown;
}

export interface Daemon {
  readonly program: Program;
  readonly pid: number;
  /** From the start of the process until its first link accepted a connection. */
  readonly readyMs: number;
}

export class Bed {
  readonly folder = mkdtempSync(join(tmpdir(), "pvx-bench-"));
  readonly #programs: Program[] = [];
  #daemons = 0;

  path(name: string): string {
    return join(this.folder, name);
  }

  start(argv: readonly string[], env?: Readonly<Record<string, string>>): Program {
    const program = new Program(argv, env === undefined ? {} : { env });
    this.#programs.push(program);
    return program;
  }

  /** An end that answers; its path. */
  async serve(mode: "echo" | "sink" | "endless"): Promise<string> {
    const path = this.path(`${mode}.sock`);
    await this.start([LOAD, "serve", path, mode]).line(/listening/);
    return path;
  }

  /** Runs one load to its end and gives its figures. */
  async load(...argv: readonly (string | number)[]): Promise<Record<string, number>> {
    const program = new Program([LOAD, ...argv.map(String)], { stdin: "ignore" });
    const done = await program.finished(120_000);
    if (done.code !== 0) throw new Error(`Cannot measure ${argv.join(" ")}: ${done.stderr}`);
    return JSON.parse(done.stdout) as Record<string, number>;
  }

  /** Starts a load that holds its connections; end it with `stop()`. */
  async hold(...argv: readonly (string | number)[]): Promise<Program> {
    const program = this.start([LOAD, ...argv.map(String)]);
    await program.line(/holding/, { ms: 60_000 });
    return program;
  }

  /** A pv-xconnect of its own (state, policy) with these links, all of them up. */
  async daemon(links: readonly BenchLink[], policy?: object): Promise<Daemon> {
    const own = this.path(`daemon-${++this.#daemons}`);
    mkdirSync(join(own, "policy"), { recursive: true });
    const graph = links.map((link) => ({
      type: "unix",
      role: "any",
      consumer: "bench",
      consumer_pid: 0,
      provider: "bench-provider",
      provider_pid: 0,
      ...link,
    }));
    writeFileSync(join(own, "graph.json"), JSON.stringify(graph));
    if (policy !== undefined) writeFileSync(join(own, "policy/bench.json"), JSON.stringify(policy));
    const started = performance.now();
    const program = this.start([
      BINARY,
      "run",
      "--graph",
      join(own, "graph.json"),
      "--state-dir",
      join(own, "state"),
      "--policy",
      join(own, "policy"),
      "--log-level",
      "warn",
    ]);
    let readyMs = 0;
    for (const { target } of links) {
      if (!(await accepts(target)))
        throw new Error(
          `Cannot start the bench: nothing accepts at ${target}; pv-xconnect said: ${[...program.stdout, ...program.stderr].join("\n")}`,
        );
      readyMs ||= performance.now() - started;
    }
    return { program, pid: program.pid, readyMs };
  }

  /** socat as a relay: a process for each connection. */
  async socat(target: string, socket: string): Promise<Program> {
    const program = this.start(["socat", `UNIX-LISTEN:${target},fork,backlog=1024`, `UNIX-CONNECT:${socket}`]);
    if (!(await accepts(target))) throw new Error(`Cannot start the bench: socat does not accept at ${target}`);
    return program;
  }

  async end(): Promise<void> {
    for (const program of this.#programs.reverse()) await program.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
