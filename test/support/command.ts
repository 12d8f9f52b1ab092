/** Runs a command in this process and keeps what it says. */
import { type Command, UsageError } from "../../src/cli/command.ts";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A `UsageError` becomes exit 2 with its message, as in `main.ts`; any other error exit 1. */
export async function runCommand(
  command: Command,
  argv: readonly string[],
  env: Record<string, string> = {},
): Promise<Ran> {
  let out = "";
  let err = "";
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    env,
    isTTY: false,
    columns: 80,
  };
  let code: number;
  try {
    code = await command.run([...argv], io);
  } catch (error) {
    code = error instanceof UsageError ? 2 : 1;
    err += `${error instanceof Error ? error.message : String(error)}\n`;
  }
  return { code, out, err };
}
