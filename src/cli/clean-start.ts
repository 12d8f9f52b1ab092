/**
 * Puts the process into a known state before it becomes the daemon. Pantavisor starts
 * us with SIGCHLD blocked and its own fds open without close-on-exec; Bun marks inherited
 * fds close-on-exec at its start, so one exec of ourselves drops them all, and the
 * signal mask is cleared on the way.
 */
import { reexec } from "../sys/process.ts";

/** Set for the second start only, and taken out of the environment there. */
const MARK = "PV_XCONNECT_CLEAN_START";

/** Returns in the clean process; in the first one it does not return. */
export function cleanStart(argv: readonly string[]): void {
  if (process.env[MARK] === String(process.pid)) {
    delete process.env[MARK];
    return;
  }
  // From source the executable is bun itself: a developer's shell leaves nothing behind worth dropping.
  if (!import.meta.path.startsWith("/$bunfs/")) return;
  const env: Record<string, string> = { [MARK]: String(process.pid) };
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined && name !== MARK) env[name] = value;
  try {
    reexec(["pv-xconnect", "run", ...argv], env);
  } catch (error) {
    // User-mode emulators have no executable of ours to start (ENOEXEC): inherited fds then stay open, and we say so.
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`pv-xconnect run: Cannot start anew without inherited fds, going on with them: ${why}\n`);
  }
}
