/**
 * Memory whose address the kernel may be given.
 *
 * JavaScriptCore keeps the bytes of a small typed array inside a movable object
 * until `.buffer` is touched, and moves them then. So: the ArrayBuffer first, all
 * views on it, the address once, and a reference held as long as it is in use.
 */
import { type Pointer, ptr } from "bun:ffi";

export class Memory {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly address: Pointer;
  /** Of so many bytes, or of a buffer that is shared between threads. */
  constructor(size: number | SharedArrayBuffer) {
    this.buffer = typeof size === "number" ? new ArrayBuffer(size) : (size as unknown as ArrayBuffer);
    this.bytes = new Uint8Array(this.buffer);
    this.address = ptr(this.bytes);
  }
  get length(): number {
    return this.bytes.length;
  }
}

/** PATH_MAX (linux/limits.h) with its NUL, and what `/proc/self/fd/N/` adds. */
const PATH_BUFFER = 4096 + 64;
const encoder = new TextEncoder();

/** One NUL-terminated string at a stable address; overwritten by the next `set`. */
class CString {
  private readonly memory = new Memory(PATH_BUFFER);
  set(text: string): Pointer {
    const { bytes, address } = this.memory;
    // encodeInto stops where the room ends: a string that doesn't fit must not be cut silently.
    const { read, written } = encoder.encodeInto(text, bytes.subarray(0, PATH_BUFFER - 1));
    if (read < text.length)
      throw new RangeError(
        `Cannot pass a string of ${text.length} characters to the kernel: longer than ${PATH_BUFFER - 1} bytes`,
      );
    if (text.includes("\0")) throw new RangeError("Cannot pass a string with a NUL byte to the kernel");
    bytes[written] = 0;
    return address;
  }
}

const first = new CString();
/** For a call with one string argument. */
export const cstring = (text: string): Pointer => first.set(text);
