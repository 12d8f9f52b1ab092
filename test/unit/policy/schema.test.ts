import { describe, expect, test } from "bun:test";
import { type ParsedPolicyFile, parsePolicyFile } from "../../../src/policy/schema.ts";

/** The example of the design, as a file. */
const EXAMPLE = `{ "#spec": "xconnect-policy@1", "services": {
  "network-manager": { "type": "rest", "roles": {
     "readonly": { "allow": [ { "methods": ["GET", "HEAD"], "paths": ["/v1/**"] } ] },
     "admin": {} } },
  "system-bus": { "type": "dbus", "roles": {
     "operator": { "uid": 1001, "see": [], "talk": ["org.pantavisor.Example"], "own": [],
                   "call": ["org.pantavisor.Example.GetInfo@/org/pantavisor/**"], "broadcast": [] } } },
  "raw": { "type": "unix", "identity": "greeting", "roles": { "admin": { "socket": "/run/example/admin.sock" }, "any": {} } },
  "gpu": { "type": "drm", "roles": { "render": {}, "master": { "consumers": ["compositor"] } } },
  "pad": { "type": "input", "roles": { "any": {} } },
  "wayland-0": { "type": "wayland", "roles": { "any": { "profile": "app" }, "shell": { "globals": ["zwlr_layer_shell_v1<=4"] } } } } }`;

function errorsOf(parsed: ParsedPolicyFile): readonly string[] {
  return parsed.ok ? [] : parsed.errors;
}
function withServices(services: unknown): string {
  return JSON.stringify({ "#spec": "xconnect-policy@1", services });
}
function firstError(services: unknown): string {
  return errorsOf(parsePolicyFile(withServices(services), "p.json"))[0] ?? "no error";
}

describe("a policy file", () => {
  test("of the design's example parses into all six types", () => {
    const parsed = parsePolicyFile(EXAMPLE, "10-example.json");
    expect(errorsOf(parsed)).toEqual([]);
    if (!parsed.ok) return;
    expect([...parsed.services.values()].map((service) => service.type)).toEqual([
      "rest",
      "dbus",
      "unix",
      "drm",
      "input",
      "wayland",
    ]);
    const raw = parsed.services.get("raw");
    expect(raw?.type === "unix" && raw.identity).toBe("greeting");
    expect(raw?.type === "unix" && raw.roles.get("admin")?.socket).toBe("/run/example/admin.sock");
    expect(parsed.services.get("gpu")?.roles.get("master")?.consumers).toEqual(["compositor"]);
  });

  test("without an identity on a unix service means none", () => {
    const parsed = parsePolicyFile(withServices({ s: { type: "unix", roles: {} } }), "p.json");
    expect(parsed.ok && parsed.services.get("s")).toEqual({ type: "unix", identity: "none", roles: new Map() });
  });

  test.each([
    [
      { s: { type: "unix", idenity: "greeting", roles: {} } },
      'p.json: /services/s/idenity: unknown key, expected one of "type", "identity", "roles"',
    ],
    [
      { s: { type: "unix", roles: { any: { consumer: ["a"] } } } },
      'p.json: /services/s/roles/any/consumer: unknown key, expected one of "consumers", "socket"',
    ],
    [
      { s: { type: "unix", roles: { any: [] } } },
      "p.json: /services/s/roles/any: is an array of 0, expected an object",
    ],
    [{ s: { type: "unix", roles: [] } }, "p.json: /services/s/roles: is an array of 0, expected an object"],
    [{ s: { type: "unix" } }, 'p.json: /services/s/roles: is missing, expected the key "roles"'],
    [
      { s: { type: "unix", identity: "token", roles: {} } },
      'p.json: /services/s/identity: is "token", expected "none" or "greeting" or "credentials"',
    ],
    [
      { s: { type: "unix", roles: { any: { socket: "/a/../b" } } } },
      'p.json: /services/s/roles/any/socket: is "/a/../b", expected an absolute path of at most 4095 bytes without ".." and NUL',
    ],
    [
      { s: { type: "tcp", roles: {} } },
      'p.json: /services/s/type: is "tcp", expected "unix" or "rest" or "dbus" or "drm" or "wayland" or "input"',
    ],
    [
      { s: { roles: {} } },
      'p.json: /services/s/type: is missing, expected "unix" or "rest" or "dbus" or "drm" or "wayland" or "input"',
    ],
    [{ s: null }, "p.json: /services/s: is null, expected an object"],
    [{ "a/b~c": 5 }, "p.json: /services/a~1b~0c: is 5, expected an object"],
    [
      { "": { type: "unix", roles: {} } },
      'p.json: /services/: is "", expected a name of 1 to 4096 characters without NUL',
    ],
    [
      { s: { type: "rest", roles: { r: { allow: [{ methods: ["get"] }] } } } },
      'p.json: /services/s/roles/r/allow/0/methods/0: is "get", expected an HTTP method in capitals, such as GET',
    ],
    [
      { s: { type: "rest", roles: { r: { allow: [{ path: ["/"] }] } } } },
      'p.json: /services/s/roles/r/allow/0/path: unknown key, expected one of "methods", "paths"',
    ],
    [{ s: { type: "dbus", roles: { r: { uid: -1 } } } }, "p.json: /services/s/roles/r/uid: is -1, expected at least 0"],
    [
      { s: { type: "dbus", roles: { r: { uid: 4294967295 } } } },
      "p.json: /services/s/roles/r/uid: is 4294967295, expected below 4294967295",
    ],
    [
      { s: { type: "dbus", roles: { r: { talk: ["nodot"] } } } },
      'p.json: /services/s/roles/r/talk/0: is "nodot", expected a well-known bus name, such as org.example.Name',
    ],
    [
      { s: { type: "wayland", roles: { r: { globals: ["zwp_x"] } } } },
      'p.json: /services/s/roles/r/globals/0: is "zwp_x", expected a global with its highest version, such as zwlr_layer_shell_v1<=4',
    ],
    [
      { s: { type: "drm", roles: { r: { consumers: "a" } } } },
      'p.json: /services/s/roles/r/consumers: is "a", expected an array',
    ],
  ])("%j is refused with the place and what was expected", (services, message) => {
    expect(firstError(services)).toBe(message);
  });

  test.each([
    ["", "p.json: the text ends here (line 1, column 1), expected a JSON value"],
    ["[]", "p.json: is an array of 0, expected an object"],
    ['{"services":{}}', 'p.json: /#spec: is missing, expected the key "#spec"'],
    [
      '{"#spec":"xconnect-policy@2","services":{}}',
      'p.json: /#spec: is "xconnect-policy@2", expected "xconnect-policy@1"',
    ],
    [
      '{"#spec":"xconnect-policy@1","services":{},"x":1}',
      'p.json: /x: unknown key, expected one of "#spec", "services"',
    ],
  ])("with the text %j is refused", (text, message) => {
    expect(errorsOf(parsePolicyFile(text, "p.json"))[0]).toBe(message);
  });

  test("with a role given twice is refused, where JSON.parse would keep the last", () => {
    const text = `{"#spec":"xconnect-policy@1","services":{"s":{"type":"unix","roles":{
  "any":{"consumers":[]},
  "any":{}}}}}`;
    expect(errorsOf(parsePolicyFile(text, "p.json"))).toEqual([
      "p.json: /services/s/roles/any: key given twice (line 3, column 3), expected each key once",
    ]);
  });

  test("keeps services and roles with the names of Object's own properties", () => {
    const text = `{"#spec":"xconnect-policy@1","services":{
      "__proto__":{"type":"unix","roles":{"constructor":{"consumers":["a"]}}},
      "prototype":{"type":"unix","roles":{}}, "constructor":{"type":"unix","roles":{}}}}`;
    const parsed = parsePolicyFile(text, "p.json");
    expect(parsed.ok && [...parsed.services.keys()]).toEqual(["__proto__", "prototype", "constructor"]);
    expect(parsed.ok && parsed.services.get("__proto__")?.roles.get("constructor")).toEqual({ consumers: ["a"] });
    expect(parsed.ok && parsed.services.get("__proto__")?.roles.get("toString")).toBeUndefined();
  });

  test("__proto__ as a key of an entry is an unknown key", () => {
    const text = `{"#spec":"xconnect-policy@1","services":{"s":{"type":"unix","roles":{"any":{"__proto__":{}}}}}}`;
    expect(parsePolicyFile(text, "p.json").ok).toBe(false);
  });

  test("names its services also when it is refused, so that they can be sealed", () => {
    const parsed = parsePolicyFile(withServices({ a: { type: "unix", roles: {} }, b: 5 }), "p.json");
    expect(parsed.ok).toBe(false);
    expect(!parsed.ok && parsed.names).toEqual(["a", "b"]);
    const cut = parsePolicyFile(EXAMPLE.slice(0, 200), "p.json");
    expect(!cut.ok && cut.names).toBeUndefined();
  });

  test("with thousands of errors lists fifty and counts the rest", () => {
    const services = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`s${i}`, i]));
    const errors = errorsOf(parsePolicyFile(withServices(services), "p.json"));
    expect(errors).toHaveLength(51);
    expect(errors.at(-1)).toBe("p.json: and 250 more");
  });

  test("shows foreign text escaped and cut", () => {
    const error = firstError({ s: { type: `\u001b[2J\u202e${"x".repeat(500)}`, roles: {} } });
    expect(error).not.toContain("\u001b");
    expect(error).not.toContain("\u202e");
    expect(error.length).toBeLessThan(250);
  });
});
