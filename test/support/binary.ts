/** The compiled binaries that e2e tests run. `make` builds them before `bun test`; alone, the test says what to do. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
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

/**
 * Why the aarch64 binary can't have been built, where that is the network's doing and not ours: bun for
 * that machine could not be fetched because the npm registry can't be reached at all (scripts/fetch-package.mjs
 * says so in a file). The one case in which a missing part is a skip with CI=true as well.
 */
export function aarch64Unreachable(): string | undefined {
  const toolchain = join(ROOT, "build/toolchain");
  if (!existsSync(toolchain) || existsSync(join(ROOT, PATHS.aarch64))) return undefined;
  for (const version of readdirSync(toolchain).filter((name) => name.startsWith("bun-"))) {
    const marker = join(toolchain, version, "bun-linux-aarch64.unreachable");
    if (existsSync(marker)) return readFileSync(marker, "utf8").trim();
  }
  return undefined;
}
