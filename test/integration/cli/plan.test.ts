import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../src/cli/plan.ts";
import { runCommand } from "../../support/command.ts";
import { entry } from "../../support/memory-source.ts";

let directory: string;
let children: Bun.Subprocess[];
let servers: { stop(force?: boolean): unknown }[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-plan-"));
  mkdirSync(join(directory, "state"));
  mkdirSync(join(directory, "policy.d"));
  children = [];
  servers = [];
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  for (const server of servers) server.stop(true);
  rmSync(directory, { recursive: true, force: true });
});
function container(): number {
  const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
  children.push(child);
  return child.pid;
}
function plan(entries: unknown[], ...argv: string[]) {
  const graph = join(directory, "graph.json");
  writeFileSync(graph, JSON.stringify(entries));
  const state = join(directory, "state");
  return runCommand(command, [
    "--graph",
    graph,
    "--policy",
    join(directory, "policy.d"),
    "--state-dir",
    state,
    ...argv,
  ]);
}
/** A daemon that says that these links stand. */
function daemon(links: object[]): void {
  const counters = { sessions: 0, bytes_in: 0, bytes_out: 0, fds: 0, denied: 0, since: "2026-07-01T00:00:00Z" };
  const whole = links.map((link) => ({
    type: "unix",
    name: "raw",
    role: "any",
    state: "established",
    reason: null,
    ...counters,
    ...link,
  }));
  const status = { version: "0", pid: 4711, links: whole };
  servers.push(Bun.serve({ unix: join(directory, "state/status.sock"), fetch: () => Response.json(status) }));
}

describe("plan", () => {
  test("without a daemon tells what would be planted, waited for and refused, and why", async () => {
    const [app, backend] = [container(), container()];
    writeFileSync(
      join(directory, "policy.d/a.json"),
      JSON.stringify({ "#spec": "xconnect-policy@1", services: { secret: { type: "unix", roles: {} } } }),
    );
    const { code, out, err } = await plan([
      entry("app", app, "backend", backend),
      entry("late", -1, "backend", backend),
      entry("app", app, "backend", 4_194_304, { name: "gone", target: "/run/gone" }),
      entry("app", app, "backend", backend, { name: "secret", target: "/run/secret" }),
      { activatable: true },
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(/^No daemon answers: nothing stands\.\nSTEP +CONSUMER +NAME +TYPE +TARGET +WHY\n/);
    expect(out).toMatch(/establish +app +raw +unix +\/run\/raw\.sock +both peers are up\n/);
    expect(out).toMatch(/wait +late +raw +unix +\/run\/raw\.sock +The consumer "late" is not up\n/);
    expect(out).toMatch(/wait +app +gone .* The provider "backend" is not up: pidfd_open\(4194304\): ESRCH/);
    expect(out).toMatch(/refuse +app +secret .* Policy for service "secret" does not list role "any"\n/);
    expect(out).toEndWith("Nothing to do for 0 of 4 links.\n");
    expect(err).toStartWith("warning: skipped /4: ");
  });

  test("with a daemon tells what would change of what stands", async () => {
    const [app, backend] = [container(), container()];
    daemon([
      { consumer: "app", target: "/run/raw.sock" },
      { consumer: "app", target: "/run/admin.sock" },
      { consumer: "left", target: "/run/raw.sock" },
    ]);
    const { out } = await plan(
      [
        entry("app", app, "backend", backend),
        entry("app", app, "backend", backend, { target: "/run/admin.sock", role: "admin" }),
      ],
      "--json",
    );
    expect(JSON.parse(out)).toEqual({
      daemon: 4711,
      steps: [
        {
          step: "teardown",
          consumer: "left",
          name: "raw",
          type: "-",
          target: "/run/raw.sock",
          why: "the link left the graph",
        },
        {
          step: "replace",
          consumer: "app",
          name: "raw",
          type: "unix",
          target: "/run/admin.sock",
          why: 'role changed from "any" to "admin"',
        },
      ],
      unchanged: 1,
      warnings: [],
    });
  });

  test("has a help, and says what could not be read", async () => {
    expect((await runCommand(command, ["--help"])).out).toStartWith("Usage: pv-xconnect plan");
    const { code, err } = await runCommand(command, ["--graph", join(directory, "nothing")]);
    expect([code, err]).toEqual([1, `Cannot read the graph from ${directory}/nothing: open: ENOENT\n`]);
  });
});
