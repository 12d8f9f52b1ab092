/** What packaging/ gives to a device: the installed tree, its examples, the unit's command line and capabilities, an addon. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LINK_TYPES } from "../../src/graph/link.ts";
import { type Container, startContainer } from "../support/containers.ts";
import { ROOT } from "../support/native.ts";
import { Program, run } from "../support/program.ts";
import { requireRealPart } from "../support/real-parts.ts";

let folder = "";
let tree = "";
const inTree = (path: string): string => join(tree, path);
const EXAMPLES = "usr/share/doc/pv-xconnect/examples";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pvx-packaging-"));
  tree = join(folder, "tree");
  const made = await run(["make", "-C", ROOT, "install-systemd", `DESTDIR=${tree}`], { ms: 60_000 });
  if (made.code !== 0) throw new Error(`Cannot install: ${made.stderr}`);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the installed tree", () => {
  test("has a binary that is whole, and an empty policy directory that only root writes", async () => {
    const { stdout } = await run([inTree("usr/bin/pv-xconnect"), "version"], { env: {}, cwd: "/" });
    expect(stdout).toMatch(/^pv-xconnect \d/);
    expect(readdirSync(inTree("etc/pv-xconnect/policy.d"))).toEqual([]);
    expect(statSync(inTree("etc/pv-xconnect/policy.d")).mode & 0o022).toBe(0);
  });
  test("has examples that its own check accepts, one for each link type", async () => {
    const checked = await run([inTree("usr/bin/pv-xconnect"), "check", inTree(EXAMPLES)], { env: {} });
    expect(checked).toMatchObject({ code: 0, stderr: "" });
    expect(checked.stdout).toContain("no errors");
    const graph = JSON.parse(readFileSync(inTree(`${EXAMPLES}/graph.json`), "utf8")) as { type: string }[];
    expect(graph.map(({ type }) => type).sort()).toEqual([...LINK_TYPES].sort());
  });
  test("has documents whose neighbours came with them", () => {
    const doc = inTree("usr/share/doc/pv-xconnect");
    const links = [...readFileSync(join(doc, "README.md"), "utf8").matchAll(/\]\((?!https?:)([^)#]+)\)/g)];
    expect(links.length).toBeGreaterThan(5);
    expect(links.map((link) => link[1]!).filter((to) => !existsSync(join(doc, to)))).toEqual([]);
  });
});

describe.skipIf(!requireRealPart("root", "busybox"))("the unit", () => {
  let provider: Container;
  let app: Container;
  let shifted: Container;
  beforeAll(async () => {
    [provider, app, shifted] = await Promise.all([
      startContainer({ name: "example" }),
      startContainer({ name: "app" }),
      startContainer({ name: "shifted", userns: true }),
    ]);
  });
  afterAll(async () => {
    await Promise.all([provider, app, shifted].map((container) => container.stop()));
  });

  test("has a command line and capabilities that sockets and devices in containers can be made with", async () => {
    const unit = readFileSync(inTree("usr/lib/systemd/system/pv-xconnect.service"), "utf8");
    const [binary, ...flags] = /^ExecStart=(.*)$/m.exec(unit)![1]!.split(" ");
    expect(existsSync(join(tree, binary!))).toBe(true);
    const caps = /^CapabilityBoundingSet=(.*)$/m
      .exec(unit)![1]!
      .split(" ")
      .map((cap) => cap.replace("CAP_", "+").toLowerCase());

    await provider.sh("mknod -m 660 /dev/null0 c 1 3; chown 0:44 /dev/null0");
    const served = provider.start(["peer", "serve", "/run/provider.sock", "--mode", "echo"]);
    await served.event("listening");
    const link = (type: string, to: Container, target: string, socket: string) => ({
      ...{ type, name: type, consumer: to.name, consumer_pid: to.pid, target, socket },
      ...{ provider: provider.name, provider_pid: provider.pid },
    });
    const graph = join(folder, "graph.json");
    const each = [app, shifted];
    const links = each.flatMap((to) => [
      link("unix", to, "/run/links/raw.sock", "/run/provider.sock"),
      link("drm", to, "/dev/links/null", "/dev/null0"),
    ]);
    writeFileSync(graph, JSON.stringify(links));
    mkdirSync(join(folder, "state"), { mode: 0o700 });
    const argv = flags.map((flag) => flag.replace("/etc/pv-xconnect/graph.json", graph));
    const more = ["--state-dir", join(folder, "state"), "--policy", inTree("etc/pv-xconnect/policy.d")];
    const bounds = `--bounding-set=-all,${caps.join(",")}`;
    const daemon = new Program(["setpriv", bounds, inTree(binary!), ...argv, ...more], { env: {}, cwd: "/" });
    try {
      await daemon.line(/^<6>.*started/);
      for (let i = 0; i < links.length; i++) await daemon.line(/Link (established|degraded|failed)/, { from: 0 });
      const asked = [inTree(binary!), "status", "--json", "--state-dir", join(folder, "state")];
      const states = async () => {
        const { links: all } = JSON.parse((await run(asked)).stdout) as { links: { state: string; reason: string }[] };
        return all.map(({ state, reason }) => reason ?? state);
      };
      for (let i = 0; i < 100 && (await states()).some((state) => state !== "established"); i++) await Bun.sleep(20);
      expect(await states()).toEqual(links.map(() => "established"));
      for (const container of each) {
        const sent = await container.exec(["peer", "send", "/run/links/raw.sock", "--messages", "3", "--fds", "2"]);
        expect(JSON.parse(sent.stdout)).toMatchObject({ in_order: true, intact: true });
        await container.sh("echo x > /dev/links/null");
      }
    } finally {
      expect(await daemon.stop()).toBe(0);
    }
    for (const container of each) expect(await container.sh("find /run/links /dev/links ! -type d")).toBe("");
  });
});

test.skipIf(!requireRealPart("busybox"))(
  "an addon is a whole number of words, and unpacks to what was packed",
  async () => {
    const small = join(folder, "small");
    for (const bytes of [1, 3000]) {
      mkdirSync(join(small, "usr/bin"), { recursive: true });
      writeFileSync(join(small, "usr/bin/pv-xconnect"), "x".repeat(bytes), { mode: 0o755 });
      const out = join(folder, `addon-${bytes}.cpio.xz4`);
      const packed = await run([join(ROOT, "packaging/pantavisor/addon.sh"), small, out]);
      expect(packed).toMatchObject({ code: 0 });
      expect(statSync(out).size % 4).toBe(0);
      const listed = await run(["sh", "-c", `xz -dc ${out} | busybox cpio -tv`]);
      expect(listed.stdout).toMatch(new RegExp(`-rwxr-xr-x +(0/0|0 +0|root +root) +${bytes} .* usr/bin/pv-xconnect`));
    }
  },
);
