/**
 * Closing, for the control thread, what a container has a hand in (`closer-process.ts`). The data
 * plane's own is `relay/closer.ts`, which counts what waits.
 */
import { CloserProcess } from "./closer-process.ts";
import { pvx } from "./shim.ts";

/** Children, each with 256 fds that it has not come to: beyond, an fd stays open. */
const CHILDREN_MAX = 8;

/** They live, and may use their memory, as long as this thread does. */
const children: CloserProcess[] = [];

/** Closes a connected stream socket, or whatever else (`whole`: also a seqpacket socket), without waiting for it. */
export function closeApart(fd: number, whole: boolean): void {
  if (!whole && pvx.pvx_close_stream(fd) === 1) return;
  let child = children.find((running) => running.give(fd));
  if (child === undefined) {
    if (children.length === CHILDREN_MAX) return;
    child = CloserProcess.start();
    if (child === undefined) {
      pvx.pvx_close(fd);
      return;
    }
    children.push(child);
    child.give(fd);
  }
  child.wake();
}
