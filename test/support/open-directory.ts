import { checked } from "../../src/sys/errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH } from "../../src/sys/flags.ts";
import { cstring } from "../../src/sys/memory.ts";
import { pvx } from "../../src/sys/shim.ts";

/** An O_PATH fd of a directory; the caller's. */
export const openDirectory = (path: string): number =>
  checked(pvx.pvx_openat(AT_FDCWD, cstring(path), O_PATH | O_DIRECTORY | O_CLOEXEC, 0), () => `open(${path})`);
