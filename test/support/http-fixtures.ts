/**
 * Reads fixtures/http/*.md: cases that a person can read. Each case is a heading and
 * fenced blocks; the blocks' kinds say who sends what:
 *
 *   consumer   bytes the consumer sends          provider   bytes the provider then sends
 *   upstream   what the provider must have got   downstream what the consumer must have got
 *   refused    "status code" of our own answer, after `downstream`
 *   ends       why the session has ended; absent: it goes on
 *
 * In bytes, each line ends with CRLF, except the last line of a block that ends in "\" and any line
 * that ends in "\" (it ends there, without CRLF). \r \n \t \0 and \xHH are those bytes.
 * Consecutive consumer and provider blocks are sent in their order.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Step {
  readonly from: "consumer" | "provider";
  readonly bytes: string;
}
export interface HttpCase {
  readonly file: string;
  readonly name: string;
  readonly steps: readonly Step[];
  readonly upstream: string | undefined;
  readonly downstream: string | undefined;
  readonly refused: string | undefined;
  readonly ends: string | undefined;
  /** Heading words in square brackets, such as [restricted]. */
  readonly marks: readonly string[];
}

const FOLDER = join(import.meta.dir, "../../fixtures/http");

/** The bytes of a block, as Latin-1 text. */
export function unescapeBlock(block: string): string {
  const ESCAPES: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", "0": "\0", "\\": "\\" };
  return block
    .split("\n")
    .map((line) => (line.endsWith("\\") && !line.endsWith("\\\\") ? line.slice(0, -1) : `${line}\r\n`))
    .join("")
    .replace(/\\(?:x([0-9a-f]{2})|([rnt0\\]))/gi, (_, hex: string | undefined, letter: string) =>
      hex === undefined ? ESCAPES[letter]! : String.fromCharCode(Number.parseInt(hex, 16)),
    );
}

/** Every case of every file, or of one. */
export function httpCases(only?: string): HttpCase[] {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".md") && (only === undefined || name === only));
  return files.sort().flatMap((file) => casesIn(file, readFileSync(join(FOLDER, file), "utf8")));
}

function casesIn(file: string, markdown: string): HttpCase[] {
  const sections = markdown.split(/^## /m).slice(1);
  return sections.map((section) => {
    const heading = section.slice(0, section.indexOf("\n")).trim();
    const steps: Step[] = [];
    const found = new Map<string, string>();
    for (const [, kind, body] of section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)) {
      const block = body!.replace(/\n$/, "");
      if (kind === "consumer" || kind === "provider") steps.push({ from: kind, bytes: unescapeBlock(block) });
      else if (kind === "upstream" || kind === "downstream") found.set(kind, block === "" ? "" : unescapeBlock(block));
      else found.set(kind!, block.trim());
    }
    return {
      file,
      name: heading.replace(/\s*\[\w+\]/g, ""),
      marks: [...heading.matchAll(/\[(\w+)\]/g)].map((match) => match[1]!),
      steps,
      upstream: found.get("upstream"),
      downstream: found.get("downstream"),
      refused: found.get("refused"),
      ends: found.get("ends"),
    };
  });
}
