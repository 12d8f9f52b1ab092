/** Reading a configuration file whose path we were given: a regular file of bounded size, and never a wait. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

export type ReadFile =
  | { readonly ok: true; readonly bytes: Uint8Array }
  /** `code`: the errno's name, "ENOTREG" for what is no regular file, "EFBIG" for more than `max` bytes. */
  | { readonly ok: false; readonly code: string; readonly reason: string };

/** Reads at most `max` bytes. O_NONBLOCK: opening a fifo would otherwise wait for its writer (open(2)). */
export function readRegular(path: string, max: number): ReadFile {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return failed(error, "open");
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return { ok: false, code: "ENOTREG", reason: "is not a regular file" };
    if (stat.size > max) return tooLarge(max);
    // One byte more than the size: a file that grows meanwhile is seen to have grown.
    const buffer = Buffer.alloc(stat.size + 1);
    let length = 0;
    while (length < buffer.length) {
      const n = readSync(fd, buffer, length, buffer.length - length, null);
      if (n === 0) break;
      length += n;
    }
    if (length > stat.size) return { ok: false, code: "EAGAIN", reason: "changed while it was read" };
    return { ok: true, bytes: new Uint8Array(buffer.subarray(0, length)) };
  } catch (error) {
    return failed(error, "read");
  } finally {
    closeSync(fd);
  }
}

function tooLarge(max: number): ReadFile {
  return { ok: false, code: "EFBIG", reason: `has more than ${max} bytes` };
}

function failed(error: unknown, call: string): ReadFile {
  const code = (error as { code?: unknown }).code;
  const name = typeof code === "string" ? code : "EIO";
  return { ok: false, code: name, reason: `${call}: ${name}` };
}
