/** The daemon with a REST link between two real containers: graph and policy from files, access log on. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Container, startContainer } from "../../support/containers.ts";
import { ROOT } from "../../support/native.ts";
import { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";

const TARGET = "/run/nm/api.sock";

describe.skipIf(!requireRealPart("root", "busybox", "curl", "python3"))("a REST link between containers", () => {
  const folder = mkdtempSync(join(tmpdir(), "pvx-rest-daemon-"));
  let app: Container;
  let server: Container;
  let daemon: Program;
  let provider: Program;
  const serve = async () => {
    provider = server.start(["/usr/bin/python3", "/provider.py", "/run/nm.sock"]);
    await provider.line(/listening/);
  };

  function policy(paths: readonly string[]): void {
    const role = { allow: [{ methods: ["GET", "HEAD"], paths }] };
    const text = JSON.stringify({
      "#spec": "xconnect-policy@1",
      services: { "network-manager": { type: "rest", roles: { readonly: role } } },
    });
    writeFileSync(join(folder, "policy/rest.json"), text);
  }
  const curl = (path: string, ...flags: string[]) =>
    app.exec(["curl", "-sS", "--max-time", "20", "--unix-socket", TARGET, ...flags, `http://localhost${path}`]);

  beforeAll(async () => {
    app = await startContainer({ name: "app", hostPrograms: true });
    server = await startContainer({
      name: "netd",
      hostPrograms: true,
      copies: [{ from: join(ROOT, "test/support/rest-provider.py"), to: "/provider.py" }],
    });
    await serve();
    mkdirSync(join(folder, "policy"));
    policy(["/v1/**"]);
    const link = {
      type: "rest",
      name: "network-manager",
      role: "readonly",
      interface: TARGET,
      target: TARGET,
      consumer: "app",
      consumer_pid: app.pid,
      provider: "netd",
      provider_pid: server.pid,
      socket: "/run/nm.sock",
    };
    writeFileSync(join(folder, "graph.json"), JSON.stringify([link]));
    const flags = ["--graph", "graph.json", "--policy", "policy", "--state-dir", "state", "--access-log"].map(
      (flag, i) => (i % 2 === 1 ? join(folder, flag) : flag),
    );
    daemon = new Program([process.execPath, join(ROOT, "src/main.ts"), "run", ...flags]);
    await daemon.line(/Link established/);
  }, 60_000);

  afterAll(async () => {
    await daemon?.stop();
    await app?.stop();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test("the provider is told who asks, and the log says what was asked", async () => {
    const done = await curl("/v1/devices?secret=1", "-H", "X-PV-Role: admin");
    const told = JSON.parse(done.stdout) as { headers: [string, string][] };
    expect(told.headers.filter(([name]) => name.startsWith("x-pv-"))).toEqual([
      ["x-pv-client", "app"],
      ["x-pv-role", "readonly"],
    ]);
    const line = await daemon.line(/src=access/);
    expect(line).toContain("method=GET path=/v1/devices status=200");
    expect(line).not.toContain("secret");
  });

  test("what the role may not do is a 403, and the rule is in the audit", async () => {
    const done = await curl("/v1/devices", "-X", "DELETE", "-w", "%{http_code}");
    expect(done.stdout).toEndWith("403");
    expect(done.stdout).not.toContain("roles");
    const line = await daemon.line(/src=audit/);
    expect(line).toContain("method=DELETE path=/v1/devices");
    expect(line).toMatch(/services\[.*network-manager.*\]\.roles\[.*readonly.*\]\.allow/);
  });

  test("a changed policy file holds for the next request", async () => {
    policy(["/v2/**"]);
    daemon.signal("SIGHUP");
    const deadline = performance.now() + 10_000;
    let status = "";
    while (status !== "200" && performance.now() < deadline) {
      status = (await curl("/v2/x", "-o", "/dev/null", "-w", "%{http_code}")).stdout;
      if (status !== "200") await Bun.sleep(50);
    }
    expect(status).toBe("200");
    expect((await curl("/v1/devices", "-o", "/dev/null", "-w", "%{http_code}")).stdout).toBe("403");
  });

  test("a restarted provider is served again, within the hold", async () => {
    await provider.stop();
    const asked = curl("/v2/again", "-o", "/dev/null", "-w", "%{http_code}");
    await Bun.sleep(500);
    await serve();
    expect((await asked).stdout).toBe("200");
  });

  test("a clean end leaves nothing planted", async () => {
    await daemon.stop();
    expect(await app.sh(`test -e ${TARGET} && echo there || echo gone`)).toContain("gone");
  });
});
