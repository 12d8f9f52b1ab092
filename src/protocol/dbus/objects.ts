/**
 * ObjectManager bodies without the interfaces, and lists without the names, that are hidden. Entries are moved as
 * bytes, never decoded: they begin at multiples of 8 before and after, so that everything in
 * them keeps its alignment. The body must have passed `validBody`.
 *
 * `a{oa{sa{sv}}}` GetManagedObjects, `oa{sa{sv}}` InterfacesAdded, `oas` InterfacesRemoved;
 * and `as`, ListNames.
 */

import { readU32, writeU32 } from "./integers.ts";
import { ascii } from "./intern.ts";

/** Whether the interface of the object is kept. */
export type Keep = (path: string, iface: string) => boolean;

const align = (n: number, to: number): number => (n + to - 1) & ~(to - 1);

/** Copies from `source` (a whole body, at an 8-aligned place) to a body that is never longer. */
class Rewriter {
  readonly source: Uint8Array;
  readonly out: Uint8Array;
  readonly le: boolean;
  from = 0;
  to = 0;

  constructor(source: Uint8Array, littleEndian: boolean) {
    this.source = source;
    this.out = new Uint8Array(source.length);
    this.le = littleEndian;
  }
  peekString(): string {
    const length = readU32(this.source, this.from, this.le);
    return ascii(this.source, this.from + 4, this.from + 4 + length);
  }
  afterString(): number {
    return this.from + 4 + readU32(this.source, this.from, this.le) + 1;
  }
  copyTo(end: number): void {
    this.out.set(this.source.subarray(this.from, end), this.to);
    this.to += end - this.from;
    this.from = end;
  }
  alignBoth(to: number): void {
    this.from = align(this.from, to);
    const aligned = align(this.to, to);
    // What was copied here and taken back must not show through: padding is zero.
    this.out.fill(0, this.to, aligned);
    this.to = aligned;
  }
  /** Enters an array of 8-aligned elements. Returns where it ends and a function that writes its new length. */
  enter(alignment: number): { stop: number; leave: () => void } {
    this.alignBoth(4);
    const lengthAt = this.to;
    const length = readU32(this.source, this.from, this.le);
    this.from += 4;
    this.to += 4;
    this.alignBoth(alignment);
    const start = this.to;
    return { stop: this.from + length, leave: () => writeU32(this.out, lengthAt, this.le, this.to - start) };
  }
  result(): Uint8Array {
    return this.out.subarray(0, this.to);
  }
}

/** One `a{sa{sv}}` at the place reached. Returns how many interfaces stay. */
function interfaces(r: Rewriter, path: string, keep: Keep): number {
  const { stop, leave } = r.enter(8);
  let kept = 0;
  let end = r.to;
  while (r.from < stop) {
    r.alignBoth(8);
    const name = r.peekString();
    // The properties: an array length at 4, padding to 8, that many bytes.
    const lengthAt = align(r.afterString(), 4);
    const after = align(lengthAt + 4, 8) + readU32(r.source, lengthAt, r.le);
    if (keep(path, name)) {
      r.copyTo(after);
      end = r.to;
      kept++;
    } else {
      r.from = after;
      r.to = end;
    }
  }
  r.to = end;
  leave();
  return kept;
}

/** `a{oa{sa{sv}}}`: objects that keep no interface are left out. */
export function stripManagedObjects(body: Uint8Array, littleEndian: boolean, keep: Keep): Uint8Array {
  const r = new Rewriter(body, littleEndian);
  const { stop, leave } = r.enter(8);
  let end = r.to;
  while (r.from < stop) {
    r.alignBoth(8);
    const path = r.peekString();
    r.copyTo(r.afterString());
    if (interfaces(r, path, keep) > 0) end = r.to;
    else r.to = end;
  }
  r.to = end;
  leave();
  return r.result();
}

/** `oa{sa{sv}}`; undefined when nothing is left to say. */
export function stripInterfacesAdded(body: Uint8Array, littleEndian: boolean, keep: Keep): Uint8Array | undefined {
  const r = new Rewriter(body, littleEndian);
  const path = r.peekString();
  r.copyTo(r.afterString());
  return interfaces(r, path, keep) > 0 ? r.result() : undefined;
}

/** One `as` at the place reached. Returns how many strings stay. */
function strings(r: Rewriter, keep: (text: string) => boolean): number {
  const { stop, leave } = r.enter(4);
  let end = r.to;
  let kept = 0;
  while (r.from < stop) {
    r.alignBoth(4);
    const name = r.peekString();
    const after = r.afterString();
    if (keep(name)) {
      r.copyTo(after);
      end = r.to;
      kept++;
    } else {
      r.from = after;
      r.to = end;
    }
  }
  r.to = end;
  leave();
  return kept;
}

/** `oas`; undefined when nothing is left to say. */
export function stripInterfacesRemoved(body: Uint8Array, littleEndian: boolean, keep: Keep): Uint8Array | undefined {
  const r = new Rewriter(body, littleEndian);
  const path = r.peekString();
  r.copyTo(r.afterString());
  return strings(r, (name) => keep(path, name)) > 0 ? r.result() : undefined;
}

/** `as`, the answer to ListNames, without the names that are not kept. */
export function stripNames(body: Uint8Array, littleEndian: boolean, keep: (name: string) => boolean): Uint8Array {
  const r = new Rewriter(body, littleEndian);
  strings(r, keep);
  return r.result();
}
