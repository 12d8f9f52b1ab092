import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../src/cli/resolve.ts";
import { readGraph } from "../../../src/graph/schema.ts";
import { runCommand } from "../../support/command.ts";

const REVISION = join(import.meta.dir, "../../../fixtures/manifests/revision");
const resolve = (...argv: string[]) => runCommand(command, argv);

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-resolve-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));
function container(name: string, run: unknown, services?: unknown): void {
  mkdirSync(join(directory, name), { recursive: true });
  writeFileSync(
    join(directory, name, "run.json"),
    JSON.stringify({ "#spec": "service-manifest-run@1", name, ...(run as object) }),
  );
  if (services !== undefined) writeFileSync(join(directory, name, "services.json"), JSON.stringify(services));
}

describe("resolve", () => {
  test("gives the graph of a revision, which the daemon's own parser reads whole", async () => {
    const { code, out, err } = await resolve(REVISION);
    const entries = JSON.parse(out);
    expect(code).toBe(0);
    expect(entries).toEqual([
      {
        consumer: "dash",
        consumer_pid: -1,
        provider: "net",
        provider_pid: -1,
        name: "network-manager",
        type: "rest",
        role: "readonly",
        interface: "rest",
        target: "/run/nm/api.sock",
        socket: "/run/nm/api.sock",
      },
      {
        consumer: "dash",
        consumer_pid: -1,
        provider: "gpu",
        provider_pid: -1,
        name: "drm-render",
        type: "drm",
        role: "render",
        interface: "drm",
        target: "/dev/dri/renderD128",
        socket: "/dev/dri/renderD128",
      },
    ]);
    const graph = readGraph(entries);
    expect(graph.ok && graph.skipped).toEqual([]);
    expect(err).toBe(
      'warning: "dash" wants service "system-bus", which is optional and which nobody exports (with --hosted-bus Pantavisor itself does)\n',
    );
  });

  test("gives the hosted bus where Pantavisor hosts it", async () => {
    const { code, out, err } = await resolve("--hosted-bus", REVISION);
    expect([code, err]).toEqual([0, ""]);
    expect(JSON.parse(out)[2]).toMatchObject({
      provider: "_pv_",
      provider_pid: 0,
      type: "dbus",
      role: "operator",
      interface: "dbus",
      socket: "/run/pv/dbus/system_bus_socket",
    });
  });

  test("takes containers one by one as one revision", async () => {
    const { code, out } = await resolve(join(REVISION, "dash"), join(REVISION, "net"), join(REVISION, "gpu"));
    expect([code, JSON.parse(out).length]).toEqual([0, 2]);
  });

  test("takes a state.json", async () => {
    const run = (name: string, services: object) => ({ "#spec": "service-manifest-run@1", name, services });
    const state = {
      "#spec": "pantavisor-service-system@1",
      "bsp/run.json": { linux: "kernel" },
      "app/run.json": run("app", { required: [{ name: "x" }] }),
      "srv/run.json": run("srv", {}),
      "srv/services.json": {
        "#spec": "service-manifest-xconnect@1",
        services: [{ name: "x", type: "unix", socket: "/s" }],
      },
      "srv/root.squashfs": "0123",
    };
    const path = join(directory, "state.json");
    writeFileSync(path, JSON.stringify(state));
    const { code, out } = await resolve(path);
    expect(code).toBe(0);
    expect(JSON.parse(out)[0]).toMatchObject({
      consumer: "app",
      provider: "srv",
      role: "any",
      interface: "unix",
      target: null,
    });
  });

  test("fails for a requirement that nobody meets, and gives the rest", async () => {
    container("app", { services: { required: [{ name: "x" }, { name: "y" }] } });
    container("srv", {}, [{ name: "x", type: "unix", socket: "/s" }]);
    const { code, out, err } = await resolve(directory);
    expect([code, JSON.parse(out).length]).toEqual([1, 1]);
    expect(err).toBe('error: "app" wants service "y", which nobody exports\n');
  });

  test("gives an entry for every exporter, and says that only the first is connected", async () => {
    container("app", { services: { required: [{ name: "x" }] } });
    container("srv1", {}, [{ name: "x", type: "unix", socket: "/s" }]);
    container("srv2", {}, [{ name: "x", type: "rest", socket: "/s" }]);
    const { code, out, err } = await resolve(directory);
    expect([code, JSON.parse(out).map((entry: { type: string }) => entry.type)]).toEqual([0, ["unix", "rest"]]);
    expect(err).toContain('"srv1" and "srv2" export: only the first is connected');
  });

  test("fails with the place for a wrong manifest, an empty directory and one that is not there", async () => {
    container("app", { services: { required: [{ nam: "x" }] } }, { services: [] });
    mkdirSync(join(directory, "empty"));
    const { code, err } = await resolve(directory, join(directory, "empty"), join(directory, "nowhere"));
    expect(code).toBe(1);
    expect(err.replaceAll(directory, "DIR").split("\n")).toEqual([
      'error: DIR/app/run.json: /services/required/0/name: is missing, expected the key "name"',
      'error: DIR/app/services.json: /#spec: is missing, expected "service-manifest-xconnect@1"',
      "error: DIR/empty: has no container, expected run.json in it or in its directories",
      "error: DIR/nowhere: ENOENT",
      "",
    ]);
  });

  test("has a help, and refuses an empty or unknown command line", async () => {
    expect((await resolve("--help")).out).toStartWith("Usage: pv-xconnect resolve");
    expect((await resolve()).code).toBe(2);
    expect((await resolve("--nope")).code).toBe(2);
  });
});
