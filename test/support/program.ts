/**
 * A program that a test started: its lines, waited for with a deadline, and its certain end.
 *
 * Lines are kept from the start, so a test may ask for one that came before it asked.
 */
import type { Subprocess } from "bun";

/** Longest wait for a line or an exit unless the caller says otherwise: generous, the machine has two shared cores. */
const WAIT_MS = 15_000;
/** Kept lines of one stream; a program that says more than this is broken, and the oldest go. */
const MOST_LINES = 20_000;

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** "pipe" (default): open until `closeInput()` or `stop()`. */
  readonly stdin?: "pipe" | "ignore";
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Lines of one stream as they come. */
class Lines {
  readonly kept: string[] = [];
  #partial = "";
  #ended = false;
  #wake: (() => void)[] = [];

  add(text: string): void {
    const parts = (this.#partial + text).split("\n");
    this.#partial = parts.pop() ?? "";
    this.kept.push(...parts);
    if (this.kept.length > MOST_LINES) this.kept.splice(0, this.kept.length - MOST_LINES);
    this.#wakeAll();
  }

  end(): void {
    if (this.#partial !== "") this.kept.push(this.#partial);
    this.#partial = "";
    this.#ended = true;
    this.#wakeAll();
  }

  get ended(): boolean {
    return this.#ended;
  }

  #wakeAll(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  /** Resolves when something was added, the stream ended, or `ms` passed. */
  async changed(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake.push(resolve);
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }
}

export class Program {
  readonly argv: readonly string[];
  readonly #process: Subprocess<"pipe" | "ignore", "pipe", "pipe">;
  readonly #out = new Lines();
  readonly #err = new Lines();

  constructor(argv: readonly string[], options: ProgramOptions = {}) {
    this.argv = argv;
    this.#process = Bun.spawn([...argv], {
      stdin: options.stdin ?? "pipe",
      stdout: "pipe",
      stderr: "pipe",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: { ...options.env } }),
    });
    void collect(this.#process.stdout, this.#out);
    void collect(this.#process.stderr, this.#err);
  }

  /** Pid in this process's pid namespace. For a program inside a container: that of its guard, see `Container.start`. */
  get pid(): number {
    return this.#process.pid;
  }
  get stdout(): readonly string[] {
    return this.#out.kept;
  }
  get stderr(): readonly string[] {
    return this.#err.kept;
  }
  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** First line at or after index `from` of either stream that matches. Throws at the deadline, or when the program ended without it. */
  async line(
    pattern: RegExp,
    options: { ms?: number; from?: number; stream?: "stdout" | "stderr" } = {},
  ): Promise<string> {
    const lines = options.stream === "stderr" ? this.#err : this.#out;
    const end = performance.now() + (options.ms ?? WAIT_MS);
    for (let at = options.from ?? 0; ; ) {
      for (; at < lines.kept.length; at++) {
        const line = lines.kept[at] as string;
        if (pattern.test(line)) return line;
      }
      if (lines.ended) throw new Error(`Program ended without a line like ${pattern}${this.#said()}`);
      const left = end - performance.now();
      if (left <= 0) throw new Error(`No line like ${pattern} in ${options.ms ?? WAIT_MS} ms${this.#said()}`);
      await lines.changed(left);
    }
  }

  /** The first event of that name (one JSON object a line, as `peer` prints them) that also has `where`'s fields. */
  async event<T = Record<string, unknown>>(
    name: string,
    where: Record<string, unknown> = {},
    ms = WAIT_MS,
  ): Promise<T> {
    const end = performance.now() + ms;
    for (let at = 0; ; ) {
      for (; at < this.#out.kept.length; at++) {
        const found = asEvent(this.#out.kept[at] as string, name, where);
        if (found !== undefined) return found as T;
      }
      if (this.#out.ended)
        throw new Error(`Program ended without event "${name}" ${JSON.stringify(where)}${this.#said()}`);
      const left = end - performance.now();
      if (left <= 0) throw new Error(`No event "${name}" ${JSON.stringify(where)} in ${ms} ms${this.#said()}`);
      await this.#out.changed(left);
    }
  }

  /** Every event of that name so far. */
  events<T = Record<string, unknown>>(name: string): T[] {
    return this.#out.kept.flatMap((line) => {
      const found = asEvent(line, name, {});
      return found === undefined ? [] : [found as T];
    });
  }

  write(text: string | Uint8Array): void {
    const input = this.#process.stdin;
    if (input === undefined || typeof input === "number") throw new Error("This program has no standard input");
    input.write(text);
    input.flush();
  }

  closeInput(): void {
    const input = this.#process.stdin;
    if (input !== undefined && typeof input !== "number") void input.end();
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Waits for the end and gives everything it said. Throws at the deadline, after killing it. */
  async finished(ms = WAIT_MS): Promise<Finished> {
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), ms);
    const started = performance.now();
    const code = await this.#process.exited;
    clearTimeout(timer);
    // What a grandchild still holds open is not waited for: one second is for what is in the pipes.
    for (const lines of [this.#out, this.#err]) if (!lines.ended) await lines.changed(1000);
    if (this.#process.signalCode === "SIGKILL" && performance.now() - started >= ms)
      throw new Error(`Still running after ${ms} ms${this.#said()}`);
    return { code, stdout: this.#out.kept.join("\n"), stderr: this.#err.kept.join("\n") };
  }

  /** Ends it: input closed and SIGTERM, SIGKILL after `graceMs`. Idempotent; returns the exit status. */
  async stop(graceMs = 3000): Promise<number> {
    if (this.running) {
      this.closeInput();
      this.#process.kill("SIGTERM");
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), graceMs);
      await this.#process.exited;
      clearTimeout(timer);
    }
    return this.#process.exited;
  }

  #said(): string {
    const tail = (lines: Lines) => lines.kept.slice(-15).join("\n");
    return ` from: ${this.argv.join(" ")}\n--- stdout\n${tail(this.#out)}\n--- stderr\n${tail(this.#err)}`;
  }
}

async function collect(stream: ReadableStream<Uint8Array>, into: Lines): Promise<void> {
  const decoder = new TextDecoder();
  try {
    for await (const chunk of stream) into.add(decoder.decode(chunk, { stream: true }));
  } finally {
    into.end();
  }
}

function asEvent(line: string, name: string, where: Record<string, unknown>): Record<string, unknown> | undefined {
  if (!line.startsWith("{")) return undefined;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (value["event"] !== name) return undefined;
  return Object.entries(where).every(([key, wanted]) => value[key] === wanted) ? value : undefined;
}

/** Runs a program to its end. */
export function run(argv: readonly string[], options: ProgramOptions & { ms?: number } = {}): Promise<Finished> {
  return new Program(argv, { stdin: "ignore", ...options }).finished(options.ms);
}
