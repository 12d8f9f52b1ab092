/** `pv-xconnect version`: what this binary is. */
import { parseArgs } from "node:util";
import packageJson from "../../package.json" with { type: "json" };
import { type Command, EXIT_OK } from "./command.ts";
import { usage } from "./usage.ts";

export const VERSION = packageJson.version;

const HELP = `Usage: pv-xconnect version [--json]

Prints the version of this binary.
`;

export const command: Command = {
  name: "version",
  summary: "what this binary is",
  async run(argv, io) {
    const { values } = usage(() =>
      parseArgs({ args: argv, options: { json: { type: "boolean" }, help: { type: "boolean", short: "h" } } }),
    );
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const facts = { version: VERSION, bun: Bun.version, arch: process.arch };
    io.out(
      values.json ? `${JSON.stringify(facts)}\n` : `pv-xconnect ${VERSION} (Bun ${Bun.version}, ${process.arch})\n`,
    );
    return EXIT_OK;
  },
};
