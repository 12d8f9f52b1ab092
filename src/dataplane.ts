/**
 * Entry and composition root of the data-plane Worker: which handler serves which
 * type of link. Blocks in the reactor from here on; what it throws ends the process
 * (daemon.ts), since a reactor in an unknown state must not go on.
 */
import { workerData } from "node:worker_threads";
import { createHandler as dbus } from "./mediators/dbus/handler.ts";
import { createHandler as rest } from "./mediators/rest/handler.ts";
import { createHandler as unix } from "./mediators/unix/handler.ts";
import { createHandler as wayland } from "./mediators/wayland/handler.ts";
import { DataPlane, type HandlerFactory } from "./relay/data-plane.ts";
import type { DataPlaneStart } from "./relay/messages.ts";

const factories: Readonly<Record<string, HandlerFactory>> = {
  dbus: (link, config) => dbus(link, config as Parameters<typeof dbus>[1]),
  rest: (link, config) => rest(link, config as Parameters<typeof rest>[1]),
  unix: (link, config) => unix(link, config as Parameters<typeof unix>[1]),
  wayland: (link, config) => wayland(link, config as Parameters<typeof wayland>[1]),
};

new DataPlane(workerData as DataPlaneStart, factories).run();
