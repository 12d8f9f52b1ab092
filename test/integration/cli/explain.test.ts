import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../src/cli/explain.ts";
import { runCommand } from "../../support/command.ts";

const POLICY = {
  "#spec": "xconnect-policy@1",
  services: {
    "network-manager": {
      type: "rest",
      roles: { readonly: { allow: [{ methods: ["GET"], paths: ["/v1/**"] }] }, admin: {} },
    },
    "system-bus": {
      type: "dbus",
      roles: {
        operator: {
          uid: 1001,
          see: ["org.example.Seen"],
          talk: ["org.example.Talk"],
          own: ["org.example.Own"],
          call: ["org.example.Talk.GetInfo@/org/example/**"],
          broadcast: [],
        },
      },
    },
    raw: { type: "unix", roles: { any: {}, shell: { consumers: ["console"] } } },
    gpu: { type: "drm", roles: { render: {}, master: { consumers: ["compositor"] } } },
    "wayland-0": { type: "wayland", roles: { any: { profile: "app" } } },
  },
};

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-explain-"));
  writeFileSync(join(directory, "p.json"), JSON.stringify(POLICY));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function explain(...argv: string[]) {
  const ran = await runCommand(command, ["--policy", directory, "--json", ...argv]);
  const { allowed, rule, detail } = ran.out === "" ? { allowed: ran.err, rule: "", detail: "" } : JSON.parse(ran.out);
  if (typeof allowed === "boolean") expect(ran.code).toBe(allowed ? 0 : 1);
  return { allowed, rule, detail };
}
const rest = (role: string, ...request: string[]) => explain("network-manager", "--role", role, "--", ...request);
const dbus = (...request: string[]) => explain("system-bus", "--role", "operator", "--", ...request);

describe("explain", () => {
  test("judges a link by its role and consumer", async () => {
    expect(await explain("raw")).toMatchObject({ allowed: true, rule: 'services["raw"].roles["any"]' });
    expect(await explain("raw", "--role", "admin")).toEqual({
      allowed: false,
      rule: 'services["raw"].roles',
      detail: 'Policy for service "raw" does not list role "admin"',
    });
    expect(await explain("raw", "--role", "shell")).toMatchObject({
      allowed: false,
      rule: 'services["raw"].roles["shell"].consumers',
    });
    expect(await explain("raw", "--role", "shell", "--consumer", "console")).toMatchObject({ allowed: true });
    expect(await explain("free", "--type", "unix")).toMatchObject({
      allowed: true,
      rule: 'services["free"].roles["any"]: no policy',
    });
    expect(await explain("raw", "--type", "rest")).toMatchObject({ allowed: false, rule: 'services["raw"].type' });
  });

  test("judges REST requests, on the path as the provider would get it", async () => {
    expect(await rest("readonly", "GET", "/v1/a/../b?q=1")).toEqual({
      allowed: true,
      rule: 'services["network-manager"].roles["readonly"].allow[0]',
      detail: "Forwarded as GET /v1/b",
    });
    expect(await rest("readonly", "POST", "/v1/b")).toMatchObject({
      allowed: false,
      detail: "Answered with 403: The role may not do this.",
    });
    expect(await rest("readonly", "GET", "/v1/%2f")).toMatchObject({ allowed: false });
    expect(await rest("admin", "DELETE", "/x")).toMatchObject({ allowed: true });
  });

  test("judges D-Bus calls, names and signals", async () => {
    expect(await dbus("call", "org.example.Talk", "org.example.Talk.GetInfo", "/org/example/x")).toMatchObject({
      allowed: true,
    });
    expect(await dbus("call", "org.example.Talk", "org.example.Talk.Reboot", "/org/example/x")).toMatchObject({
      allowed: false,
    });
    expect((await dbus("call", "org.example.Seen", "org.example.Seen.Get")).detail).toContain("AccessDenied");
    expect((await dbus("call", "org.example.Hidden", "org.example.Hidden.Get")).detail).toContain("ServiceUnknown");
    expect(await dbus("see", "org.example.Seen")).toMatchObject({ allowed: true });
    expect(await dbus("see", "org.example.Hidden")).toMatchObject({ allowed: false });
    expect(await dbus("own", "org.example.Own")).toMatchObject({ allowed: true });
    expect(await dbus("own", "org.example.Talk")).toMatchObject({ allowed: false });
    expect(await dbus("hear", "org.example.Hidden", "org.example.Hidden.Changed")).toMatchObject({
      allowed: false,
      detail: "Dropped",
    });
    expect(await dbus("signal", "org.example.Own.Changed")).toMatchObject({ allowed: true });
    expect(await dbus("signal", "org.example.Foreign.Changed")).toMatchObject({ allowed: false });
  });

  test("judges methods of the bus itself", async () => {
    const driver = (member: string, ...name: string[]) =>
      dbus("call", "org.freedesktop.DBus", `org.freedesktop.DBus.${member}`, "/", ...name);
    expect(await driver("Hello")).toMatchObject({ allowed: true });
    expect(await driver("ListNames")).toMatchObject({ allowed: true, rule: "bus driver: list" });
    expect(await driver("ReloadConfig")).toMatchObject({ allowed: false, rule: "bus driver: method not listed" });
    expect(await driver("RequestName", "org.example.Own")).toMatchObject({ allowed: true });
    expect(await driver("RequestName", "org.example.Talk")).toMatchObject({ allowed: false });
    expect((await driver("GetNameOwner", "org.example.Hidden")).detail).toContain("NameHasNoOwner");
  });

  test("says where the bus's own policy decides", async () => {
    const { rule, detail } = await explain("bus", "--type", "dbus", "--", "call", "org.example.X", "org.example.X.Get");
    expect([rule, detail]).toEqual(["no filter", "Forwarded; the bus's own policy decides, by the role's uid"]);
    const filtered = await explain(
      "bus",
      "--type",
      "dbus",
      "--interface",
      "org.example.Y",
      "--",
      "call",
      "org.example.X",
      "org.example.X.Get",
    );
    expect(filtered.allowed).toBe(false);
  });

  test("judges Wayland globals and devices", async () => {
    expect(await explain("wayland-0", "wl_seat", "5")).toMatchObject({ allowed: true });
    expect(await explain("wayland-0", "wl_seat", "999")).toMatchObject({ allowed: false });
    expect(await explain("wayland-0", "zwlr_screencopy_manager_v1")).toMatchObject({
      allowed: false,
      detail: "zwlr_screencopy_manager_v1 is hidden",
    });
    expect(await explain("gpu", "--role", "render", "--target", "/dev/dri/renderD128")).toMatchObject({
      allowed: true,
    });
    expect(await explain("gpu", "--role", "render", "--target", "/dev/dri/card0")).toMatchObject({ allowed: false });
    expect(await explain("gpu", "--role", "master", "--target", "/dev/dri/card0")).toMatchObject({ allowed: false });
  });

  test("takes what is not given from the graph, and asks when several links fit", async () => {
    const graph = join(directory, "graph.txt");
    const link = (consumer: string, role: string) => ({
      type: "rest",
      name: "network-manager",
      consumer,
      consumer_pid: 1,
      provider_pid: 2,
      role,
      socket: "/s",
    });
    writeFileSync(graph, JSON.stringify([link("a", "readonly"), link("b", "admin")]));
    expect(await explain("network-manager", "--graph", graph, "--consumer", "b", "--", "PUT", "/x")).toMatchObject({
      allowed: true,
    });
    expect(await explain("network-manager", "--graph", graph, "--consumer", "a", "--", "PUT", "/x")).toMatchObject({
      allowed: false,
    });
    expect((await explain("network-manager", "--graph", graph)).allowed).toStartWith("Cannot tell which of 2 links");
    expect((await explain("nothing", "--graph", graph)).allowed).toStartWith("Cannot find a link");
  });

  test("refuses what a broken policy file may have meant", async () => {
    writeFileSync(join(directory, "q.json"), "{");
    expect(await explain("free", "--type", "unix")).toMatchObject({
      allowed: false,
      rule: "a policy file that can't be read",
    });
    expect(await explain("raw")).toMatchObject({ allowed: true });
  });

  test("is told to a person in four lines", async () => {
    const { out } = await runCommand(command, [
      "--policy",
      directory,
      "network-manager",
      "--role",
      "readonly",
      "GET",
      "/v2",
    ]);
    expect(out).toBe(`refused
  request  GET /v2
  as       consumer "app", role "readonly", service "network-manager" (rest)
  rule     services["network-manager"].roles["readonly"].allow
  because  Answered with 403: The role may not do this.
`);
  });

  test.each([
    [[]],
    [["free"]],
    [["raw", "--type", "tcp"]],
    [["raw", "--target", "x"]],
    [["raw", "GET", "/"]],
    [["network-manager", "--role", "admin", "GET"]],
    [["network-manager", "--role", "admin", "GET", "no-slash"]],
    [["system-bus", "--role", "operator", "call", "org.example.X"]],
    [["system-bus", "--role", "operator", "shout"]],
    [["wayland-0", "wl_seat", "x"]],
  ])("refuses the command line %j", async (argv) => {
    const { code, err } = await runCommand(command, ["--policy", directory, ...argv]);
    expect([code, err.slice(0, 6)]).toEqual([2, "Cannot"]);
  });

  test("has a help", async () => {
    expect((await runCommand(command, ["--help"])).out).toStartWith("Usage: pv-xconnect explain");
  });
});
