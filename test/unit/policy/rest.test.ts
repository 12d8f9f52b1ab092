import { describe, expect, test } from "bun:test";
import { explainRest, RestRules } from "../../../src/policy/rest.ts";
import { normalisePath, PathGlob } from "../../../src/policy/rest-path.ts";
import type { RestRule } from "../../../src/policy/rest-schema.ts";
import { parsePolicyFile } from "../../../src/policy/schema.ts";

const rules = (allow: readonly RestRule[] | undefined) => new RestRules({ allow, upgrade: [], rule: "roles.r" });
const takes = (glob: string, path: string) => new PathGlob(glob).matches(path.slice(1).split("/"));

describe("path normalisation", () => {
  const normal: [string, string][] = [
    ["/", "/"],
    ["/a/b", "/a/b"],
    ["/a/b/", "/a/b/"],
    ["/%61%2D%2e%5F%7e", "/a-._~"],
    ["/%c3%a9", "/%C3%A9"],
    ["/a/./b", "/a/b"],
    ["/a/../b", "/b"],
    ["/../../b", "/b"],
    ["/a/%2E%2e/b", "/b"],
    ["/a/..", "/"],
    ["/a/b/.", "/a/b/"],
    ["/a/...", "/a/..."],
    ["/a;x=1/b", "/a;x=1/b"],
    ["/.a/..b", "/.a/..b"],
    ["/a%20b", "/a%20b"],
    ["/100%25", "/100%25"],
  ];
  for (const [given, wanted] of normal)
    test(`${given} is ${wanted}`, () => {
      expect(normalisePath(given)).toEqual({ ok: true, path: wanted });
    });

  test("is the same when done again", () => {
    for (const [given] of normal) {
      const once = normalisePath(given);
      expect(once.ok && normalisePath(once.path)).toEqual(once);
    }
  });

  const ambiguous = [
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a%3bb",
    "/a%0ab",
    "/a%00b",
    "/a%7fb",
    "/a%252fb",
    "/%252e%252e/b",
    "/a%255cb",
    "/%c0%ae/b",
    "/%e0%80%ae/b",
    "/%F0%80%80%AF/b",
    "/%f8%80%80%80%ae",
    "/%c1%81",
    "/a//b",
    "//a",
    "/a//",
    "/a/..;/b",
    "/a/.;x/b",
    "/a/%2e%2e;x/b",
    "/a/%2e./;/..;",
  ];
  for (const path of ambiguous)
    test(`${path} is refused`, () => {
      expect(normalisePath(path).ok).toBe(false);
    });
});

describe("path globs", () => {
  const matching: [string, string][] = [
    ["/v1/**", "/v1"],
    ["/v1/**", "/v1/"],
    ["/v1/**", "/v1/a/b/c"],
    ["/**", "/"],
    ["/**", "/a/b"],
    ["/*", "/a"],
    ["/v1/*/status", "/v1/eth0/status"],
    ["/v1/**/status", "/v1/status"],
    ["/v1/**/status", "/v1/a/b/status"],
    ["/v1/eth*", "/v1/eth0"],
    ["/v1/eth*", "/v1/eth"],
    ["/v1/*.json", "/v1/a.b.json"],
    ["/v1/a;v=*", "/v1/a;v=1"],
    ["/v1/**", "/v1/a;v=1"],
    ["/a*b*c", "/aXbXbc"],
    ["/**/a/**/b", "/a/x/a/y/b"],
    ["/a/", "/a/"],
  ];
  const not: [string, string][] = [
    ["/v1/**", "/v10"],
    ["/v1/**", "/"],
    ["/*", "/"],
    ["/*", "/a/b"],
    ["/v1/*", "/v1/"],
    ["/v1/*", "/v1/a/b"],
    ["/v1/*", "/v1/;x"],
    ["/v1/*.json", "/v1/secret;.json"],
    ["/v1/*/status", "/v1//status"],
    ["/v1/**/status", "/v1/status/x"],
    ["/a", "/a/"],
    ["/a", "/A"],
    ["/a*b*c", "/aXcXb"],
    ["/**/a/**/b", "/a/x/a/y/c"],
  ];
  for (const [glob, path] of matching) test(`${glob} takes ${path}`, () => expect(takes(glob, path)).toBe(true));
  for (const [glob, path] of not) test(`${glob} does not take ${path}`, () => expect(takes(glob, path)).toBe(false));

  test("hostile paths take no longer than their length", () => {
    const start = performance.now();
    expect(takes("/**/a/**/a/**/a/**/b", "/a".repeat(30_000))).toBe(false);
    expect(takes("/*a*a*a*a*b", `/${"a".repeat(60_000)}`)).toBe(false);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe("rules", () => {
  test("a role without rules may do everything, as it asked", () => {
    expect(rules(undefined).judge("DELETE", "/a/../b%2f")).toMatchObject({ kind: "allow", path: "/a/../b%2f" });
  });
  test("a role with no rule at all may do nothing", () => {
    expect(rules([]).judge("GET", "/")).toMatchObject({ kind: "deny", status: 403, rule: "roles.r.allow" });
  });
  test("the first rule that takes both method and path is named", () => {
    const two = rules([{ methods: ["GET"], paths: ["/a"] }, { methods: ["GET", "PUT"] }]);
    expect(two.judge("GET", "/a")).toMatchObject({ kind: "allow", rule: "roles.r.allow[0]" });
    expect(two.judge("PUT", "/a")).toMatchObject({ kind: "allow", rule: "roles.r.allow[1]" });
    expect(two.judge("POST", "/a")).toMatchObject({ kind: "deny" });
  });
  test("OPTIONS of the whole server needs a rule without paths", () => {
    expect(rules([{ paths: ["/**"] }]).judge("OPTIONS", "*")).toMatchObject({ kind: "deny" });
    expect(rules([{ methods: ["OPTIONS"] }]).judge("OPTIONS", "*")).toMatchObject({ kind: "allow" });
  });
});

describe("explain", () => {
  const link = { name: "nm", role: "readonly", consumer: "app" };
  const text = JSON.stringify({
    "#spec": "xconnect-policy@1",
    services: { nm: { type: "rest", roles: { readonly: { allow: [{ methods: ["GET"], paths: ["/v1/**"] }] } } } },
  });
  const parsed = parsePolicyFile(text, "f");
  if (!parsed.ok) throw new Error(parsed.errors.join());
  const policy = parsed.services.get("nm");

  test("names the rule and what the provider would get", () => {
    expect(explainRest(link, policy, "GET", "/x/../v1/a?q=/..")).toEqual({
      allowed: true,
      rule: 'services["nm"].roles["readonly"].allow[0]',
      reason: "Allowed, as /v1/a",
      path: "/v1/a",
    });
  });
  test("tells each way of being refused", () => {
    expect(explainRest(link, policy, "POST", "/v1/a")).toMatchObject({ allowed: false, path: null });
    expect(explainRest(link, policy, "GET", "/v1/%2f").reason).toContain("escape");
    expect(explainRest(link, policy, "GET", "v1").rule).toBe("http.target");
    expect(explainRest(link, policy, "BREW", "/v1").rule).toBe("http.unknown-method");
    expect(explainRest({ ...link, role: "other" }, policy, "GET", "/v1").reason).toContain("does not list role");
  });
});

describe("the schema", () => {
  const errorsOf = (role: object) => {
    const service = { type: "rest", roles: { r: role } };
    const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services: { s: service } }), "f");
    return parsed.ok ? [] : parsed.errors;
  };
  test("takes rules, upgrades and nothing else", () => {
    expect(
      errorsOf({ allow: [{ methods: ["GET"], paths: ["/v1/**", "/a*b/%C3%A9"] }], upgrade: ["websocket"] }),
    ).toEqual([]);
  });
  const broken: [string, object][] = [
    ["methods that are not served", { allow: [{ methods: ["CONNECT"] }] }],
    ["methods in small letters", { allow: [{ methods: ["get"] }] }],
    ["globs without a slash", { allow: [{ paths: ["v1"] }] }],
    ["globs that are not normal", { allow: [{ paths: ["/a/../b"] }] }],
    ["globs with an escape that decodes", { allow: [{ paths: ["/%61"] }] }],
    ["globs with small escapes", { allow: [{ paths: ["/%c3%a9"] }] }],
    ["globs with ** within a segment", { allow: [{ paths: ["/a**"] }] }],
    ["globs with a query", { allow: [{ paths: ["/a?b"] }] }],
    ["h2c as an upgrade", { upgrade: ["h2c"] }],
    ["TLS as an upgrade", { upgrade: ["tls/1.2"] }],
    ["upgrades in capitals", { upgrade: ["WebSocket"] }],
    ["unknown keys", { deny: [] }],
  ];
  for (const [what, role] of broken) test(`refuses ${what}`, () => expect(errorsOf(role).length).toBeGreaterThan(0));
});
