/**
 * Where rules exist, what reaches the provider is a path that the rules take, however it is
 * written: judged by the URL parser of the web, which resolves dot segments and escapes itself.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { RestRules } from "../../../src/policy/rest.ts";
import { normalisePath } from "../../../src/policy/rest-path.ts";

const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 20_000);
const PIECES = [
  ..."/",
  "v1",
  "admin",
  ".",
  "..",
  "%2e",
  "%2E",
  "%2f",
  "%5c",
  "%25",
  "%252e",
  "2e",
  "%c0%ae",
  "%61",
  ";",
  "a",
  "%c3%a9",
  "%76",
  "1",
  "//",
  "/./",
  "/../",
  "..;",
  "%2e%2e",
  "%3b",
  "%",
  "x=1",
  "~",
  "%7E",
  "|",
  "[",
  "%09",
]; // prettier-ignore

const path = fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }).map((pieces) => `/${pieces.join("")}`);
/** The codec has refused broken escapes before a rule is asked. */
const wellFormed = (text: string) => !/%(?![0-9A-Fa-f]{2})/.test(text) && !text.includes("%00");
const rules = new RestRules({ allow: [{ methods: ["GET"], paths: ["/v1/**"] }], upgrade: [], rule: "r" });

test("an allowed path is one that the web's parser leaves as it is, below /v1", () => {
  fc.assert(
    fc.property(path.filter(wellFormed), (given) => {
      const decision = rules.judge("GET", given);
      if (decision.kind === "deny") return;
      const seen = new URL(`http://a${decision.path}`).pathname;
      expect(seen).toBe(decision.path);
      expect(seen === "/v1" || seen.startsWith("/v1/")).toBe(true);
      // Decoded once more, as a careless provider might: still below /v1.
      const careless = new URL(
        `http://a${decision.path.replace(/%([2-7][0-9A-F])/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))}`,
      );
      expect(careless.pathname).toStartWith("/v1");
    }),
    { numRuns: RUNS },
  );
});

test("normalising twice changes nothing", () => {
  fc.assert(
    fc.property(path.filter(wellFormed), (given) => {
      const once = normalisePath(given);
      if (once.ok) expect(normalisePath(once.path)).toEqual(once);
    }),
    { numRuns: RUNS },
  );
});
