/**
 * pv-xconnect: argv -> command. The only place that exits.
 *
 * Commands are loaded when they are named: a status query should not pay for the
 * daemon's modules, nor the daemon for the drawing of graphs.
 */
import { type Command, EXIT_OK, EXIT_RUNTIME, EXIT_USAGE, UsageError } from "./cli/command.ts";

const COMMANDS: Readonly<Record<string, () => Promise<{ readonly command: Command }>>> = {
  run: () => import("./cli/run.ts"),
  learn: () => import("./cli/learn.ts"),
  status: () => import("./cli/status.ts"),
  graph: () => import("./cli/graph.ts"),
  plan: () => import("./cli/plan.ts"),
  check: () => import("./cli/check.ts"),
  resolve: () => import("./cli/resolve.ts"),
  explain: () => import("./cli/explain.ts"),
  doctor: () => import("./cli/doctor.ts"),
  version: () => import("./cli/version.ts"),
};

const DEFAULT_COMMAND = "run";

async function help(): Promise<string> {
  const commands = await Promise.all(Object.values(COMMANDS).map(async (load) => (await load()).command));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(9)} ${summary}`);
  return `pv-xconnect connects isolated containers on purpose: sockets and devices, mediated.

Usage: pv-xconnect [COMMAND] [OPTIONS]

${lines.join("\n")}

Without a command: ${DEFAULT_COMMAND}. "pv-xconnect COMMAND --help" tells a command's options.
`;
}

async function main(argv: string[]): Promise<number> {
  if (argv[0] === "help" && argv.length === 2) return await main([argv[1]!, "--help"]);
  const first = argv[0];
  if (first === "--help" || first === "-h" || first === "help") {
    process.stdout.write(await help());
    return EXIT_OK;
  }
  const name =
    first === "--version" ? "version" : first === undefined || first.startsWith("-") ? DEFAULT_COMMAND : first;
  const rest = name === first || first === "--version" ? argv.slice(1) : argv;
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    process.stderr.write(`pv-xconnect: Cannot run "${name}": no such command. See pv-xconnect --help\n`);
    return EXIT_USAGE;
  }
  const { command } = await load();
  try {
    return await command.run(rest, {
      out: (text) => void process.stdout.write(text),
      err: (text) => void process.stderr.write(text),
      env: process.env,
      // Asked for when needed: process.stdout brings Bun's streams, 2 MB of heap that the daemon never uses.
      get isTTY() {
        return process.stdout.isTTY === true;
      },
      get columns() {
        return process.stdout.columns ?? 80;
      },
    });
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`pv-xconnect ${name}: ${error.message}\nSee pv-xconnect ${name} --help\n`);
      return EXIT_USAGE;
    }
    process.stderr.write(`pv-xconnect ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    return EXIT_RUNTIME;
  }
}

process.exit(await main(process.argv.slice(2)));
