/**
 * Entry and composition root of the data-plane Worker: which handler serves which
 * type of link. Blocks in the reactor from here on; what it throws ends the process
 * (daemon.ts), since a reactor in an unknown state must not go on.
 *
 * A type's handler is loaded with its first link, so that a device without D-Bus does
 * not hold D-Bus's code. `require`, since nothing asynchronous ever happens here.
 */
import type { createHandler as dbus } from "./mediators/dbus/handler.ts";
import type { createHandler as rest } from "./mediators/rest/handler.ts";
import { createHandler as unix } from "./mediators/unix/handler.ts";
import type { createHandler as wayland } from "./mediators/wayland/handler.ts";
import type { HandlerFactory } from "./relay/data-plane.ts";
import type { LinkHandler, LinkIdentity } from "./relay/filter.ts";
import { serveOrders } from "./relay/plane-thread.ts";

type Create<C> = (link: LinkIdentity, config: C) => LinkHandler;

/** The configuration is what the type's own mediator sent over. */
function lazily<C>(load: () => { readonly createHandler: Create<C> }): HandlerFactory {
  let create: Create<C> | undefined;
  return (link, config) => {
    create ??= load().createHandler;
    return create(link, config as C);
  };
}

const factories: Readonly<Record<string, HandlerFactory>> = {
  dbus: lazily<Parameters<typeof dbus>[1]>(() => require("./mediators/dbus/handler.ts")),
  rest: lazily<Parameters<typeof rest>[1]>(() => require("./mediators/rest/handler.ts")),
  unix: lazily<Parameters<typeof unix>[1]>(() => ({ createHandler: unix })),
  wayland: lazily<Parameters<typeof wayland>[1]>(() => require("./mediators/wayland/handler.ts")),
};

serveOrders(factories);
