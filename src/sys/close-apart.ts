/**
 * Closing, for the control thread, what a container has a hand in: such a close(2) can wait for
 * as long as the container likes (native/pvx.c), so a child does it. The data plane's own is
 * `relay/closer.ts`, which counts what waits.
 */
import { Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** struct closer of native/pvx.c: two counts, a pid, 256 fds. */
const SHARED_BYTES = 4 * (3 + 256);
const STACK_BYTES = 8 * 1024;
/** Children, each with 256 fds that it has not come to: beyond, an fd stays open. */
const CHILDREN_MAX = 8;

/** They live, and may use their memory, as long as this thread does. */
const children: { readonly shared: Memory; readonly stack: Memory }[] = [];

/** Closes a connected stream socket, or whatever else (`whole`: also a seqpacket socket), without waiting for it. */
export function closeApart(fd: number, whole: boolean): void {
  if (!whole && pvx.pvx_close_stream(fd) === 1) return;
  if (children.some((child) => give(child.shared, fd))) return;
  if (children.length === CHILDREN_MAX) return;
  const shared = new Memory(SHARED_BYTES);
  const stack = new Memory(STACK_BYTES);
  if (pvx.pvx_closer_start(shared.address, stack.address, STACK_BYTES) < 0) {
    // User-mode emulators clone no such child.
    pvx.pvx_close(fd);
    return;
  }
  children.push({ shared, stack });
  give(shared, fd);
}

function give(shared: Memory, fd: number): boolean {
  if (pvx.pvx_closer_give(shared.address, fd) === 0) return false;
  pvx.pvx_closer_wake(shared.address);
  return true;
}
