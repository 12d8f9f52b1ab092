/**
 * What we have planted, in `<state-dir>/planted.ndjson`: written before and after each
 * step, so that the next start knows what a killed one left behind, and that nothing but
 * ours is ever replaced or removed.
 *
 * One line a fact: `intent` (with the temporary name, before it exists), `planted` (with
 * the object's identity, before it becomes visible), `hidden` (a private name it is moved
 * to before it is removed), `removed`. Rewritten at start and when it has grown.
 */
import { closeSync, constants, fstatSync, openSync, readSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { type Fact, type JournalEntry, parseFact } from "./journal-lines.ts";
import type { ObjectIdentity } from "./object-id.ts";

export type { JournalEntry, PlantedKind } from "./journal-lines.ts";

const NAME = "planted.ndjson";
/** A journal is read up to here: ten times what 5,000 links with paths of full length leave. */
const READ_MAX = 256 * 1024 * 1024;
/** Rewritten when it is larger than this, and than four times what the last rewrite left. */
const REWRITE_BYTES = 4 * 1024 * 1024;
const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Lines that were not understood at the start; for one log line. */
export interface JournalTrouble {
  readonly line: number;
  readonly reason: string;
}

export class Journal {
  /** What the file had that is no fact. The rest of it counts. */
  readonly troubles: readonly JournalTrouble[];
  private readonly directory: string;
  private readonly boot: string;
  private readonly known = new Map<number, JournalEntry>();
  /** Ids by process, then by path. */
  private readonly processes = new Map<string, Map<string, Set<number>>>();
  private nextId = 1;
  private fd = -1;
  private size = 0;
  private limit = REWRITE_BYTES;
  /** Lines that wait for the end of `together`. */
  private gathered: string[] | undefined;
  /** The last write ended within a line. */
  private torn = false;

  /**
   * `directory`: the state directory, 0700 and ours (state-lock.ts). `boot`: the kernel's
   * boot id; what an earlier boot planted is forgotten. Throws node's errors.
   */
  constructor(directory: string, boot: string) {
    this.directory = directory;
    this.boot = boot;
    this.troubles = this.load();
    this.rewrite();
  }

  entries(): readonly JournalEntry[] {
    return [...this.known.values()];
  }

  /** What was recorded at `path` in that container; `pid` 0 and `startTime` "" for the host. */
  find(pid: number, startTime: string, path: string): readonly JournalEntry[] {
    const ids = this.processes.get(processOf(pid, startTime))?.get(path) ?? [];
    return [...ids].map((id) => this.known.get(id)!);
  }

  /** A container has ended: its mount namespace is gone, and all that was planted in it. Never throws. */
  ended(pid: number, startTime: string): void {
    for (const ids of this.processes.get(processOf(pid, startTime))?.values() ?? [])
      for (const id of [...ids]) this.removed(id);
  }

  /** Before anything is made. Throws when it can't be written: then nothing may be made. */
  intend(entry: Omit<JournalEntry, "id" | "object" | "earlier">): number {
    const id = this.nextId++;
    this.append({ op: "intent", id, ...entry });
    this.learnEntry({ ...entry, id, earlier: false });
    return id;
  }

  /** It exists, under its temporary name still. */
  planted(id: number, object: ObjectIdentity): void {
    const entry = this.known.get(id);
    if (entry === undefined) return;
    const { dev, ino, born } = object;
    this.append({ op: "planted", id, dev, ino, born });
    this.known.set(id, { ...entry, object: { dev, ino, born } });
  }

  /** It is about to be moved to another temporary name. */
  hidden(id: number, temporary: string): void {
    const entry = this.known.get(id);
    if (entry === undefined) return;
    this.append({ op: "hidden", id, temporary });
    this.known.set(id, { ...entry, temporary });
  }

  /** Gone, or not ours any more. Never throws: a line that is missing costs one look at the next start. */
  removed(id: number): void {
    if (!this.forget(id)) return;
    try {
      this.append({ op: "removed", id });
    } catch {
      this.torn = true;
    }
  }

  /** What `facts` records is written at once, and before this returns. Throws what writing throws. */
  together(facts: () => void): void {
    this.gathered = [];
    try {
      facts();
    } finally {
      const lines = this.gathered;
      this.gathered = undefined;
      if (lines.length > 0) this.writeLines(lines.join(""));
    }
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  private append(fact: Fact): void {
    if (this.fd < 0) throw new Error(`Cannot write ${NAME}: it is closed`);
    const line = `${JSON.stringify(fact)}\n`;
    if (this.gathered === undefined) this.writeLines(line);
    else this.gathered.push(line);
  }

  private writeLines(lines: string): void {
    this.write(`${this.torn ? "\n" : ""}${lines}`);
    if (this.size > this.limit) this.rewrite();
  }

  private write(text: string): void {
    const bytes = Buffer.from(text);
    this.torn = true;
    for (let at = 0; at < bytes.length; ) at += writeSync(this.fd, bytes, at);
    this.torn = false;
    this.size += bytes.length;
  }

  private learnEntry(entry: JournalEntry): void {
    this.forget(entry.id);
    this.known.set(entry.id, entry);
    const process = processOf(entry.pid, entry.startTime);
    const paths = this.processes.get(process) ?? new Map<string, Set<number>>();
    this.processes.set(process, paths.set(entry.path, (paths.get(entry.path) ?? new Set()).add(entry.id)));
  }

  private forget(id: number): boolean {
    const entry = this.known.get(id);
    if (entry === undefined) return false;
    this.known.delete(id);
    const process = processOf(entry.pid, entry.startTime);
    const paths = this.processes.get(process);
    const ids = paths?.get(entry.path);
    ids?.delete(id);
    if (ids?.size === 0) paths!.delete(entry.path);
    if (paths?.size === 0) this.processes.delete(process);
    return true;
  }

  private load(): readonly JournalTrouble[] {
    const troubles: JournalTrouble[] = [];
    const text = readWhole(`${this.directory}/${NAME}`);
    const lines = text.split("\n");
    // After the last newline: nothing, or what a killed daemon did not finish.
    const last = lines.pop();
    if (last !== "") troubles.push({ line: lines.length + 1, reason: "cut short" });
    let current = false;
    for (const [i, line] of lines.entries()) {
      if (line === "") continue;
      const fact = parseFact(line);
      if (typeof fact === "string") troubles.push({ line: i + 1, reason: fact });
      else if (fact.op === "journal") current = fact.boot === this.boot;
      else if (current) this.learn(fact);
    }
    return troubles;
  }

  private learn(fact: Exclude<Fact, { op: "journal" }>): void {
    const { id } = fact;
    const entry = this.known.get(id);
    this.nextId = Math.max(this.nextId, id + 1);
    if (fact.op === "intent") {
      const { op: _, ...rest } = fact;
      this.learnEntry({ ...rest, earlier: true });
    } else if (fact.op === "removed") this.forget(id);
    else if (entry === undefined) return;
    else if (fact.op === "hidden") this.known.set(id, { ...entry, temporary: fact.temporary });
    else this.known.set(id, { ...entry, object: { dev: fact.dev, ino: fact.ino, born: fact.born } });
  }

  /** Writes what is known to a new file and puts it in the old one's place. */
  private rewrite(): void {
    const next = `${this.directory}/${NAME}.next`;
    try {
      unlinkSync(next);
    } catch {
      // None there: the usual case.
    }
    const { fd: old, size: oldSize } = this;
    this.fd = openSync(next, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW, 0o600);
    this.size = 0;
    try {
      let text = `${JSON.stringify({ op: "journal", version: 1, boot: this.boot })}\n`;
      for (const entry of this.known.values()) {
        const { object, earlier: _, ...rest } = entry;
        text += `${JSON.stringify({ op: "intent", ...rest })}\n`;
        if (object !== undefined) text += `${JSON.stringify({ op: "planted", id: entry.id, ...object })}\n`;
      }
      this.write(text);
      renameSync(next, `${this.directory}/${NAME}`);
      this.limit = Math.max(REWRITE_BYTES, 4 * this.size);
    } catch (error) {
      closeSync(this.fd);
      this.fd = old;
      this.size = oldSize;
      if (old < 0) throw error;
      // The old file goes on; the next try comes when it has grown as much again.
      this.limit *= 2;
      this.torn = true;
      return;
    }
    if (old >= 0) closeSync(old);
  }
}

const processOf = (pid: number, startTime: string): string => `${pid} ${startTime}`;

/** The file's text; "" when there is none. Refuses what is no regular file of ours with one name. */
function readWhole(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.nlink !== 1 || stat.uid !== process.geteuid?.())
      throw new Error(`Cannot read ${path}: it is not a regular file of this user with one name`);
    const chunks: Buffer[] = [];
    for (let left = READ_MAX; left > 0; ) {
      const chunk = Buffer.alloc(Math.min(left, 1024 * 1024));
      const n = readSync(fd, chunk, 0, chunk.length, null);
      if (n === 0) break;
      chunks.push(chunk.subarray(0, n));
      left -= n;
    }
    return Buffer.concat(chunks).toString("utf8");
  } finally {
    closeSync(fd);
  }
}
