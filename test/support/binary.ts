/** The compiled binaries that e2e tests run. `make` builds them before `bun test`; alone, the test says what to do. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./native.ts";

const PATHS = {
  own: "build/pv-xconnect",
  x86_64: "dist/pv-xconnect-x86_64",
  aarch64: "dist/pv-xconnect-aarch64",
} as const;

/** Absolute path of a compiled binary. Throws when it has not been built. */
export function compiled(which: keyof typeof PATHS = "own"): string {
  const path = join(ROOT, PATHS[which]);
  if (!existsSync(path)) throw new Error(`Cannot test ${PATHS[which]}: it is not built; run make build cross`);
  return path;
}
