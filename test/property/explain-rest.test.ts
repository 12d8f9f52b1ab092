/** What `explain` says of a REST request is what the filter does with it, whatever the policy and the request. */
import { expect, test } from "bun:test";
import type { Link } from "../../src/graph/link.ts";
import { explain } from "../../src/policy/explain.ts";
import type { RestRule } from "../../src/policy/rest-schema.ts";
import { parsePolicyFile } from "../../src/policy/schema.ts";
import { restSession } from "../support/rest-session.ts";

let seed = 20261121;
const below = (n: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed % n;
};
const one = <T>(of: readonly T[]): T => of[below(of.length)]!;
const METHODS = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "BREW", "get", "PRI", "TRACE"];
const GLOBS = ["/**", "/v1/**", "/v1/*", "/v1/*.json", "/", "/v1/a;v=*", "/*/a"];
const PIECES = ["/", "v1", "a", ".json", ";", "..", ".", "%2e", "%2f", "%c0%ae", "%e0%80%ae", "%00", "%zz", "%", "//"];
const MORE = ["#", '"', "\\", "?q=/..", "*", "|", "<", "%25", "2e", "%61", "@", ":"];

test("REST: the verdict of explain is the filter's", () => {
  const verdicts = new Set<boolean>();
  for (let i = 0; i < 4000; i++) {
    const allow: RestRule[] | undefined =
      below(4) === 0
        ? undefined
        : Array.from({ length: below(3) }, () => ({
            ...(below(2) === 0 ? {} : { methods: [one(["GET", "HEAD", "POST", "OPTIONS"] as const)] }),
            ...(below(2) === 0 ? {} : { paths: [one(GLOBS)] }),
          }));
    const services = { service: { type: "rest", roles: { any: allow === undefined ? {} : { allow } } } };
    const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services }), "p");
    if (!parsed.ok) throw new Error(parsed.errors.join());
    const method = one(METHODS);
    const target =
      below(12) === 0 ? "*" : `/${Array.from({ length: below(6) }, () => one([...PIECES, ...MORE])).join("")}`;
    const link = { type: "rest", name: "service", role: "any", consumer: "app" } as Link;
    const said = explain(link, parsed.services.get("service"), [method, target]);
    if ("expected" in said) throw new Error(`${method} ${target}: ${said.expected}`);
    const session = restSession(allow === undefined ? {} : { allow });
    session.consumerSends(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const passed = session.upstream.text.length > 0;
    verdicts.add(passed);
    expect([method, target, allow, said.allowed]).toEqual([method, target, allow, passed]);
    if (passed && !target.includes("?"))
      expect(said.detail).toBe(`Forwarded as ${session.upstream.text.split(" ").slice(0, 2).join(" ")}`);
  }
  expect(verdicts.size).toBe(2);
});
