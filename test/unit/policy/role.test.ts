import { describe, expect, test } from "bun:test";
import { roleOf } from "../../../src/policy/role.ts";
import { parsePolicyFile, type ServicePolicy } from "../../../src/policy/schema.ts";

function service(value: unknown): ServicePolicy {
  const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services: { raw: value } }), "p.json");
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get("raw")!;
}
const link = (role: string, consumer = "app") => ({ name: "raw", role, consumer });

describe("a role", () => {
  const policy = service({
    type: "unix",
    roles: { admin: { socket: "/run/a.sock", consumers: ["app", "shell"] }, any: {}, shut: { consumers: [] } },
  });

  test("that is listed gets its entry and the rule's name", () => {
    const decision = roleOf(policy, link("admin"), "unix");
    expect(decision.ok && decision.role.socket).toBe("/run/a.sock");
    expect(decision.ok && decision.service.identity).toBe("none");
    expect(decision.rule).toBe('services["raw"].roles["admin"]');
  });
  test("that is not listed is refused, and any is no wildcard", () => {
    expect(roleOf(policy, link("operator"), "unix")).toEqual({
      ok: false,
      rule: 'services["raw"].roles',
      reason: 'Policy for service "raw" does not list role "operator"',
    });
    expect(roleOf(policy, link("toString"), "unix").ok).toBe(false);
  });
  test("is kept from a consumer that its list leaves out", () => {
    expect(roleOf(policy, link("admin", "other"), "unix")).toEqual({
      ok: false,
      rule: 'services["raw"].roles["admin"].consumers',
      reason: 'Policy keeps role "admin" of service "raw" from consumer "other"',
    });
    expect(roleOf(policy, link("any", "other"), "unix").ok).toBe(true);
  });
  test("with an empty list of consumers is for nobody", () => {
    expect(roleOf(policy, link("shut"), "unix").ok).toBe(false);
  });
  test("of a service whose policy is of another type is refused", () => {
    expect(roleOf(service({ type: "rest", roles: { any: {} } }), link("any"), "unix")).toEqual({
      ok: false,
      rule: 'services["raw"].type',
      reason: 'Policy has service "raw" as type "rest", the link is of type "unix"',
    });
  });
});
