import { describe, expect, test } from "bun:test";
import type { Link } from "../../../src/graph/link.ts";
import { DEFAULT_TIMEOUTS } from "../../../src/mediators/rest/config.ts";
import { checkRest } from "../../../src/mediators/rest/mediator.ts";
import { parsePolicyFile } from "../../../src/policy/schema.ts";

const link = {
  key: "k",
  type: "rest",
  name: "nm",
  consumer: "app",
  consumerPid: 1,
  provider: "net",
  providerPid: 2,
  role: "readonly",
  interface: "rest",
  target: "/run/nm.sock",
  socket: "/run/provider.sock",
  uid: null,
} as Link;

function policyOf(service: object) {
  const text = JSON.stringify({ "#spec": "xconnect-policy@1", services: { nm: { type: "rest", ...service } } });
  const parsed = parsePolicyFile(text, "test.json");
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get("nm");
}

describe("checkRest", () => {
  test("without policy allows everything, and WebSocket as the only upgrade", () => {
    const check = checkRest(link, undefined);
    expect(check).toMatchObject({
      ok: true,
      config: {
        provider: { pid: 2, path: "/run/provider.sock" },
        access: { allow: undefined, upgrade: ["websocket"] },
        timeouts: DEFAULT_TIMEOUTS,
        accessLog: false,
      },
    });
  });

  test("gives the role's rules and the service's time limits, in milliseconds", () => {
    const allow = [{ methods: ["GET"], paths: ["/v1/**"] }];
    const policy = policyOf({
      roles: { readonly: { allow, upgrade: ["tcp"] } },
      timeouts: { idle: 5, body: 0.5 + 0.5 },
    });
    expect(checkRest(link, policy, true)).toMatchObject({
      ok: true,
      config: {
        access: { allow, upgrade: ["tcp"], rule: 'services["nm"].roles["readonly"]' },
        timeouts: { ...DEFAULT_TIMEOUTS, idle: 5000, body: 1000 },
        accessLog: true,
      },
    });
  });

  test("refuses a role that is not listed", () => {
    const check = checkRest(link, policyOf({ roles: { admin: {} } }));
    expect(check.ok ? "" : check.reason).toContain('does not list role "readonly"');
  });

  test("refuses names that no head has room for", () => {
    const check = checkRest({ ...link, consumer: "ü".repeat(1000) }, undefined);
    expect(check.ok ? "" : check.reason).toStartWith("Cannot state the identity");
  });

  test("its configuration can cross to the data plane", () => {
    const check = checkRest(link, policyOf({ roles: { readonly: { allow: [] } } }));
    expect(check.ok && structuredClone(check.config)).toEqual(check.ok && check.config);
  });
});
