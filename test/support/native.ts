/**
 * The C programs that tests run: built by the Makefile's own rules at the first use,
 * so that `bun test some/file` alone works as `make test` does.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../..");

const built = new Map<string, string>();

/** Absolute path of `build/test/<name>`, up to date with its sources. Throws with the compiler's words. */
export function nativeProgram(name: "container" | "peer"): string {
  const known = built.get(name);
  if (known !== undefined) return known;
  const target = `build/test/${name}`;
  const make = spawnSync("make", ["--no-print-directory", "-s", target], { cwd: ROOT, encoding: "utf8" });
  if (make.status !== 0)
    throw new Error(`Cannot build ${target}: make exited ${make.status}: ${make.stderr || make.error}`);
  const path = join(ROOT, target);
  built.set(name, path);
  return path;
}
