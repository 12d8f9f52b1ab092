import { describe, expect, test } from "bun:test";
import { parsePolicyFile, type ServicePolicy } from "../../../src/policy/schema.ts";
import { GlobalRules, judgeBind, waylandAccess } from "../../../src/policy/wayland.ts";
import { NEVER_GRANTED, PRIVILEGED, PROFILE_TABLES, WAYLAND_PROFILES } from "../../../src/policy/wayland-profiles.ts";

const LINK = { name: "wayland-0", role: "any", consumer: "app" };

function policyOf(role: unknown): ServicePolicy {
  const text = JSON.stringify({
    "#spec": "xconnect-policy@1",
    services: { "wayland-0": { type: "wayland", roles: { any: role } } },
  });
  const parsed = parsePolicyFile(text, "p.json");
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get("wayland-0")!;
}
function refusalOf(role: unknown): string {
  const text = JSON.stringify({
    "#spec": "xconnect-policy@1",
    services: { "wayland-0": { type: "wayland", roles: { any: role } } },
  });
  const parsed = parsePolicyFile(text, "p.json");
  return parsed.ok ? "accepted" : parsed.errors.join("\n");
}
function rulesOf(policy: ServicePolicy | undefined, link = LINK): GlobalRules {
  const decision = waylandAccess(link, policy);
  if (!decision.ok) throw new Error(decision.reason);
  return new GlobalRules(decision.table);
}
const shows = (rules: GlobalRules, name: string, version = 1): number =>
  rules.shownVersion({ interface: name, version });

describe("the profiles", () => {
  test("for applications, kiosks and the shell have nothing that reads the screen, types, or reads the clipboard", () => {
    const never = PRIVILEGED.filter((name) =>
      /screen(copy|shooter)|capture|export|data_control|virtual|input_(method|panel)|debug|test|lease|security|fixes/.test(
        name,
      ),
    );
    expect(never.length).toBeGreaterThan(15);
    for (const profile of ["app", "kiosk", "shell"] as const)
      for (const name of never)
        expect([profile, name, PROFILE_TABLES[profile][name]]).toEqual([profile, name, undefined]);
  });
  test("for applications have nothing privileged at all", () => {
    for (const name of PRIVILEGED) expect([name, PROFILE_TABLES.app[name]]).toEqual([name, undefined]);
  });
  test("can't be changed at run time", () => {
    expect(() => {
      (PROFILE_TABLES.app as Record<string, number>)["wl_drm"] = 1;
    }).toThrow(TypeError);
    expect(() => {
      (PROFILE_TABLES as Record<string, unknown>)["app"] = {};
    }).toThrow(TypeError);
  });
  test("grant by their own lines only: no inherited property is a global", () => {
    const rules = rulesOf(undefined);
    for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) expect(shows(rules, name)).toBe(0);
  });
  test("each contain the application's globals, but for none", () => {
    for (const profile of WAYLAND_PROFILES.filter((p) => p !== "none"))
      expect(PROFILE_TABLES[profile]).toMatchObject({ ...PROFILE_TABLES.app });
    expect(Object.keys(PROFILE_TABLES.none)).toEqual([]);
  });
});

describe("a role's table", () => {
  test("without any policy is the application's", () => {
    const rules = rulesOf(undefined);
    expect(shows(rules, "wl_compositor", 5)).toBe(5);
    expect(shows(rules, "zwlr_screencopy_manager_v1", 3)).toBe(0);
    expect(rules.rule).toStartWith('services["wayland-0"].roles["any"]: no policy: profile app of 20');
  });
  test("shows at most the frozen version of what is newer", () => {
    expect(shows(rulesOf(undefined), "wl_compositor", 99)).toBe(PROFILE_TABLES.app["wl_compositor"]!);
  });
  test("of a role with globals alone is the application's with those", () => {
    const rules = rulesOf(policyOf({ globals: ["zwlr_layer_shell_v1<=4"] }));
    expect(shows(rules, "zwlr_layer_shell_v1", 5)).toBe(4);
    expect(shows(rules, "wl_compositor", 4)).toBe(4);
  });
  test("lowers a version that the profile has higher", () => {
    expect(shows(rulesOf(policyOf({ profile: "app", globals: ["wl_seat<=2"] })), "wl_seat", 9)).toBe(2);
  });
  test("hides what the role takes away, after all that it adds", () => {
    const rules = rulesOf(policyOf({ globals: ["wl_seat<=2"], hide: ["wl_seat", "wl_data_device_manager"] }));
    expect([shows(rules, "wl_seat"), shows(rules, "wl_data_device_manager")]).toEqual([0, 0]);
  });
  test("of profile none has its own list and nothing else", () => {
    const rules = rulesOf(policyOf({ profile: "none", globals: ["wl_shm<=1"] }));
    expect([shows(rules, "wl_shm"), shows(rules, "wl_compositor")]).toEqual([1, 0]);
  });
  test("of the capture profile shows screencopy, and its rule says where that is written", () => {
    const rules = rulesOf(policyOf({ profile: "capture" }));
    expect(shows(rules, "zwlr_screencopy_manager_v1", 3)).toBe(3);
    expect(rules.rule).toMatch(/^services\["wayland-0"\]\.roles\["any"\]: profile capture of \d{4}-\d\d-\d\d$/);
  });
  test("never has a global of version 0", () => {
    expect(shows(rulesOf(undefined), "wl_shm", 0)).toBe(0);
  });
  test("hides the never-granted even if it were in the table", () => {
    const rules = new GlobalRules({ rule: "r", globals: [["wp_security_context_manager_v1", 1]] });
    expect(shows(rules, "wp_security_context_manager_v1")).toBe(0);
  });
});

describe("a policy", () => {
  test("refuses roles that it does not list", () => {
    const decision = waylandAccess({ ...LINK, role: "shell" }, policyOf({}));
    expect(decision.ok).toBe(false);
    expect(!decision.ok && decision.reason).toContain('does not list role "shell"');
  });
  test.each([...NEVER_GRANTED.keys()])("can't grant %s, and is told why", (name) => {
    expect(refusalOf({ globals: [`${name}<=1`] })).toContain(
      `/services/wayland-0/roles/any/globals/0: is "${name}<=1", expected another global: `,
    );
  });
  test.each([
    [{ profile: "desktop" }, "/profile"],
    [{ globals: ["wl_shm"] }, "/globals/0"],
    [{ globals: ["wl_shm<=0"] }, "/globals/0"],
    [{ globals: ["wl_shm<=9999999999"] }, "/globals/0"],
    [{ globals: ["wl_shm<=1", "wl_shm<=2"] }, "/globals"],
    [{ globals: [`${"x".repeat(200)}<=1`] }, "/globals/0"],
    [{ hide: ["wl shm"] }, "/hide/0"],
    [{ hidden: ["wl_shm"] }, "/hidden"],
  ])("with %j is refused at %s", (role, pointer) => {
    expect(refusalOf(role)).toContain(`p.json: /services/wayland-0/roles/any${pointer}: `);
  });
});

describe("a bind", () => {
  const shown = { interface: "wl_seat", version: 5 };
  const bind = { name: 3, interface: "wl_seat", version: 5, newId: 9 };
  test("of what was shown passes, at every version up to the shown one", () => {
    for (const version of [1, 2, 3, 4, 5]) expect(judgeBind(shown, { ...bind, version })).toEqual({ ok: true });
  });
  // The words are those of registry_bind() in libwayland's wayland-server.c.
  test.each([
    [undefined, bind, "invalid global wl_seat (3)"],
    [shown, { ...bind, interface: "wl_shm" }, "invalid interface for global 3: have wl_shm, wanted wl_seat"],
    [shown, { ...bind, version: 0 }, "invalid version for global wl_seat (3): 0 is not a valid version"],
    [shown, { ...bind, version: 6 }, "invalid version for global wl_seat (3): have 5, wanted 6"],
    [shown, { ...bind, version: 0xffffffff }, "invalid version for global wl_seat (3): have 5, wanted 4294967295"],
  ])("of %j as %j is refused in libwayland's words", (seen, asked, text) => {
    expect(judgeBind(seen, asked)).toEqual({ ok: false, text });
  });
});
