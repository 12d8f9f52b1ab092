/** A client that says exactly what a test wants it to say: bytes and fds over a Wayland socket. */
import { errnoName } from "../../src/sys/errno.ts";
import { SOCK_STREAM } from "../../src/sys/flags.ts";
import { pvx } from "../../src/sys/shim.ts";
import { connectPath, unixSocket } from "../../src/sys/unix-socket.ts";
import { client, errorsIn, globalsIn, joined, type Message, messagesIn } from "./wayland-session.ts";
import { until, WaylandSocket } from "./wayland-socket.ts";

export class RawClient {
  readonly socket: WaylandSocket;
  private nextId = 2;

  constructor(path: string) {
    const fd = unixSocket(SOCK_STREAM);
    const r = connectPath(fd, path);
    if (r < 0) {
      pvx.pvx_close(fd);
      throw new Error(`Cannot connect to ${path}: ${errnoName(r)}`);
    }
    this.socket = new WaylandSocket(fd);
  }
  /** Ids in order, as libwayland gives them. */
  newId(): number {
    return this.nextId++;
  }
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.socket.send(bytes, fds);
  }
  get messages(): Message[] {
    const { received } = this.socket;
    let end = 0;
    while (received.length - end >= 8 && received.length - end >= received.readUInt16LE(end + 6))
      end += Math.max(8, received.readUInt16LE(end + 6));
    return messagesIn(received.subarray(0, end));
  }
  get errors(): string[] {
    return errorsIn(joined(this.socket.received));
  }
  /** wl_display.sync and its answer. */
  async roundTrip(ms?: number): Promise<void> {
    const callback = this.newId();
    this.send(client.sync(callback));
    await until("a sync is answered", () => this.messages.some((m) => m.id === callback && m.opcode === 0), ms);
  }
  /** A new registry and the globals shown on it. */
  async globals(): Promise<{ registry: number; shown: string[] }> {
    const registry = this.newId();
    this.send(client.getRegistry(registry));
    await this.roundTrip();
    return { registry, shown: globalsIn(joined(this.socket.received), registry) };
  }
  async ended(ms?: number): Promise<string> {
    return until("the connection ends", () => this.socket.ended, ms);
  }
  close(): void {
    this.socket.close();
  }
}
