/** `pv-xconnect run`: the daemon. */
import { Daemon, type LinkReport } from "../daemon.ts";
import { heldMessage, prepareStateDirectory, type StateLock, waitForStateLock } from "../inject/state-lock.ts";
import { LineLog, type Log } from "../observe/log.ts";
import { cleanStart } from "./clean-start.ts";
import { type Command, type CommandIo, EXIT_OK, EXIT_RUNTIME } from "./command.ts";
import { parseRunOptions, RUN_HELP, type RunOptions } from "./run-options.ts";
import { VERSION } from "./version.ts";

/** Resolves with the exit code when the daemon was told to stop, or could not go on. */
class Lifetime {
  readonly over: Promise<number>;
  private readonly resolve: (code: number) => void;
  constructor() {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.over = promise;
    this.resolve = resolve;
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => resolve(EXIT_OK));
    // Writes to a log server that is gone fail with EPIPE; the log drops those lines.
    process.on("SIGPIPE", () => {});
  }
  end(code: number): void {
    this.resolve(code);
  }
}

/** Waits while another daemon has the state directory: an old one that is about to end, as a rule. Undefined when told to stop. */
async function takeState(directory: string, log: Log, lifetime: Lifetime): Promise<StateLock | undefined> {
  prepareStateDirectory(directory);
  const waiting = new AbortController();
  void lifetime.over.then(() => waiting.abort());
  try {
    return await waitForStateLock(directory, {
      signal: waiting.signal,
      onWait: (held) => log.log("warn", "daemon", `Waiting to start: ${heldMessage(directory, held)}`),
    });
  } catch (error) {
    if (waiting.signal.aborted) return undefined;
    throw error;
  }
}

async function serve(options: RunOptions, log: Log, io: CommandIo): Promise<number> {
  const lifetime = new Lifetime();
  const lock = await takeState(options["state-dir"], log, lifetime);
  if (lock === undefined) return EXIT_OK;
  const daemon = new Daemon(options, log, (error) => {
    log.log("error", "daemon", `Cannot go on: ${error.message}`);
    lifetime.end(EXIT_RUNTIME);
  });
  process.on("SIGHUP", () => {
    log.log("info", "daemon", "Reading policy and graph again: SIGHUP");
    void daemon.reload();
  });
  log.log("info", "daemon", `pv-xconnect ${VERSION} started`, {
    pid: process.pid,
    graph: options.graph ?? options.ctrl,
  });
  await daemon.start();
  const code = options.once ? await once(daemon, options, io) : await lifetime.over;
  const removed = await daemon.stop();
  log.log(
    removed ? "info" : "warn",
    "daemon",
    removed ? "Stopped; what was planted is removed" : "Stopped before everything planted could be removed",
  );
  lock.release();
  return code;
}

async function once(daemon: Daemon, options: RunOptions, io: CommandIo): Promise<number> {
  const settled = await daemon.settle();
  const links = daemon.links();
  const established = (link: LinkReport) => link.state === "established";
  if (options.json) io.out(`${JSON.stringify({ settled, warnings: daemon.status().warnings, links })}\n`);
  else
    for (const { state, consumer, name, target, reason } of links)
      io.out(`${state.padEnd(11)} ${consumer} ${name} ${target}${reason === null ? "" : `: ${reason}`}\n`);
  return settled && links.every(established) ? EXIT_OK : EXIT_RUNTIME;
}

export const command: Command = {
  name: "run",
  summary: "connects the containers of the graph (the default)",
  async run(argv, io) {
    const options = parseRunOptions(argv, io.env);
    if (options.help) {
      io.out(RUN_HELP);
      return EXIT_OK;
    }
    cleanStart(argv);
    // With --once, standard output is the result's.
    const log = new LineLog(options.once ? 2 : 1, options["log-format"], options["log-level"]);
    return await serve(options, log, io);
  },
};
