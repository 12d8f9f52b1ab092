/**
 * The data plane as the program of a Worker: its mailbox, and how the reactor gives way to it.
 *
 * Orders come as messages of the Worker itself, which only Bun's event loop delivers, while the
 * reactor blocks. So the control thread counts its orders in an eventfd of the reactor's: one
 * written after each message. The reactor reads how many it owes an answer, returns, and
 * the last of them to be delivered starts it again.
 *
 * Why not node:worker_threads, whose receiveMessageOnPort needs no event loop: it brings Bun's
 * node streams and events into the heap of both threads, 3.3 MB of 14.
 */
import { DataPlane, type HandlerFactory } from "./data-plane.ts";
import type { DataPlaneStart, FromDataPlane, ToDataPlane } from "./messages.ts";

/** What bun-types says of a Worker's own scope is typed for the main thread. */
const scope = globalThis as unknown as {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  postMessage(message: FromDataPlane): void;
};

/** Serves until the process ends. What the reactor throws becomes the Worker's error. */
export function serveOrders(factories: Readonly<Record<string, HandlerFactory>>): void {
  let plane: DataPlane | undefined;
  scope.onmessage = ({ data }) => {
    if (plane === undefined) {
      plane = new DataPlane(data as DataPlaneStart, factories, (message) => scope.postMessage(message));
      plane.tell({ event: "ready" });
    } else plane.deliver(data as ToDataPlane);
    plane.runUntilOrdered();
  };
}
