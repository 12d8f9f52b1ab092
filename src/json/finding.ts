/**
 * One complaint about one place of a JSON document, and its only rendering:
 * `file: /json/pointer: what is wrong, what was expected`.
 *
 * valibot's issues become findings here, so that schemas elsewhere say only what
 * they expect (their `message` is the *expected* half of the sentence).
 */
import type * as v from "valibot";

export interface Finding {
  /** RFC 6901 pointer; "" is the whole document. */
  readonly pointer: string;
  /** "unknown key", "is missing", `is "5"`. */
  readonly problem: string;
  /** "expected" is added by the rendering. */
  readonly expected: string;
}

/** A value quoted in an error is cut here: it may be megabytes of someone else's text. */
const SHOWN_VALUE_CHARS = 60;

/** RFC 6901 section 3: `~` and `/` of a key are escaped. */
export function pointerOf(path: readonly (string | number)[]): string {
  return path.map((key) => `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** A foreign value in one short line that can't move the cursor of a terminal. */
export function shown(value: unknown): string {
  if (value === undefined) return "missing";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(value) ?? String(value);
  const cut = text.length > SHOWN_VALUE_CHARS ? `${text.slice(0, SHOWN_VALUE_CHARS)}…` : text;
  // JSON.stringify leaves DEL, C1 controls and the bidirectional overrides as they are.
  return cut.replace(
    /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** valibot's own words for what a schema takes, where a schema brought none. */
const EXPECTED_WORDS: Readonly<Record<string, string>> = {
  Object: "an object",
  Array: "an array",
  string: "a string",
  number: "a number",
  boolean: "true or false",
  unknown: "an object",
};

export function findingOf(issue: v.BaseIssue<unknown>): Finding {
  const path = (issue.path ?? []).map((item) => item.key as string | number);
  const last = issue.path?.at(-1);
  const ownWords = issue.message.startsWith("Invalid ") ? undefined : issue.message;
  if (last?.origin === "key" && issue.expected === "never") {
    return { pointer: pointerOf(path), problem: "unknown key", expected: ownWords ?? "no such key" };
  }
  if (last?.origin === "key" || issue.input === undefined) {
    const words = issue.expected?.includes(" | ") ? expectedWords(issue.expected) : `the key ${shown(path.at(-1))}`;
    return { pointer: pointerOf(path), problem: "is missing", expected: ownWords ?? words };
  }
  return {
    pointer: pointerOf(path),
    problem: `is ${shown(issue.input)}`,
    expected: ownWords ?? expectedWords(issue.expected),
  };
}

function expectedWords(expected: string | null): string {
  if (expected === null) return "another value";
  const alternatives = /^\((.*)\)$/.exec(expected)?.[1] ?? expected;
  return alternatives
    .split(" | ")
    .map((word) => EXPECTED_WORDS[word] ?? word)
    .join(" or ");
}

export function renderFinding(file: string, finding: Finding): string {
  const place = finding.pointer === "" ? file : `${file}: ${finding.pointer}`;
  return `${place}: ${finding.problem}, expected ${finding.expected}`;
}
