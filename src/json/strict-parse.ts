/**
 * JSON as RFC 8259 has it, for files that people write: an error names line, column
 * and pointer (the engine's own does not), and a key given twice is an error (the
 * engine keeps the last one, so a second "any" further down would quietly replace
 * the first). The value itself comes from JSON.parse; this only judges the text.
 */
import { type Finding, pointerOf } from "./finding.ts";

/** Deepest nesting taken. The formats read here need six; recursion below stays far from the stack's end. */
export const MAX_DEPTH = 64;

export type StrictParse =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly finding: Finding };

class Fault extends Error {
  readonly at: number;
  readonly problem: string;
  readonly expected: string;
  constructor(at: number, problem: string, expected: string) {
    super(problem);
    this.at = at;
    this.problem = problem;
    this.expected = expected;
  }
}

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: RFC 8259 section 7 forbids raw control characters in strings
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;

class Walker {
  private readonly text: string;
  private at = 0;
  readonly path: (string | number)[] = [];
  constructor(text: string) {
    this.text = text;
  }
  document(): void {
    this.value(0);
    this.space();
    if (this.at < this.text.length) throw this.fault("the end of the document");
  }
  private value(depth: number): void {
    this.space();
    const char = this.text[this.at];
    if (depth > MAX_DEPTH) throw new Fault(this.at, "nested too deeply", `at most ${MAX_DEPTH} levels`);
    if (char === "{") this.object(depth);
    else if (char === "[") this.array(depth);
    else if (char === '"') this.string();
    else if (!this.match(WORD) && !this.match(NUMBER)) throw this.fault("a JSON value");
  }
  private object(depth: number): void {
    const seen = new Set<string>();
    this.at++;
    this.space();
    if (this.take("}")) return;
    for (;;) {
      this.space();
      const keyAt = this.at;
      if (this.text[this.at] !== '"') throw this.fault("a key in double quotes");
      const key = JSON.parse(this.string()) as string;
      this.path.push(key);
      if (seen.has(key)) throw new Fault(keyAt, "key given twice", "each key once");
      seen.add(key);
      this.space();
      if (!this.take(":")) throw this.fault('":"');
      this.value(depth + 1);
      this.path.pop();
      this.space();
      if (this.take("}")) return;
      if (!this.take(",")) throw this.fault('"," or "}"');
    }
  }
  private array(depth: number): void {
    this.at++;
    this.space();
    if (this.take("]")) return;
    for (let index = 0; ; index++) {
      this.path.push(index);
      this.value(depth + 1);
      this.path.pop();
      this.space();
      if (this.take("]")) return;
      if (!this.take(",")) throw this.fault('"," or "]"');
    }
  }
  private string(): string {
    const start = this.at;
    if (!this.match(STRING)) throw new Fault(start, "is not a JSON string", "closing quotes and valid escapes");
    return this.text.slice(start, this.at);
  }
  private space(): void {
    this.match(SPACE);
  }
  private take(char: string): boolean {
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }
  private match(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) return false;
    this.at += found[0].length;
    return true;
  }
  private fault(expected: string): Fault {
    const char = this.text[this.at];
    return new Fault(this.at, char === undefined ? "the text ends here" : `has ${JSON.stringify(char)}`, expected);
  }
}

/** Parses `text`; never throws. */
export function strictParse(text: string): StrictParse {
  const walker = new Walker(text);
  try {
    walker.document();
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const before = text.slice(0, error.at).split("\n");
    const place = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
    return {
      ok: false,
      finding: { pointer: pointerOf(walker.path), problem: `${error.problem} (${place})`, expected: error.expected },
    };
  }
}
