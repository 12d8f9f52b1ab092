/** The graph from a file (`--graph FILE`), read again when it changes. For tests, and for hosts without Pantavisor. */
import { dirname, resolve } from "node:path";
import { readRegular } from "../files/read-regular.ts";
import { DirectoryWatch, statPrint } from "../files/watch.ts";
import { LastGraph } from "./last-graph.ts";
import { MAX_GRAPH_BYTES } from "./schema.ts";
import type { FetchResult, GraphSource, UnavailableCause } from "./source.ts";

/** Between two looks at the file's stat; inotify tells of most changes before. */
const POLL_MS = 1000;

const CAUSES: Readonly<Record<string, UnavailableCause>> = { ENOENT: "absent", EFBIG: "too-large", EAGAIN: "cut" };

export class FileSource implements GraphSource {
  readonly name: string;
  private readonly path: string;
  private readonly last = new LastGraph();
  private watch: DirectoryWatch | undefined;

  constructor(path: string) {
    this.path = resolve(path);
    this.name = `file ${this.path}`;
  }

  async fetch(signal: AbortSignal): Promise<FetchResult> {
    if (signal.aborted) return { kind: "aborted" };
    const where = `Cannot read the graph from ${this.path}`;
    const file = readRegular(this.path, MAX_GRAPH_BYTES);
    if (file.ok) return this.last.read(file.bytes, where);
    return { kind: "unavailable", cause: CAUSES[file.code] ?? "error", message: `${where}: ${file.reason}` };
  }

  onChange(callback: () => void): void {
    this.watch?.close();
    const options = { pollMs: POLL_MS, fingerprint: () => statPrint(this.path) };
    this.watch = new DirectoryWatch(dirname(this.path), options, callback);
  }

  close(): void {
    this.watch?.close();
    this.watch = undefined;
  }
}
