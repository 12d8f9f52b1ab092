import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../src/cli/check.ts";
import { runCommand } from "../../support/command.ts";

const FIXTURES = join(import.meta.dir, "../../../fixtures");
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-check-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));
function file(name: string, content: unknown): string {
  const path = join(directory, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}
async function check(...argv: string[]) {
  const { code, out, err } = await runCommand(command, argv);
  return { code, out: out.replaceAll(directory, "DIR"), err };
}
const POLICY = (services: unknown) => ({ "#spec": "xconnect-policy@1", services });

describe("check", () => {
  test("finds no error in the revision of the fixtures", async () => {
    expect(
      await check(join(FIXTURES, "manifests/revision/dash"), join(FIXTURES, "manifests/revision/net")),
    ).toMatchObject({
      code: 0,
      out: "3 files: no errors\n",
    });
  });

  test.each<[string, unknown, string]>([
    [
      "services.json",
      { "#spec": "service-manifest-xconnect@1", services: [{ name: "x", type: "tcp", socket: "/s" }] },
      'DIR/services.json: /services/0/type: is "tcp", expected one of unix, rest, dbus, drm, wayland, input',
    ],
    [
      "a.services.json",
      [{ name: "x", type: "unix", socket: "s" }],
      'DIR/a.services.json: /0/socket: is "s", expected an absolute path',
    ],
    [
      "services.json",
      [{ name: "x", type: "unix" }],
      'DIR/services.json: /0/socket: is missing, expected the key "socket"',
    ],
    [
      "services.json",
      { services: [] },
      'DIR/services.json: /#spec: is missing, expected "service-manifest-xconnect@1"',
    ],
    [
      "services.json",
      [{ type: "dbus", owns: "org.example.X", role: "r" }],
      'DIR/services.json: /0/bus: is missing, expected the key "bus"',
    ],
    [
      "run.json",
      { "#spec": "service-manifest-run@1", name: "" },
      'DIR/run.json: /name: is "", expected a name of at least one character',
    ],
    [
      "run.json",
      { "#spec": "service-manifest-run@1", name: "a", services: [] },
      'DIR/run.json: /services: is an array of 0, expected an object with "required" and "optional"',
    ],
    [
      "run.json",
      { "#spec": "service-manifest-run@1", name: "a", services: { required: {} } },
      "DIR/run.json: /services/required: is an object, expected an array of objects",
    ],
    [
      "args.json",
      { PV_SERVICES_REQUIRED: [{ name: "x", target: "/../x" }] },
      'DIR/args.json: /PV_SERVICES_REQUIRED/0/target: is "/../x", expected an absolute path without ".." and NUL',
    ],
    [
      "args.json",
      { PV_SERVICES_REQUIRED: [{ name: "x", target: "/x" }], PV_SERVICES_OPTIONAL: [{ name: "y", target: "//x/" }] },
      'DIR/args.json: has "x" and "y" both at /x, expected a target of its own for each requirement',
    ],
    [
      "graph.json",
      [{ type: "unix", name: "x", consumer: "a", consumer_pid: "1" }],
      'DIR/graph.json: /0/consumer_pid: is "1", expected a whole number: 0 for the host, -1 for not up, at most 4194304',
    ],
    ["graph.json", {}, "DIR/graph.json: the graph is an object, expected an array"],
    [
      "any.json",
      POLICY({ x: { type: "unix", roles: { any: { consumer: [] } } } }),
      'DIR/any.json: /services/x/roles/any/consumer: unknown key, expected one of "consumers", "socket"',
    ],
    [
      "policy.json",
      '{"#spec":',
      "DIR/policy.json: /#spec: the text ends here (line 1, column 10), expected a JSON value",
    ],
    [
      "other.json",
      { a: 1 },
      "DIR/other.json: is none of ours, expected #spec, the file's name or an array to tell which of graph, services, run, args, state, policy it is",
    ],
    [
      "state.json",
      {
        "#spec": "pantavisor-service-system@1",
        "a/run.json": { "#spec": "service-manifest-run@1", name: "a", services: { required: [{ name: "x" }] } },
      },
      'DIR/state.json: "a" wants service "x", which nobody exports',
    ],
  ])("refuses %s with %j", async (name, content, message) => {
    const { code, out } = await check(file(name, content));
    expect(out).toBe(`${message}\n`);
    expect(code).toBe(1);
  });

  test("warns of unknown keys and newer entries, which are no errors", async () => {
    const services = file("services.json", [{ name: "x", type: "unix", socket: "/s", colour: 1 }]);
    const graph = file("graph.json", [{ activatable: true }]);
    expect(await check(services, graph)).toMatchObject({
      code: 0,
      out: `warning: DIR/services.json: /0/colour: unknown key, expected one of name, type, socket
warning: DIR/graph.json: /0: has no type: an entry of another kind with the keys "activatable"
2 files: no errors
`,
    });
  });

  test("looks through a directory for what is ours and leaves the rest", async () => {
    file("policy.d/10-a.json", POLICY({ x: { type: "unix", roles: {} } }));
    file("policy.d/20-b.json", POLICY({ x: { type: "unix", roles: {} } }));
    file("deep/er/args.json", { PV_SERVICES_REQUIRED: 5 });
    file("package.json", { name: "not ours" });
    file("readme.txt", "{");
    const { code, out } = await check(directory);
    expect(code).toBe(1);
    expect(out).toBe(`DIR/deep/er/args.json: /PV_SERVICES_REQUIRED: is 5, expected an array of objects
DIR/policy.d/20-b.json: /services/x: is in DIR/policy.d/10-a.json already, expected each service in one file
`);
  });

  test("tells which links of the graph the policy beside it would refuse", async () => {
    const graph = file("graph.json", [
      { type: "unix", name: "x", consumer: "app", consumer_pid: 1, provider_pid: 2, role: "guest", socket: "/s" },
      { type: "unix", name: "y", consumer: "app", consumer_pid: 1, provider_pid: 2, role: "guest", socket: "/s" },
    ]);
    const policy = file("p.json", POLICY({ x: { type: "unix", roles: { any: {} } } }));
    expect(await check(graph, policy)).toMatchObject({
      code: 0,
      out: `warning: The link of "app" to "x" will be refused: Policy for service "x" does not list role "guest"
2 files: no errors
`,
    });
  });

  test("gives the same as JSON", async () => {
    const { code, out } = await check("--json", file("graph.json", "{}"));
    expect([code, JSON.parse(out)]).toEqual([
      1,
      { files: 1, errors: ["DIR/graph.json: the graph is an object, expected an array"], warnings: [] },
    ]);
  });

  test("does not wait for a fifo and refuses what is not there", async () => {
    Bun.spawnSync(["mkfifo", join(directory, "graph.json")]);
    expect(await check(join(directory, "graph.json"), join(directory, "no"))).toMatchObject({
      code: 1,
      out: "DIR/graph.json: is not a regular file\nDIR/no: ENOENT\n",
    });
  });

  test("has a help, and refuses an empty command line", async () => {
    expect((await check("--help")).out).toStartWith("Usage: pv-xconnect check");
    expect((await check()).code).toBe(2);
  });
});
