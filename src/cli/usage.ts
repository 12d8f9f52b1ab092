/** Turns what `parseArgs` throws for a wrong command line into a `UsageError`. */
import { UsageError } from "./command.ts";

export function usage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
