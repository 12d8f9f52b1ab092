import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { renderFinding } from "../../../src/json/finding.ts";
import { strictParse } from "../../../src/json/strict-parse.ts";

function error(text: string): string {
  const parsed = strictParse(text);
  return parsed.ok ? "no error" : renderFinding("f", parsed.finding);
}

describe("strict JSON", () => {
  test.each([
    ['{"a":1,}', 'f: has "}" (line 1, column 8), expected a key in double quotes'],
    ['{"a":\n [1 2]}', 'f: /a: has "2" (line 2, column 5), expected "," or "]"'],
    ['{"a":[0,{"b":01}]}', 'f: /a/1: has "1" (line 1, column 15), expected "," or "}"'],
    ['{"a" 1}', 'f: /a: has "1" (line 1, column 6), expected ":"'],
    ['{"a":"x', "f: /a: is not a JSON string (line 1, column 6), expected closing quotes and valid escapes"],
    ['{"a":"\u0000"}', "f: /a: is not a JSON string (line 1, column 6), expected closing quotes and valid escapes"],
    ["{} {}", 'f: has "{" (line 1, column 4), expected the end of the document'],
    ["// no", 'f: has "/" (line 1, column 1), expected a JSON value'],
    ['{"a":1,"\\u0061":2}', "f: /a: key given twice (line 1, column 8), expected each key once"],
    ["[".repeat(100), `f: ${"/0".repeat(65)}: nested too deeply (line 1, column 66), expected at most 64 levels`],
  ])("%j names the place", (text, message) => {
    expect(error(text)).toBe(message);
  });

  test("takes what JSON.parse takes, unless a key is given twice or it is too deep", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), (text) => {
        const parsed = strictParse(text);
        expect(parsed.ok && parsed.value).toEqual(JSON.parse(text));
      }),
      { numRuns: Number(process.env.PVX_FUZZ_RUNS ?? 300) },
    );
  });

  test("refuses what JSON.parse refuses, on texts with one character changed", () => {
    const alphabet = fc.constantFrom(...'{}[],:"\\u0019-+.eE tfn\t\n\u0001x/');
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.nat(), alphabet, (text, at, char) => {
        const cut = at % (text.length + 1);
        const mutated = text.slice(0, cut) + char + text.slice(cut + 1);
        let oracle = true;
        try {
          JSON.parse(mutated);
        } catch {
          oracle = false;
        }
        const parsed = strictParse(mutated);
        if (!oracle) expect(parsed.ok).toBe(false);
        else if (!parsed.ok) expect(parsed.finding.problem).toContain("twice");
      }),
      { numRuns: Number(process.env.PVX_FUZZ_RUNS ?? 500) },
    );
  });

  test("takes a string of a megabyte with escapes", () => {
    const text = JSON.stringify({ a: 'x"\\\n'.repeat(300_000) });
    expect(strictParse(text).ok).toBe(true);
  });
});
