/**
 * The cold half of the shim, bound with koffi's C prototypes: calls that take arrays of strings.
 *
 * Why not `import "koffi"`: its loader looks for files beside a package.json that
 * a compiled binary does not have. The addon is embedded as a plain file and
 * opened from a memfd, so no directory is written to. About 1 MB of RSS, control
 * thread only, loaded at the first use.
 */
import { readFileSync } from "node:fs";
import type * as Koffi from "koffi";
import koffiFile from "../../build/native/koffi.addon" with { type: "file" };
import shimFile from "../../build/native/libpvx.so" with { type: "file" };
import { memfdOf, pvx } from "./shim.ts";

export interface ColdCalls {
  execve(path: string, argv: (string | null)[], envp: (string | null)[]): number;
}

function openAddon(): typeof Koffi {
  const fd = memfdOf("koffi.node", readFileSync(koffiFile));
  const module = { exports: {} as typeof Koffi };
  try {
    // Another spelling than the shim's path: the dynamic loader takes a name that it has
    // seen for the library it loaded then, and fd numbers are used again.
    process.dlopen(module, `/proc/self/./fd/${fd}`);
  } finally {
    pvx.pvx_close(fd);
  }
  return module.exports;
}

function open(): ColdCalls {
  const koffi = openAddon();
  const fd = memfdOf("libpvx.so", readFileSync(shimFile));
  const lib = koffi.load(`/proc/self/fd/${fd}`);
  pvx.pvx_close(fd);
  return { execve: lib.func("int pvx_execve(const char *path, const char **argv, const char **envp)") };
}

let bound: ColdCalls | undefined;

/** The cold calls; loads koffi at the first use. */
export function cold(): ColdCalls {
  bound ??= open();
  return bound;
}
