import { describe, expect, test } from "bun:test";
import { parsePolicyFile, type ServicePolicy } from "../../../src/policy/schema.ts";
import { unixAccess } from "../../../src/policy/unix.ts";

function service(value: unknown): ServicePolicy {
  const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services: { raw: value } }), "p.json");
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get("raw")!;
}
const link = (role: string) => ({ name: "raw", role, consumer: "app", socket: "/run/raw.sock" });

describe("a raw unix link", () => {
  const policy = service({
    type: "unix",
    identity: "credentials",
    roles: { admin: { socket: "/run/admin.sock" }, any: {} },
  });
  test("without a policy reaches the graph's socket under every role, unannounced", () => {
    expect(unixAccess(link("whoever"), undefined)).toEqual({
      ok: true,
      access: { identity: "none", socket: "/run/raw.sock", rule: 'services["raw"].roles["whoever"]: no policy' },
    });
  });
  test("has the role's own socket where policy gives one, else the graph's", () => {
    const admin = unixAccess(link("admin"), policy);
    expect(admin.ok && admin.access).toEqual({
      identity: "credentials",
      socket: "/run/admin.sock",
      rule: 'services["raw"].roles["admin"]',
    });
    const any = unixAccess(link("any"), policy);
    expect(any.ok && any.access.socket).toBe("/run/raw.sock");
  });
  test("is refused for a role that policy does not list, and for a policy of another type", () => {
    expect(unixAccess(link("guest"), policy).ok).toBe(false);
    expect(unixAccess(link("any"), service({ type: "drm", roles: { any: {} } })).ok).toBe(false);
  });
});
