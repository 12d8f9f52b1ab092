/**
 * Device links by the compiled binary. Stand-in devices everywhere; where the machine has
 * a real card (modprobe vkms, or the VM of test/vm, which runs this very file) that too.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { deviceCgroupOf } from "../../src/inject/device-cgroup.ts";
import { compiled } from "../support/binary.ts";
import { type Container, startContainer } from "../support/containers.ts";
import { startLxc } from "../support/lxc.ts";
import { Program, run } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

/** An emulated machine takes its time. */
const SLOW_MS = 30_000;
const hasRoot = requireRealPart("root", "busybox");
const CARD = "/dev/dri/card0";
const RENDER = "/dev/dri/renderD128";

/** Whether containers may be given a limit of memory by the unified hierarchy: in the VM. */
function unifiedMemory(): boolean {
  const path = "/sys/fs/cgroup/cgroup.controllers";
  return existsSync(path) && readFileSync(path, "utf8").split(/\s/).includes("memory");
}

interface LinkStatus {
  readonly consumer: string;
  readonly name: string;
  readonly target: string;
  readonly state: string;
  readonly reason: string | null;
}

/** One daemon after another on one state directory. */
class Daemons {
  readonly folder = mkdtempSync(join(tmpdir(), "pvx-drm-"));
  daemon: Program | undefined;

  constructor() {
    mkdirSync(join(this.folder, "policy"));
  }

  graph(entries: readonly object[]): void {
    writeFileSync(join(this.folder, "graph.json"), JSON.stringify(entries));
  }
  policy(services: object): void {
    writeFileSync(
      join(this.folder, "policy", "policy.json"),
      JSON.stringify({ "#spec": "xconnect-policy@1", services }),
    );
  }
  start(): Program {
    const graph = join(this.folder, "graph.json");
    const flags = [
      "--graph",
      graph,
      "--state-dir",
      join(this.folder, "state"),
      "--policy",
      join(this.folder, "policy"),
      "--interval",
      "1",
    ];
    this.daemon = new Program([compiled(), "run", ...flags], { env: {} });
    return this.daemon;
  }
  async links(): Promise<LinkStatus[]> {
    const done = await run([compiled(), "status", "--json", "--state-dir", join(this.folder, "state")], {
      ms: SLOW_MS,
    });
    if (done.code !== 0) throw new Error(done.stderr);
    return JSON.parse(done.stdout).links;
  }
  async until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
    for (const end = performance.now() + SLOW_MS; performance.now() < end; await Bun.sleep(50))
      if (await holds()) return;
    throw new Error(`${what}: not within ${SLOW_MS} ms; the daemon said:\n${this.daemon?.stdout.join("\n")}`);
  }
  async down(): Promise<void> {
    await this.daemon?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const entry = (consumer: Container, provider: Container | undefined, fields: object = {}) => ({
  type: "drm",
  name: "drm-master",
  consumer: consumer.name,
  consumer_pid: consumer.pid,
  provider: provider?.name ?? "_pv_",
  provider_pid: provider?.pid ?? 0,
  role: "any",
  interface: "drm",
  target: CARD,
  socket: CARD,
  ...fields,
});
const injected = (pid: number, source: string, target: string, numbers: string) =>
  `pvx-drm: Injected device ${source} -> ${target} (consumer pid ${pid}, dev ${numbers})`;

describe.skipIf(!hasRoot)("the compiled binary and stand-in devices", () => {
  let bsp: Container;
  let app: Container;
  let shifted: Container;
  let daemons: Daemons;
  beforeAll(async () => {
    [bsp, app, shifted] = await Promise.all([
      startContainer({ name: "bsp" }),
      startContainer({ name: "app" }),
      startContainer({ name: "shifted", userns: true }),
    ]);
    daemons = new Daemons();
  });
  afterEach(async () => {
    await daemons.down();
    daemons = new Daemons();
    await bsp.sh("rm -rf /dev/dri");
    for (const container of [app, shifted])
      await container.sh(`umount ${CARD} 2>/dev/null; rm -rf /dev/dri`).catch(() => {});
  });
  afterAll(async () => {
    await daemons.down();
    await Promise.all([bsp.stop(), app.stop(), shifted.stop()]);
  });
  const both = () => [entry(app, bsp), entry(shifted, bsp)];
  const devices = () =>
    bsp.sh("mkdir -p /dev/dri; mknod -m 666 /dev/dri/card0 c 1 3; mknod -m 666 /dev/dri/renderD128 c 1 5");
  const inode = (container: Container) => container.sh(`stat -c %i ${CARD}`);

  test(
    "plants in plain and user-namespaced containers, follows the device, and leaves nothing at its end",
    async () => {
      daemons.graph(both());
      const daemon = daemons.start();
      await daemon.line(/Waiting for the device/);
      await devices();
      for (const { pid } of [app, shifted])
        await daemon.line(new RegExp(injected(pid, CARD, CARD, "1:3").replace(/[()]/g, "\\$&")));
      for (const container of [app, shifted]) await container.sh(`echo x > ${CARD}`);
      await daemons.until("established", async () =>
        (await daemons.links()).every((link) => link.state === "established"),
      );
      await bsp.sh(`rm ${CARD}`);
      await daemons.until(
        "removed",
        async () => (await app.sh(`ls /dev/dri`)) + (await shifted.sh("ls /dev/dri")) === "",
      );
      expect(await daemon.stop()).toBe(0);
      for (const { pid } of [app, shifted])
        expect(readFileSync(`/proc/${pid}/mountinfo`, "latin1")).not.toContain("/node ");
    },
    2 * SLOW_MS,
  );

  test(
    "finds its nodes again after it was killed, and removes those that nobody wants any more",
    async () => {
      await devices();
      daemons.graph(both());
      const first = daemons.start();
      await daemons.until(
        "planted",
        async () => first.stdout.filter((line) => line.includes("Injected device")).length === 2,
      );
      const before = [await inode(app), await inode(shifted)];
      first.signal("SIGKILL");
      await first.finished();
      expect([await inode(app), await inode(shifted)]).toEqual(before);

      daemons.graph([entry(app, bsp)]);
      const second = daemons.start();
      await second.line(/Injected device/);
      await daemons.until("swept", async () => (await shifted.sh("ls /dev/dri")) === "");
      expect(await inode(app)).toBe(before[0]!);
      expect(readFileSync(`/proc/${shifted.pid}/mountinfo`, "latin1")).not.toContain("/node ");
    },
    3 * SLOW_MS,
  );

  test(
    "refuses what the role may not have, and says why",
    async () => {
      await devices();
      daemons.policy({ "drm-master": { type: "drm", roles: { master: { consumers: ["compositor"] }, render: {} } } });
      daemons.graph([
        entry(app, bsp, { role: "master" }),
        entry(shifted, bsp, { role: "render" }),
        entry(shifted, bsp, { role: "render", socket: RENDER, target: RENDER }),
      ]);
      const daemon = daemons.start();
      await daemon.line(/Injected device/);
      await daemons.until(
        "judged",
        async () => (await daemons.links()).filter((link) => link.state === "failed").length === 2,
      );
      const [master, card, render] = await daemons.links();
      expect(master!.reason).toBe('Policy keeps role "master" of service "drm-master" from consumer "app"');
      expect(card!.reason).toContain(`may not give socket ${CARD}, a card (KMS) node`);
      expect(render!.state).toBe("established");
      expect(await app.sh("ls /dev/dri 2>/dev/null || true")).toBe("");
      expect(await shifted.sh("ls /dev/dri")).toBe("renderD128");
    },
    2 * SLOW_MS,
  );
});

/** A card whose driver is really there. */
const real = hasRoot && existsSync(CARD) && existsSync("/sys/dev/char/226:0");
describe.skipIf(!real)("the compiled binary and real DRM devices", () => {
  let compositor: Container;
  let app: Container;
  const daemons = new Daemons();
  const withRender = existsSync(RENDER);
  beforeAll(async () => {
    [compositor, app] = await Promise.all([
      startContainer({ name: "compositor", hostPrograms: true }),
      startContainer({ name: "app", userns: true }),
    ]);
    daemons.graph([
      entry(compositor, undefined, { role: "master" }),
      ...(withRender
        ? [entry(app, undefined, { name: "drm-render", role: "render", socket: "/dev/dri/renderD*", target: RENDER })]
        : []),
      entry(app, undefined, { name: "wrong-role", role: "render", target: "/dev/dri/card0" }),
    ]);
    daemons.start();
  }, 2 * SLOW_MS);
  afterAll(async () => {
    await daemons.down();
    await Promise.all([compositor.stop(), app.stop()]);
  });
  const told = (line: string) => daemons.until(line, () => daemons.daemon!.stdout.some((said) => said.includes(line)));

  test(
    "the compositor gets card0, 226:0, and modetest works in there",
    async () => {
      await told(injected(compositor.pid, CARD, CARD, "226:0"));
      expect(await compositor.sh(`stat -c '%t:%T' ${CARD}`)).toBe("e2:0");
      const driver = basename(realpathSync("/sys/class/drm/card0/device")) === "vkms" ? "vkms" : "";
      if (Bun.which("modetest") === null || driver === "") return;
      const done = await compositor.exec(["modetest", "-M", driver, "-c"], { ms: SLOW_MS });
      expect(`${done.stdout}${done.stderr}`).toMatch(/Connectors:\n.*\n.*Virtual/);
    },
    2 * SLOW_MS,
  );

  test.skipIf(!withRender)(
    "a user-namespaced app gets the render node, 226:128, and really opens it",
    async () => {
      await told(injected(app.pid, RENDER, RENDER, "226:128"));
      expect(await app.sh(`stat -c '%t:%T' ${RENDER}; true <> ${RENDER} && echo opened`)).toBe("e2:80\nopened");
    },
    2 * SLOW_MS,
  );

  test(
    "a render link to the card is refused, and the others are established",
    async () => {
      await daemons.until("judged", async () =>
        (await daemons.links()).every((link) => link.state !== "pending" && link.state !== "establishing"),
      );
      for (const { name, state, reason } of await daemons.links()) {
        if (name === "wrong-role") expect(reason).toContain("a card (KMS) node");
        else expect([name, state, reason]).toEqual([name, "established", null]);
      }
      expect(await app.sh(`[ -e ${CARD} ] || echo none`)).toBe("none");
    },
    2 * SLOW_MS,
  );

  test.skipIf(!withRender)(
    "a driver that lets go of its device takes the node with it, and brings it back",
    async () => {
      const device = realpathSync("/sys/class/drm/renderD128/device");
      const unbind = join(realpathSync(join(device, "driver")), "unbind");
      const bind = join(realpathSync(join(device, "driver")), "bind");
      writeFileSync(unbind, basename(device));
      await daemons.until("gone", async () => (await app.sh("ls /dev/dri")) === "");
      writeFileSync(bind, basename(device));
      await daemons.until("back", async () => (await app.sh("ls /dev/dri")) === "renderD128");
      await app.sh(`true <> ${RENDER}`);
    },
    3 * SLOW_MS,
  );

  test(
    "doctor names the devices with their drivers",
    async () => {
      const { stdout } = await run([compiled(), "doctor", "--json", "--graph", join(daemons.folder, "graph.json")], {
        ms: SLOW_MS,
      });
      const { checks } = JSON.parse(stdout);
      expect(checks).toContainEqual(
        expect.objectContaining({ name: CARD, status: "ok", detail: expect.stringContaining("226:0, driver") }),
      );
      for (const node of readdirSync("/dev/dri").filter((name) => /^(card|renderD)\d/.test(name)))
        expect(checks.map((check: { name: string }) => check.name)).toContain(`/dev/dri/${node}`);
    },
    2 * SLOW_MS,
  );

  test.skipIf(!requireRealPart("lxc"))(
    "the unified cgroup's device program is probed and named",
    async () => {
      // One rule at least: without any LXC loads no program, whatever the default is.
      const lxc = await startLxc({
        name: "cg2",
        config: ["lxc.cgroup2.devices.deny = a", "lxc.cgroup2.devices.allow = c 1:3 rwm"],
      });
      try {
        if (deviceCgroupOf(lxc.pid)?.version !== 2) return;
        daemons.graph([entry(lxc, undefined, { role: "master", target: "/opt/dri/card0" })]);
        await daemons.until("degraded", async () => {
          const reason = (await daemons.links()).find((link) => link.consumer === "cg2")?.reason ?? "";
          return reason.includes("device cgroup of the consumer denies 226:0 rw");
        });
      } finally {
        await lxc.stop();
      }
    },
    3 * SLOW_MS,
  );

  test.skipIf(!unifiedMemory())(
    "a consumer that freezes its cgroup and runs out of memory there takes nobody along",
    async () => {
      const hostile = await startContainer({ name: "hostile" });
      const cgroup = "/sys/fs/cgroup/pvx-oom";
      try {
        writeFileSync("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        for (const below of ["", "/init", "/hog"]) mkdirSync(`${cgroup}${below}`);
        writeFileSync(`${cgroup}/memory.max`, `${24 << 20}`);
        writeFileSync(`${cgroup}/init/cgroup.procs`, `${hostile.pid}`);
        writeFileSync(`${cgroup}/init/cgroup.freeze`, "1");
        daemons.graph([entry(hostile, undefined, { role: "master" })]);
        const eats = `echo $$ >${cgroup}/hog/cgroup.procs; while :; do busybox tail /dev/zero; done`;
        const hog = new Program(["sh", "-c", eats], { stdin: "ignore" });
        const about = async () => (await daemons.links()).find((link) => link.consumer === "hostile")?.reason ?? "";
        await daemons.until("tried in vain", async () => (await about()).includes("can't be tried from inside"));
        // Two more tries, each of two seconds in there.
        await Bun.sleep(10_000);
        expect(daemons.daemon!.running).toBe(true);
        expect(readFileSync(`${cgroup}/memory.events`, "utf8")).toMatch(/^oom_kill [1-9]/m);
        expect(await about()).toContain("can't be tried from inside");
        await hog.stop();
      } finally {
        writeFileSync(`${cgroup}/init/cgroup.freeze`, "0");
        await hostile.stop();
        for (const below of ["/init", "/hog", ""]) await run(["rmdir", `${cgroup}${below}`]);
      }
    },
    3 * SLOW_MS,
  );
});
