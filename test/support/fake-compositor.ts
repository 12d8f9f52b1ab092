/**
 * A compositor for what real ones can't be made to do: any global, malformed events, floods,
 * security contexts that are refused or never answered. Speaks wl_display, wl_registry and
 * security-context-v1 by itself; every other request is kept for the test to look at.
 */
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { encodeError, encodeMessage, parseBind } from "../../src/protocol/wayland/wire.ts";
import { SOCK_STREAM } from "../../src/sys/flags.ts";
import { pvx } from "../../src/sys/shim.ts";
import { bindAt, listen, peerCredentials, unixSocket } from "../../src/sys/unix-socket.ts";
import { openDirectory } from "./open-directory.ts";
import { WaylandSocket } from "./wayland-socket.ts";

export type FakeGlobal = readonly [name: number, interface_: string, version: number];
/** How security-context-v1 goes: accepted, refused with an error, never answered, or the connection closed on commit. */
export type ContextMode = "accept" | "refuse" | "silent" | "hang-up";

export interface SandboxIdentity {
  engine: string | undefined;
  appId: string | undefined;
  instanceId: string | undefined;
}

export interface Request {
  readonly id: number;
  readonly opcode: number;
  readonly body: Buffer;
}

/** One client. */
export class FakeClient {
  readonly socket: WaylandSocket;
  readonly peer: { readonly pid: number; readonly uid: number; readonly gid: number };
  /** Undefined: connected to the compositor's own socket. */
  readonly identity: Readonly<SandboxIdentity> | undefined;
  readonly requests: Request[] = [];
  readonly binds: string[] = [];
  readonly registries: number[] = [];

  constructor(fd: number, identity: SandboxIdentity | undefined) {
    this.peer = peerCredentials(fd);
    this.identity = identity;
    this.socket = new WaylandSocket(fd);
  }
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.socket.send(bytes, fds);
  }
}

interface Context {
  readonly listenFd: number;
  readonly closeFd: number;
  readonly identity: SandboxIdentity;
  committed: boolean;
}

export class FakeCompositor {
  readonly clients: FakeClient[] = [];
  /** Identities that were committed, in order. */
  readonly identities: SandboxIdentity[] = [];
  globals: FakeGlobal[];
  contextMode: ContextMode;
  /** For requests that are not its own; each is in `client.requests` too. */
  onRequest: ((client: FakeClient, request: Request) => void) | undefined;
  /** Closes what its clients have closed, as a real one does; otherwise what they sent is kept to be looked at. */
  closesEnded = false;
  private readonly path: string;
  private listenFd: number;
  private readonly contexts = new Set<Context>();
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(path: string, globals: readonly FakeGlobal[], contextMode: ContextMode = "accept") {
    this.path = path;
    this.globals = [...globals];
    this.contextMode = contextMode;
    rmSync(path, { force: true });
    const directory = openDirectory(dirname(path));
    this.listenFd = unixSocket(SOCK_STREAM);
    bindAt(this.listenFd, directory, path.slice(dirname(path).length + 1), 0o600);
    pvx.pvx_close(directory);
    listen(this.listenFd, 64);
    this.timer = setInterval(() => this.turn(), 1);
  }

  /** Sockets that still take clients with an identity. */
  get listeningContexts(): number {
    return [...this.contexts].filter((c) => c.committed).length;
  }

  /** As if the process had died: every fd is gone at once. */
  stop(): void {
    clearInterval(this.timer);
    for (const client of this.clients) client.socket.close();
    for (const context of this.contexts) {
      pvx.pvx_close(context.listenFd);
      pvx.pvx_close(context.closeFd);
    }
    this.contexts.clear();
    if (this.listenFd >= 0) pvx.pvx_close(this.listenFd);
    this.listenFd = -1;
    rmSync(this.path, { force: true });
  }

  /** Every registry of every client learns of a global. */
  announce(global: FakeGlobal): void {
    this.globals.push(global);
    for (const client of this.clients)
      for (const registry of client.registries) client.send(encodeMessage(registry, 0, ...global));
  }
  remove(name: number): void {
    this.globals = this.globals.filter(([n]) => n !== name);
    for (const client of this.clients)
      for (const registry of client.registries) client.send(encodeMessage(registry, 1, name));
  }

  private turn(): void {
    if (this.closesEnded) for (const { socket } of this.clients) if (socket.ended !== undefined) socket.close();
    this.acceptAll(this.listenFd, undefined);
    for (const context of [...this.contexts]) {
      // POLLHUP of the closing pipe: the other end is gone.
      if (pvx.pvx_wait_readable(context.closeFd, 0) !== 0) {
        pvx.pvx_close(context.listenFd);
        pvx.pvx_close(context.closeFd);
        this.contexts.delete(context);
      } else if (context.committed) this.acceptAll(context.listenFd, context.identity);
    }
  }

  private acceptAll(listenFd: number, identity: SandboxIdentity | undefined): void {
    for (let fd = pvx.pvx_accept(listenFd); fd >= 0; fd = pvx.pvx_accept(listenFd)) {
      const client = new FakeClient(fd, identity);
      const objects = new Map<number, Context | "manager">();
      client.socket.onData = () => this.readFrom(client, objects);
      this.clients.push(client);
    }
  }

  private readFrom(client: FakeClient, objects: Map<number, Context | "manager">): void {
    const { socket } = client;
    while (!socket.deaf && socket.received.length >= 8) {
      const size = socket.received.readUInt16LE(6);
      if (size < 8 || socket.received.length < size) return;
      const message = socket.take(size);
      const request = { id: message.readUInt32LE(0), opcode: message.readUInt16LE(4), body: message.subarray(8) };
      if (this.own(client, request, message, objects)) continue;
      client.requests.push(request);
      this.onRequest?.(client, request);
    }
  }

  /** True: it was one of those that the compositor answers itself. */
  private own(
    client: FakeClient,
    { id, opcode, body }: Request,
    message: Buffer,
    objects: Map<number, Context | "manager">,
  ): boolean {
    if (id === 1 && opcode === 0) {
      const callback = body.readUInt32LE(0);
      client.send(Buffer.concat([encodeMessage(callback, 0, 1), encodeMessage(1, 1, callback)]));
      return true;
    }
    if (id === 1 && opcode === 1) {
      const registry = body.readUInt32LE(0);
      client.registries.push(registry);
      client.send(Buffer.concat(this.globals.map((global) => encodeMessage(registry, 0, ...global))));
      return true;
    }
    if (client.registries.includes(id) && opcode === 0) {
      const bind = parseBind(message, 0, message.length);
      if (bind === undefined) throw new Error("the fake compositor got a malformed bind");
      client.binds.push(`${bind.name} ${bind.interface} v${bind.version}`);
      if (bind.interface === "wp_security_context_manager_v1") objects.set(bind.newId, "manager");
      return true;
    }
    const object = objects.get(id);
    if (object === undefined) return false;
    this.contextRequest(client, object, opcode, body, objects);
    return true;
  }

  private contextRequest(
    client: FakeClient,
    object: Context | "manager",
    opcode: number,
    body: Buffer,
    objects: Map<number, Context | "manager">,
  ): void {
    const text = () => body.toString("utf8", 4, 4 + body.readUInt32LE(0) - 1);
    if (object === "manager") {
      if (opcode !== 1) return;
      const [listenFd, closeFd] = client.socket.fds.splice(0, 2);
      if (listenFd === undefined || closeFd === undefined) throw new Error("create_listener came without its fds");
      const identity = { engine: undefined, appId: undefined, instanceId: undefined };
      const context: Context = { listenFd, closeFd, identity, committed: false };
      this.contexts.add(context);
      objects.set(body.readUInt32LE(0), context);
      return;
    }
    if (opcode === 1) object.identity.engine = text();
    if (opcode === 2) object.identity.appId = text();
    if (opcode === 3) object.identity.instanceId = text();
    if (opcode === 4) this.commit(client, object);
  }

  private commit(client: FakeClient, context: Context): void {
    if (this.contextMode === "accept") {
      context.committed = true;
      this.identities.push(context.identity);
    } else if (this.contextMode === "refuse") client.send(encodeError(5, 3, "invalid metadata"));
    else if (this.contextMode === "hang-up") client.socket.close();
    else client.socket.deaf = true;
  }
}
