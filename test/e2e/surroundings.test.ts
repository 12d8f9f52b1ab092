/** The compiled binary in surroundings that a root daemon meets: hostile ones, empty ones, read-only ones. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compiled } from "../support/binary.ts";
import { startContainer } from "../support/containers.ts";
import { run } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pvx-e2e-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A host-side unix link; 0 is the root of whoever runs the daemon. */
const link = (target: string, socket: string) =>
  JSON.stringify([
    {
      type: "unix",
      name: "echo",
      role: "any",
      consumer: "c",
      consumer_pid: 0,
      provider: "p",
      provider_pid: 0,
      target,
      socket,
    },
  ]);

describe("the compiled binary", () => {
  test("ignores .env, bunfig.toml, package.json and tsconfig.json of its current directory", async () => {
    const cwd = join(folder, "hostile");
    mkdirSync(cwd);
    const trace = join(cwd, "trace");
    writeFileSync(join(cwd, ".env"), `PV_XCONNECT_INTERVAL=not-a-number\nPV_XCONNECT_GRAPH=/nowhere\n`);
    writeFileSync(join(cwd, "bunfig.toml"), `preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n`);
    writeFileSync(join(cwd, "evil.ts"), `require("node:fs").writeFileSync(${JSON.stringify(trace)}, "ran");`);
    writeFileSync(join(cwd, "package.json"), `{"name":"evil","imports":{"#x":"./evil.ts"},"main":"evil.ts"}`);
    writeFileSync(join(cwd, "tsconfig.json"), `{"compilerOptions":{"paths":{"node:fs":["./evil.ts"]}}}`);
    const version = await run([compiled(), "version"], { cwd, env: {} });
    expect(version).toMatchObject({ code: 0, stderr: "" });
    expect(version.stdout).toMatch(/^pv-xconnect \d+\.\d+\.\d+/);
    // The interval of the .env would be a usage error (2), its graph a runtime error (1).
    const graph = join(folder, "empty.json");
    writeFileSync(graph, "[]");
    const flags = ["--once", "--state-dir", join(folder, "state-hostile"), "--policy", cwd];
    const once = await run([compiled(), "run", ...flags, "--graph", graph], { cwd, env: {} });
    expect(once).toMatchObject({ code: 0 });
    expect(existsSync(trace)).toBe(false);
  });
});

describe.skipIf(!requireRealPart("root"))("the compiled binary as root", () => {
  test("runs on a read-only root without a writable directory but /run, and with an empty environment", async () => {
    const box = await startContainer({
      name: "read-only",
      hostPrograms: true,
      readonlyRoot: true,
      binds: [{ from: compiled(), to: "/opt/pv-xconnect" }],
    });
    try {
      await box.sh("! touch /tmp/x && ! touch /dev/shm/../../x");
      const echo = box.start(["/opt/peer", "serve", "/run/provider.sock"]);
      await echo.event("listening");
      await box.sh(`echo '${link("/run/consumer.sock", "/run/provider.sock")}' > /run/graph.json`);
      const daemon = box.start([
        "env",
        "-i",
        "/opt/pv-xconnect",
        "run",
        "--graph",
        "/run/graph.json",
        "--state-dir",
        "/run/state",
      ]);
      await box.sh("for i in $(seq 500); do [ -S /run/consumer.sock ] && exit 0; sleep 0.02; done; exit 1");
      const sent = await box.exec(["/opt/peer", "send", "/run/consumer.sock", "--messages", "5", "--fds", "3"]);
      expect(JSON.parse(sent.stdout)).toMatchObject({ fds: 15, in_order: true, intact: true });
      daemon.signal("SIGTERM");
      expect((await daemon.finished()).code).toBe(0);
      expect(existsSync(box.hostPath("/run/consumer.sock"))).toBe(false);
    } finally {
      await box.stop();
    }
  });

  test("says so and exits with the runtime status when its state directory cannot be made", async () => {
    const graph = join(folder, "graph.json");
    writeFileSync(graph, link(join(folder, "t.sock"), join(folder, "s.sock")));
    writeFileSync(join(folder, "file"), "");
    const { code, stdout, stderr } = await run([
      compiled(),
      "run",
      "--graph",
      graph,
      "--state-dir",
      join(folder, "file/state"),
    ]);
    expect(`${stdout}${stderr}`).toMatch(/file\/state.*(?:ENOTDIR|EEXIST)/);
    expect(code).toBe(1);
  });
});
