/** `doctor` with real consumers: their cgroups, their libraries, a graph from a file, and devices from a sysfs of the test's. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../src/cli/doctor.ts";
import { ProviderFiles } from "../../../src/devices/provider-files.ts";
import type { Check } from "../../../src/doctor/check.ts";
import { driverChecks } from "../../../src/doctor/drivers.ts";
import { ContainerRoot } from "../../../src/inject/root.ts";
import { ProcessHandle } from "../../../src/sys/process.ts";
import { type Container, startContainer } from "../../support/containers.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";
import { type LxcContainer, startLxc } from "../../support/lxc.ts";
import { requireRealPart } from "../../support/real-parts.ts";

const here = requireRealPart("root", "busybox", "lxc");

describe.skipIf(!here)("doctor", () => {
  let app: Container;
  let denied: LxcContainer;
  const fake = new FakeSysfs();
  const folder = mkdtempSync(join(tmpdir(), "pvx-doctor-"));
  const graph = join(folder, "graph.json");

  beforeAll(async () => {
    // /dev/null and /dev/zero of this machine stand for a card and a render node.
    const gpu = { subsystem: "drm", hardware: "pci0000:00/0000:00:02.0", bus: "pci", driver: "i915" };
    fake.add({ ...gpu, sysName: "card0", devName: "null", numbers: "1:3", connectors: ["HDMI-A-1"] });
    fake.add({ ...gpu, sysName: "renderD128", devName: "zero", numbers: "1:5" });
    fake.add({ ...gpu, sysName: "card9", devName: "pvx-none", numbers: "226:9" });
    [app, denied] = await Promise.all([
      startContainer({ name: "app" }),
      startLxc({ name: "denied", denyDevices: true }),
    ]);
    denied.allowDevice("c 1:5 rw");
    const link = (consumer: string, pid: number, type = "drm") => ({
      ...{ type, name: "gpu", consumer, consumer_pid: pid, provider: "_pv_", provider_pid: 0, role: "any" },
      ...{ interface: type, target: "/dev/dri/card0", socket: "/dev/dri/card0" },
    });
    writeFileSync(
      graph,
      JSON.stringify([link("app", app.pid, "unix"), link("denied", denied.pid), link("gone", 4_000_000)]),
    );
  }, 60_000);
  afterAll(async () => {
    fake.close();
    rmSync(folder, { recursive: true });
    await Promise.all([app.stop(), denied.stop()]);
  });

  async function doctor(...argv: string[]): Promise<{ code: number; text: string }> {
    const parts: string[] = [];
    const io = { out: (part: string) => void parts.push(part), err: () => {}, env: {}, isTTY: false, columns: 80 };
    const code = await command.run([...argv, "--sysfs-root", fake.root], io);
    return { code, text: parts.join("") };
  }
  const checks = async (...argv: string[]): Promise<Check[]> =>
    JSON.parse((await doctor("--json", ...argv)).text).checks;
  const named = (all: readonly Check[], name: string) => all.find((check) => check.name === name);

  test("lists the DRM nodes with what they are, their driver and their place", async () => {
    const all = await checks("--graph", graph);
    expect(named(all, "/dev/null")).toMatchObject({
      status: "ok",
      detail: "card (KMS: card0-HDMI-A-1), 1:3, driver i915, PCI 0000:00:02.0",
    });
    expect(named(all, "/dev/zero")).toMatchObject({
      status: "ok",
      detail: "render node, 1:5, driver i915, PCI 0000:00:02.0",
    });
    expect(named(all, "/dev/pvx-none")).toMatchObject({
      status: "warn",
      detail: expect.stringContaining("/dev has no node"),
    });
    expect(named(all, "isolation")?.detail).toContain("Prefer render nodes");
  });
  test("says which nodes a consumer's cgroup denies", async () => {
    const all = await checks("--graph", graph);
    expect(named(all, "denied")).toMatchObject({
      area: "consumers",
      status: "warn",
      detail: expect.stringMatching(/its cgroup \/lxc\/denied.* denies \/dev\/null \(1:3\) rw$/),
    });
    expect(named(all, "app")).toMatchObject({
      status: "note",
      detail: expect.stringContaining("a node's presence is the gate"),
    });
    expect(named(all, "gone")).toMatchObject({ status: "note", detail: expect.stringContaining("is not up") });
  });
  test("tells how the graph can be had", async () => {
    expect(named(await checks("--graph", graph), `file ${graph}`)).toMatchObject({
      status: "ok",
      detail: "answers with 3 links",
    });
    const { code, text } = await doctor("--ctrl", join(folder, "none"));
    expect(code).toBe(1);
    expect(text).toMatch(/ERROR pv-ctrl .*none: Cannot read the graph from .*: connect: ENOENT/);
  });
  test("exits with 0 when nothing is an error", async () => {
    expect((await doctor("--graph", graph)).code).toBe(0);
  });

  test("compares a consumer's NVIDIA libraries with the kernel's driver", async () => {
    await app.sh(
      "mkdir -p /usr/lib/x86_64-linux-gnu; cd /usr/lib/x86_64-linux-gnu; touch libnvidia-ml.so.535.183.01 libcuda.so.535.183.01 libgallium-24.2.8.so",
    );
    const handle = new ProcessHandle(app.pid);
    const files = new ProviderFiles(ContainerRoot.of(handle, 'consumer "app"'));
    const found = (kernel: string | undefined) =>
      driverChecks(files, "app", kernel).map(({ name, status, detail }) => `${status} ${name}: ${detail}`);
    const mesa = 'note Mesa in "app": 24.2.8; it need not match the kernel';
    expect(found("535.183.01")).toEqual([`ok NVIDIA in "app": 535.183.01, as the kernel's driver`, mesa]);
    expect(found("550.54")).toEqual([
      `error NVIDIA in "app": its libraries are 535.183.01, and the kernel's driver is 550.54: they must be the same`,
      mesa,
    ]);
    expect(found(undefined)).toEqual([
      `warn NVIDIA in "app": its libraries are 535.183.01, and the kernel has no NVIDIA driver`,
      mesa,
    ]);
    files.root.close();
    handle.close();
  });
});
