/** The whole daemon: provider and consumer in containers, roles from the provider's passwd, policy files on disk, learning. */
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Container, startContainer } from "../../support/containers.ts";
import { PASSWD } from "../../support/dbus-bus.ts";
import { DOCUMENTED_POLICY, run } from "../../support/dbus-link.ts";
import { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";

const ROOT = join(import.meta.dir, "../../..");
const NAME = "org.pantavisor.Example";
const PATH = "/org/pantavisor/Example";

const cleanup: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), "pvx-dbus-daemon-"));
  cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A container with the documented provider: its own dbus-daemon, passwd and service. */
async function provider(userns: boolean): Promise<Container> {
  const files = scratch();
  // Read by another host uid where the ids are shifted.
  chmodSync(files, 0o755);
  writeFileSync(join(files, "passwd"), PASSWD);
  writeFileSync(
    join(files, "bus.conf"),
    `<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>${DOCUMENTED_POLICY}</busconfig>`,
  );
  const container = await startContainer({
    name: "provider",
    userns,
    hostPrograms: true,
    binds: [
      { from: files, to: "/mnt" },
      { from: join(files, "passwd"), to: "/etc/passwd" },
      { from: join(ROOT, "test/support/dbus-service.py"), to: "/opt/service.py" },
    ],
  });
  cleanup.push(() => container.stop());
  await container.sh("mkdir -p /run/dbus");
  await container.start(["dbus-daemon", "--config-file=/mnt/bus.conf", "--nofork", "--nopidfile", "--nosyslog"]);
  await container.sh(
    "for i in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.05; done; chmod 777 /run/dbus/system_bus_socket",
  );
  const service = await container.start([
    "/usr/bin/python3",
    "/opt/service.py",
    "unix:path=/run/dbus/system_bus_socket",
  ]);
  await service.line(/^ready$/);
  return container;
}
async function consumer(name: string): Promise<Container> {
  const container = await startContainer({ name, hostPrograms: true });
  cleanup.push(() => container.stop());
  return container;
}

interface Entry {
  readonly role: string;
  readonly target: string;
  readonly interface?: string;
}
class Daemon {
  readonly state = scratch();
  readonly policy = scratch();
  private readonly graph = join(scratch(), "graph.json");
  program!: Program;

  async start(from: Container, to: Container, entries: Entry[], options: string[] = []): Promise<this> {
    const graph = entries.map((entry) => ({
      type: "dbus",
      name: "system-bus",
      consumer: "app",
      consumer_pid: to.pid,
      provider: "provider",
      provider_pid: from.pid,
      socket: "/run/dbus/system_bus_socket",
      interface: NAME,
      ...entry,
    }));
    writeFileSync(this.graph, JSON.stringify(graph));
    const argv = [
      "run",
      "--graph",
      this.graph,
      "--policy",
      this.policy,
      "--state-dir",
      this.state,
      "--interval",
      "1",
      ...options,
    ];
    this.program = new Program([process.execPath, join(ROOT, "src/main.ts"), ...argv]);
    cleanup.push(() => this.program.stop());
    for (let i = 0; i < 100; i++) {
      const status = await this.cli("status", "--json");
      if (status.code === 0) {
        const { links } = JSON.parse(status.out) as { links: { state: string }[] };
        if (links.length === entries.length && links.every((l) => l.state === "established")) return this;
      }
      await Bun.sleep(100);
    }
    throw new Error(`links are not established: ${(await this.cli("status")).out} ${this.program.stderr.join("\n")}`);
  }
  cli(command: string, ...args: string[]) {
    return run([process.execPath, join(ROOT, "src/main.ts"), command, "--state-dir", this.state, ...args]);
  }
  writePolicy(policy: object): void {
    writeFileSync(join(this.policy, "dbus.json"), JSON.stringify(policy));
  }
}
const call = (to: Container, target: string, iface: string, member: string, ...args: string[]) =>
  to.exec(["busctl", `--address=unix:path=${target}`, "--timeout=5", "call", NAME, PATH, iface, member, ...args]);

describe.skipIf(!requireRealPart("root", "dbus-daemon", "python3-dbus", "busctl"))("the daemon", () => {
  for (const userns of [false, true]) {
    test(`connects each role as its own account of the provider${userns ? " in a user namespace" : ""}`, async () => {
      const from = await provider(userns);
      const to = await consumer("app");
      const roles = { root: 0, operator: 1001, nobody: 65534, "1001": 1001, unknown: 65534, any: 65534 };
      const entries = Object.keys(roles).map((role) => ({ role, target: `/run/bus-${role}` }));
      await new Daemon().start(from, to, entries);
      for (const [role, uid] of Object.entries(roles)) {
        const answer = await call(to, `/run/bus-${role}`, NAME, "GetInfo");
        expect([role, answer.stdout + answer.stderr]).toEqual([role, expect.stringContaining(`\\"uid\\": ${uid}}`)]);
        const secret = await call(to, `/run/bus-${role}`, "org.pantavisor.Secret", "Reveal");
        expect(secret.stderr).toContain("Access denied");
      }
    }, 60_000);
  }

  test("a policy written to disk applies to an open connection", async () => {
    const from = await provider(false);
    const to = await consumer("app");
    const daemon = await new Daemon().start(from, to, [{ role: "operator", target: "/run/bus" }]);
    const script = `
import dbus.bus, sys
bus = dbus.bus.BusConnection("unix:path=/run/bus")
for line in sys.stdin:
    try:
        print(bus.call_blocking("${NAME}", "${PATH}", "${NAME}", "Echo", "s", (line.strip(),)), flush=True)
    except dbus.DBusException as e:
        print(e.get_dbus_name(), flush=True)
`;
    const client = await to.start(["/usr/bin/python3", "-c", script]);
    const ask = async (text: string): Promise<string> => {
      const from = client.stdout.length;
      client.write(`${text}\n`);
      return client.line(/./, { from });
    };
    expect(await ask("one")).toBe("one");
    daemon.writePolicy({
      "#spec": "xconnect-policy@1",
      services: { "system-bus": { type: "dbus", roles: { operator: { see: [NAME] } } } },
    });
    let answer = "";
    for (let i = 0; i < 50 && !answer.includes("Denied"); i++) {
      await Bun.sleep(100);
      answer = await ask("two");
    }
    expect(answer).toBe("org.freedesktop.DBus.Error.AccessDenied");
    daemon.writePolicy({
      "#spec": "xconnect-policy@1",
      services: { "system-bus": { type: "dbus", roles: { operator: { talk: [NAME] } } } },
    });
    for (let i = 0; i < 50 && answer !== "three"; i++) {
      await Bun.sleep(100);
      answer = await ask("three");
    }
    expect(answer).toBe("three");
    const audit = await fetch("http://localhost/audit?follow=0", { unix: join(daemon.state, "status.sock") });
    const records = (await audit.text())
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(records[0]).toMatchObject({
      type: "dbus",
      role: "operator",
      action: "call",
      asked: { name: NAME, interface: NAME, member: "Echo" },
    });
  }, 60_000);

  test("what was learned passes under enforcement, and nothing else does", async () => {
    const from = await provider(false);
    const to = await consumer("app");
    const entries = [{ role: "operator", target: "/run/bus", interface: "dbus" }];
    const used = async (): Promise<string> => {
      const answers = [
        await call(to, "/run/bus", NAME, "Echo", "s", "hello"),
        await to.exec([
          "busctl",
          "--address=unix:path=/run/bus",
          "--timeout=5",
          "get-property",
          NAME,
          PATH,
          NAME,
          "Level",
        ]),
        await to.exec(["busctl", "--address=unix:path=/run/bus", "--timeout=5", "introspect", NAME, PATH, NAME]),
        await to.exec([
          "gdbus",
          "call",
          "--address",
          "unix:path=/run/bus",
          "--dest",
          "org.pantavisor.Hidden",
          "--object-path",
          PATH,
          "--method",
          `${NAME}.GetInfo`,
        ]),
      ];
      return answers.map((a) => a.code).join(" ");
    };
    const learning = await new Daemon().start(from, to, entries, ["--learn", "system-bus"]);
    expect((await learning.cli("status")).out).toContain("learn mode");
    expect((await learning.cli("learn")).code).toBe(1);
    expect(await used()).toBe("0 0 0 0");
    await Bun.sleep(200);
    const learned = await learning.cli("learn");
    await learning.program.stop();
    const policy = JSON.parse(learned.out);
    const { operator } = policy.services["system-bus"].roles;
    expect(operator.call).toEqual([
      `${NAME}.Echo@${PATH}`,
      `${NAME}.Get@${PATH}`,
      `org.pantavisor.Example=org.freedesktop.DBus.Introspectable.Introspect@${PATH}`,
      `org.pantavisor.Hidden=org.freedesktop.DBus.Introspectable.Introspect@${PATH}`,
      `org.pantavisor.Hidden=${NAME}.GetInfo@${PATH}`,
    ]);
    const enforcing = new Daemon();
    mkdirSync(enforcing.policy, { recursive: true });
    enforcing.writePolicy(policy);
    await enforcing.start(from, to, entries);
    expect(await used()).toBe("0 0 0 0");
    expect((await call(to, "/run/bus", NAME, "GetInfo")).stderr).toContain("Access denied");
    expect((await call(to, "/run/bus", "org.pantavisor.Secret", "Reveal")).stderr).toContain("Access denied");
  }, 60_000);
});
