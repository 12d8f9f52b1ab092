/** Open fds of the test process itself, for tests that none is left. */
import { readdirSync } from "node:fs";

export const openFds = (): number => readdirSync("/proc/self/fd").length;

/** The same, once pipes of the test's own programs and connections that the other end closes are gone. */
export async function settledFds(expected: number): Promise<number> {
  for (let tries = 0; tries < 80 && openFds() > expected; tries++) await Bun.sleep(25);
  return openFds();
}
