/**
 * The request head as the provider gets it: the consumer's own bytes, line by line, with
 * the identity in front of all other fields, without the fields that were left out, and
 * with a Connection of our own.
 *
 * In front, because some servers forget fields beyond a number, and the identity must not
 * be among those.
 */
import { ascii, SLASH } from "./characters.ts";
import type { RequestHead } from "./request-head.ts";

const CONNECTION_CLOSE = ascii("Connection: close\r\n");
const CONNECTION_KEEP_ALIVE = ascii("Connection: keep-alive\r\n");
const CONNECTION_UPGRADE = ascii("Connection: upgrade\r\nUpgrade: ");
const CRLF = ascii("\r\n");
/** Below this a loop beats making a view for `set`. */
const SHORT = 64;
/** Heads of up to this many bytes have their view made once: making one costs as much as copying a head. */
const KEPT_VIEWS = 2048;

/** All fields stay, the target stays, and no Connection is to be added. */
function isPlain({ fields, minor, persists, target }: RequestHead): boolean {
  if (target.absolute || minor === 0 || !persists) return false;
  for (let field = 0; field < fields.count; field++) if (fields.kept[field] === 0) return false;
  return true;
}

export class HeadWriter {
  private readonly bytes: Uint8Array;
  private length = 0;
  private readonly views: (Uint8Array | undefined)[] = new Array(KEPT_VIEWS).fill(undefined);

  /** `headBytes`: the largest head that comes in. `added`: the largest identity, path and upgrade together. */
  constructor(headBytes: number, added: number) {
    this.bytes = new Uint8Array(headBytes + added + CONNECTION_UPGRADE.length + 2 * CRLF.length);
  }

  /**
   * `identity`: complete lines, "Name: value\r\n" each. `path`: to put for the consumer's, or undefined to
   * keep it. `upgrade`: the value of Upgrade, or undefined for none. The answer is overwritten by the next call.
   */
  write(
    head: RequestHead,
    identity: Uint8Array,
    path: Uint8Array | undefined,
    upgrade: Uint8Array | undefined,
  ): Uint8Array {
    this.length = 0;
    if (path === undefined && upgrade === undefined && isPlain(head)) this.writePlain(head, identity);
    else this.writeChanged(head, identity, path, upgrade);
    return this.view();
  }

  /** Nothing but the identity is to be put in, which is how nearly all requests are: two long copies. */
  private writePlain({ bytes, base, start, end, lineEnd }: RequestHead, identity: Uint8Array): void {
    const line = lineEnd - start;
    this.bytes.set(bytes.subarray(base + start, base + end), identity.length);
    this.bytes.copyWithin(0, identity.length, identity.length + line);
    this.bytes.set(identity, line);
    this.length = end - start + identity.length;
  }

  private writeChanged(
    head: RequestHead,
    identity: Uint8Array,
    path: Uint8Array | undefined,
    upgrade: Uint8Array | undefined,
  ): void {
    const { bytes, base, fields } = head;
    this.writeRequestLine(head, path);
    this.copy(identity, 0, identity.length);
    // All that is not left out, listed or not: a usual head has its fields in one piece.
    let from = base + head.lineEnd;
    for (let field = 0; field < fields.count; field++) {
      if (fields.kept[field] !== 0) continue;
      this.copy(bytes, from, base + fields.lineStart(field));
      from = base + fields.lineEnd(field);
    }
    this.copy(bytes, from, base + fields.end - CRLF.length);
    this.writeConnection(head, upgrade);
    this.copy(CRLF, 0, CRLF.length);
  }

  private view(): Uint8Array {
    const { length, views } = this;
    if (length >= KEPT_VIEWS) return this.bytes.subarray(0, length);
    views[length] ??= this.bytes.subarray(0, length);
    return views[length]!;
  }

  /** Always the origin form (or "*"): the authority of an absolute form equals Host, which stays. */
  private writeRequestLine(head: RequestHead, path: Uint8Array | undefined): void {
    const { bytes, base, target } = head;
    this.copy(bytes, base + head.start, target.start);
    if (path !== undefined) this.copy(path, 0, path.length);
    else if (target.pathEnd === target.pathStart) this.bytes[this.length++] = SLASH;
    else this.copy(bytes, target.pathStart, target.pathEnd);
    this.copy(bytes, target.pathEnd, base + head.lineEnd);
  }

  private writeConnection(head: RequestHead, upgrade: Uint8Array | undefined): void {
    if (upgrade !== undefined) {
      this.copy(CONNECTION_UPGRADE, 0, CONNECTION_UPGRADE.length);
      this.copy(upgrade, 0, upgrade.length);
      this.copy(CRLF, 0, CRLF.length);
    } else if (head.minor === 1) {
      if (!head.persists) this.copy(CONNECTION_CLOSE, 0, CONNECTION_CLOSE.length);
    } else if (head.persists) this.copy(CONNECTION_KEEP_ALIVE, 0, CONNECTION_KEEP_ALIVE.length);
  }

  private copy(from: Uint8Array, start: number, end: number): void {
    const { bytes } = this;
    let to = this.length;
    this.length += end - start;
    if (end - start > SHORT) bytes.set(from.subarray(start, end), to);
    else for (let i = start; i < end; i++) bytes[to++] = from[i]!;
  }
}
