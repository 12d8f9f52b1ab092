/**
 * What a command is. `main.ts` picks one by name and exits with its result;
 * a command itself never exits, never reads `process.argv` and never writes to
 * a stream of its own: everything comes in through `CommandIo`, so tests call it directly.
 */

/** Exit codes of every command. */
export const EXIT_OK = 0;
/** It ran, and what it was asked to do could not be done, or the answer is no. */
export const EXIT_RUNTIME = 1;
/** The command line itself is wrong. Nothing was done. */
export const EXIT_USAGE = 2;

export interface CommandIo {
  /** Writes to standard output, as is: the text carries its own newline. */
  out(text: string): void;
  /** Writes to standard error, as is. */
  err(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output is a terminal. */
  readonly isTTY: boolean;
  /** Width of that terminal in columns; 80 where there is none. */
  readonly columns: number;
}

export interface Command {
  readonly name: string;
  /** One line for `pv-xconnect --help`. */
  readonly summary: string;
  /** `argv` is what follows the command's name. Resolves to the exit code; throws `UsageError` for a wrong command line. */
  run(argv: string[], io: CommandIo): Promise<number>;
}

/** A wrong command line: `main.ts` prints the message and where to find help, and exits 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
