import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { DevicePlanted } from "../../../src/mediators/drm/mediator.ts";
import { type Container, startContainer } from "../../support/containers.ts";
import { CARD0, EVENT0, FakeSysfs, RENDER128 } from "../../support/fake-sysfs.ts";
import { openFds, settledFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { DeviceLinks, deviceLink } from "./device-links.ts";

const here = requireRealPart("root", "busybox");

/** 1:3, 1:5 and 1:7 (null, zero, full) stand for card0, renderD128 and event0: they open everywhere. */
const DEVICES = `
  rm -rf /dev/dri /dev/input /dev/nvidia* /dev/uinput /etc/cdi /run/cdi
  mkdir -p /dev/dri/by-path /dev/input
  mknod -m 660 /dev/dri/card0 c 1 3; chown 0:44 /dev/dri/card0
  mknod -m 666 /dev/dri/renderD128 c 1 5
  mknod -m 640 /dev/input/event0 c 1 7
  echo text > /dev/dri/README`;

describe.skipIf(!here)("device links", () => {
  let bsp: Container;
  let app: Container;
  let userns: Container;
  const fake = new FakeSysfs();
  for (const device of [CARD0, RENDER128, EVENT0]) fake.add(device);
  const links = new DeviceLinks(fake.root);
  let before = 0;

  beforeAll(async () => {
    [bsp, app, userns] = await Promise.all([
      startContainer({ name: "bsp" }),
      startContainer({ name: "app" }),
      startContainer({ name: "shifted", userns: true }),
    ]);
    await bsp.sh(DEVICES);
  });
  afterEach(async () => {
    // So that one failure stays one.
    await links.clear();
    await app.sh("rm -rf /dev/dri; mkdir /dev/dri");
    await bsp.sh(DEVICES);
  });
  afterAll(async () => {
    await links.down();
    fake.close();
    await Promise.all([bsp.stop(), app.stop(), userns.stop()]);
  });

  const link = (fields: Parameters<typeof deviceLink>[1] = {}, consumer = app) =>
    deviceLink({ provider: bsp, consumer }, fields);
  const tree = (container: Container, path = "/dev") => container.sh(`cd ${path}; find . -type c | sort`);
  const mounts = (container: Container) =>
    readFileSync(`/proc/${container.pid}/mountinfo`, "latin1")
      .split("\n")
      .filter((line) => line.includes("/node ")).length;
  const reasonOf = async (promise: Promise<DevicePlanted>): Promise<string> =>
    promise.then(
      () => "established",
      (error: Error) => error.message,
    );

  test("a node is planted, named in the log, opened, and removed with its link", async () => {
    // The first use loads what planting needs.
    await links.remove(await links.plant(link()));
    links.lines.length = 0;
    before = openFds();
    const planted = await links.plant(link());
    expect(links.lines).toContain(
      `pvx-drm: Injected device /dev/dri/card0 -> /dev/dri/card0 (consumer pid ${app.pid}, dev 1:3)`,
    );
    expect(links.verify(planted)).toEqual({ state: "ok" });
    expect(planted.summary).toBe("device /dev/dri/card0 (1:3)");
    expect(await app.sh("stat -c '%A %u:%g %t:%T' /dev/dri/card0")).toBe("crw-rw---- 0:44 1:3");
    await app.sh("echo x > /dev/dri/card0");
    await links.remove(planted);
    expect(await tree(app, "/dev/dri")).toBe("");
    expect(links.lines.at(-1)).toBe(`pvx-drm: Removed device /dev/dri/card0 (consumer pid ${app.pid}, dev 1:3)`);
    expect(await settledFds(before)).toBeLessThanOrEqual(before);
  });

  test("a user-namespaced container opens the node, and sees the owner that the provider sees", async () => {
    const planted = await links.plant(link({}, userns));
    expect(links.verify(planted)).toEqual({ state: "ok" });
    expect(await userns.sh("stat -c '%A %u:%g %t:%T' /dev/dri/card0")).toBe("crw-rw---- 0:44 1:3");
    await userns.sh("echo x > /dev/dri/card0");
    await userns.sh("echo x > /dev/dri/card0", { uid: 1000, gid: 44 });
    expect(mounts(userns)).toBe(1);
    await links.remove(planted);
    expect(await tree(userns, "/dev/dri")).toBe("");
    expect(mounts(userns)).toBe(0);
  });

  test("several consumers share a device", async () => {
    const both = await Promise.all([links.plant(link()), links.plant(link({}, userns))]);
    await app.sh("echo x > /dev/dri/card0");
    await userns.sh("echo x > /dev/dri/card0");
    await links.remove(both[0]);
    await userns.sh("echo x > /dev/dri/card0");
    await links.remove(both[1]);
  });

  test("two links of one consumer share a node, and the second one puts it back when the first one goes", async () => {
    const first = await links.plant(link());
    const second = await links.plant(link({ name: "display", socket: "/dev/dri/*", target: "/dev/dri" }));
    expect([...second.nodes.keys()]).toEqual(["/dev/dri/card0", "/dev/dri/renderD128"]);
    await links.remove(first);
    expect(links.verify(second)).toMatchObject({ state: "drifted" });
    const again = await links.plant(second.link, second);
    expect(links.verify(again)).toEqual({ state: "ok" });
    await links.remove(again);
    expect(await tree(app, "/dev/dri")).toBe("");
  });

  test("a consumer that is the host is refused in clear words", async () => {
    expect(await reasonOf(links.plant({ ...link(), consumerPid: 0 }))).toBe(
      'Cannot plant device /dev/dri/card0 in consumer "app": its consumer_pid is 0, the host; a container is needed',
    );
  });

  test("a pid that is another process by now is not entered", async () => {
    const reason = await reasonOf(links.plant(link({ consumerStart: "1" })));
    expect(reason).toBe(`Cannot enter consumer "app": pid ${app.pid} is another process by now`);
    expect(await reasonOf(links.plant(link({ providerStart: "1" })))).toContain('Cannot enter provider "bsp"');
  });

  describe("what is not a character device is refused with a reason", () => {
    const cases: [string, string][] = [
      ["rm /dev/dri/card0; mknod /dev/dri/card0 b 7 0", "a block device"],
      ["rm /dev/dri/card0; echo x > /dev/dri/card0", "a regular file"],
      ["rm /dev/dri/card0; mkdir /dev/dri/card0", "a directory"],
      ["rm /dev/dri/card0; ln -s renderD128 /dev/dri/card0", "a symbolic link"],
      ["rm /dev/dri/card0; mkfifo /dev/dri/card0", "a fifo"],
    ];
    for (const [make, kind] of cases)
      test(kind, async () => {
        await bsp.sh(make);
        expect(await reasonOf(links.plant(link()))).toBe(
          `/dev/dri/card0 of provider "bsp" (pid ${bsp.pid}) is ${kind}, not a character device`,
        );
        expect(await tree(app, "/dev/dri")).toBe("");
      });
  });

  describe("roles", () => {
    test("a render link gets the render nodes of a device and none of its cards", async () => {
      const planted = await links.plant(link({ role: "render", socket: "pci:0000:00:02.0", target: "/dev/dri" }));
      expect(await tree(app, "/dev/dri")).toBe("./renderD128");
      await links.remove(planted);
    });
    test("a render link to a card under a render node's name is refused by what the device is", async () => {
      await bsp.sh("rm /dev/dri/renderD128; mknod /dev/dri/renderD128 c 1 3");
      const socket = "/dev/dri/renderD128";
      expect(await reasonOf(links.plant(link({ role: "render", socket, target: socket })))).toMatch(
        /renderD128 \(1:3\) is a card \(KMS\) node, and role "render" allows a render node/,
      );
    });
    test("a container's device of no known class is refused", async () => {
      await bsp.sh("mknod /dev/mali0 c 1 1");
      const reason = await reasonOf(links.plant(link({ socket: "/dev/mali0", target: "/dev/mali0" })));
      expect(reason).toMatch(/\/dev\/mali0 \(1:1\) is a device of no known class, and its provider is a container/);
      await bsp.sh("rm /dev/mali0");
    });
    test("a policy that keeps a class away later takes its nodes away", async () => {
      const policy = (nodes: string[]) => ({ type: "drm", roles: { any: { nodes } } });
      const wide = link({ socket: "/dev/dri/*", target: "/dev/dri" });
      const planted = await links.plant(wide, undefined, policy(["card", "render"]));
      expect(await tree(app, "/dev/dri")).toBe("./card0\n./renderD128");
      const narrow = links.drm.check(wide, undefined);
      if (!narrow.ok) throw new Error(narrow.reason);
      links.drm.update(planted, wide, { ...narrow.config, classes: ["render"] });
      expect(links.verify(planted)).toEqual({ state: "drifted", reason: "device /dev/dri/card0 has gone" });
      const again = await links.plant(wide, planted, policy(["render"]));
      expect(await tree(app, "/dev/dri")).toBe("./renderD128");
      await links.remove(again);
    });
  });

  describe("selectors", () => {
    const planted = async (socket: string, target: string, more: object = {}): Promise<string[]> => {
      const one = await links.plant(link({ socket, target, ...more }));
      const found = [...one.nodes.values()].map(({ wanted }) => `${wanted.source} -> ${wanted.target}`);
      expect(links.verify(one)).toEqual({ state: "ok" });
      await links.remove(one);
      return found;
    };
    test("a pattern plants what it matches, and leaves what is no device", async () => {
      expect(await planted("/dev/dri/*", "/dev/dri")).toEqual([
        "/dev/dri/card0 -> /dev/dri/card0",
        "/dev/dri/renderD128 -> /dev/dri/renderD128",
      ]);
    });
    test("a pattern may name the one node at the target", async () => {
      expect(await planted("/dev/dri/card*", "/dev/dri/card7")).toEqual(["/dev/dri/card0 -> /dev/dri/card7"]);
    });
    test("a card is found by its place on the bus, whatever its number", async () => {
      expect(await planted("/dev/dri/by-path/pci-0000:00:02.0-card", "/dev/dri/card5")).toEqual([
        "/dev/dri/card0 -> /dev/dri/card5",
      ]);
      expect(await planted("driver:i915", "/dev/gpu")).toEqual([
        "/dev/dri/card0 -> /dev/gpu/card0",
        "/dev/dri/renderD128 -> /dev/gpu/renderD128",
      ]);
    });
    test("two devices for one node are refused", async () => {
      await bsp.sh("mknod /dev/dri/card1 c 1 3");
      expect(await reasonOf(links.plant(link({ socket: "/dev/dri/card*" })))).toBe(
        "Cannot plant 2 devices (/dev/dri/card0, /dev/dri/card1) as the one node /dev/dri/card0: name a directory, or one class of node",
      );
    });
    test("a provider's node with other numbers than the kernel's device is not taken for it", async () => {
      await bsp.sh("rm /dev/dri/card0; mknod /dev/dri/card0 c 1 9");
      const one = await links.plant(link({ socket: "pci:0000:00:02.0" }));
      expect(links.verify(one)).toMatchObject({
        state: "degraded",
        reason: expect.stringContaining("is 1:9, and card0 is 1:3"),
      });
      await links.remove(one);
    });
    test("the compositor's set is the card, its render node, the keyboard and the chosen console", async () => {
      await bsp.sh("mknod /dev/tty7 c 1 9");
      expect(await planted("set:compositor,tty=7", "/dev", { role: "master" })).toEqual([
        "/dev/dri/card0 -> /dev/dri/card0",
        "/dev/dri/renderD128 -> /dev/dri/renderD128",
        "/dev/input/event0 -> /dev/input/event0",
        "/dev/tty7 -> /dev/tty7",
      ]);
      await bsp.sh("rm /dev/tty7");
    });
    test("NVIDIA's set is the GPU and the nodes that all GPUs share", async () => {
      await bsp.sh(
        "for n in nvidia0 nvidia1 nvidiactl nvidia-uvm nvidia-uvm-tools nvidia-modeset; do mknod /dev/$n c 1 9; done",
      );
      expect(
        (await planted("set:nvidia,gpu=1", "/dev", { role: "render" })).map((line) => line.slice(5).split(" ")[0]),
      ).toEqual(["nvidia-uvm", "nvidia-uvm-tools", "nvidia1", "nvidiactl"]);
      expect(await planted("set:nvidia", "/dev", { role: "master" })).toHaveLength(6);
    });
    test("uinput's set is an input link's", async () => {
      await bsp.sh("mknod /dev/uinput c 1 9");
      expect(await planted("set:uinput", "/dev/uinput", { type: "input" })).toEqual(["/dev/uinput -> /dev/uinput"]);
    });
    test("input links plant event nodes", async () => {
      expect(await planted("/dev/input/event*", "/dev/input", { type: "input", role: "operator" })).toEqual([
        "/dev/input/event0 -> /dev/input/event0",
      ]);
      expect(links.lines.at(-2)).toContain("pvx-input: Injected device /dev/input/event0");
    });
  });

  describe("Container Device Interface files", () => {
    const cdi = (deviceNodes: object[], more: object = {}) =>
      JSON.stringify({
        cdiVersion: "0.6.0",
        kind: "vendor.com/gpu",
        devices: [{ name: "all", containerEdits: { deviceNodes, ...more } }],
      });
    const write = (text: string, path = "/etc/cdi/vendor.json") =>
      bsp.sh(`mkdir -p ${path.slice(0, path.lastIndexOf("/"))}; cat > ${path} <<'EOF'\n${text}\nEOF`);
    const all = (fields: object = {}) =>
      links.plant(link({ socket: "cdi:vendor.com/gpu=all", target: "/dev", ...fields }));

    test("give a link its device nodes, with path, mode and owner of theirs", async () => {
      await write(
        cdi(
          [
            { path: "/dev/dri/card3", hostPath: "/dev/dri/card0", fileMode: 0o600, uid: 7, gid: 8 },
            { path: "/dev/dri/renderD128" },
          ],
          {
            env: ["A=B"],
            hooks: [{ hookName: "createContainer", path: "/bin/x" }],
          },
        ),
      );
      for (const consumer of [app, userns]) {
        const one = await links.plant(link({ socket: "cdi:vendor.com/gpu=all", target: "/dev" }, consumer));
        expect(await consumer.sh("cd /dev/dri; stat -c '%n %A %u:%g %t:%T' *")).toBe(
          "card3 crw------- 7:8 1:3\nrenderD128 crw-rw-rw- 0:0 1:5",
        );
        await links.remove(one);
      }
      expect(links.lines.join("\n")).toContain(
        "/etc/cdi/vendor.json: not applicable to a running container: 1 environment variables, 1 hooks",
      );
    });
    test("may not plant outside of the link's target", async () => {
      await write(cdi([{ path: "/etc/nologin", hostPath: "/dev/dri/card0" }]));
      expect(await reasonOf(all())).toBe("Cannot plant /etc/nologin: it is not below the link's target /dev");
      await write(cdi([{ path: "/dev/../etc/nologin", hostPath: "/dev/dri/card0" }]));
      expect(await reasonOf(all())).toContain("not below the link's target");
    });
    test("may not name numbers that the node has not, nor a block device", async () => {
      await write(cdi([{ path: "/dev/dri/card0", major: 1, minor: 1 }]));
      expect(await reasonOf(all())).toContain("/dev/dri/card0 is to be 1:1, and is 1:3");
      await write(cdi([{ path: "/dev/dri/card0", type: "b" }]));
      expect(await reasonOf(all())).toContain("only character devices are planted");
    });
    test("with unknown fields are refused, and the reason says so", async () => {
      await write(cdi([{ path: "/dev/dri/card0", colour: "red" }]));
      const one = await all();
      expect(links.verify(one)).toEqual({
        state: "degraded",
        reason: expect.stringMatching(
          /Waiting for the device: no CDI file .* has device vendor\.com\/gpu=all; CDI file refused: .*colour: unknown key/,
        ),
      });
      await links.remove(one);
    });
    test("are held to the role", async () => {
      await write(cdi([{ path: "/dev/dri/card0" }, { path: "/dev/dri/renderD128" }]));
      const one = await all({ role: "render" });
      expect([...one.nodes.keys()]).toEqual(["/dev/dri/renderD128"]);
      await links.remove(one);
    });
    test("that are devices, links to nowhere or too large do no harm", async () => {
      await bsp.sh(
        "mkdir -p /etc/cdi; mknod /etc/cdi/a.json c 1 5; ln -s /nowhere /etc/cdi/b.json; mkfifo /etc/cdi/c.json; head -c 2000000 /dev/zero > /etc/cdi/d.json",
      );
      await write(cdi([{ path: "/dev/dri/card0" }]), "/run/cdi/vendor.json");
      await bsp.sh("rm -rf /var/run; ln -s /run /var/run");
      const one = await all();
      expect([...one.nodes.keys()]).toEqual(["/dev/dri/card0"]);
      await links.remove(one);
    });
  });

  describe("hotplug", () => {
    test("a device that is not there yet is waited for, and planted when it comes", async () => {
      await bsp.sh("rm -r /dev/dri");
      const waiting = await links.plant(link());
      expect(links.verify(waiting)).toEqual({
        state: "degraded",
        reason: `Waiting for the device: /dev/dri/card0 of provider "bsp" (pid ${bsp.pid}) does not exist`,
      });
      const told = links.nextChange();
      // The directory first, as devtmpfs does it: the wait moves on to it.
      await bsp.sh("mkdir /dev/dri");
      expect(await told).toBe(waiting.link.key);
      expect(links.verify(waiting)).toMatchObject({ state: "degraded" });
      const toldAgain = links.nextChange();
      await bsp.sh("mknod /dev/dri/card0 c 1 3");
      expect(await toldAgain).toBe(waiting.link.key);
      expect(links.verify(waiting)).toEqual({ state: "drifted", reason: "device /dev/dri/card0 has appeared" });
      const there = await links.plant(waiting.link, waiting);
      await app.sh("echo x > /dev/dri/card0");
      await links.remove(there);
    });
    test("one that goes is removed, and the others stay as they are", async () => {
      const both = await links.plant(link({ socket: "/dev/dri/*", target: "/dev/dri" }));
      const inode = await app.sh("stat -c %i /dev/dri/renderD128");
      const told = links.nextChange();
      await bsp.sh("rm /dev/dri/card0");
      await told;
      expect(links.verify(both)).toEqual({ state: "drifted", reason: "device /dev/dri/card0 has gone" });
      const one = await links.plant(both.link, both);
      expect(await tree(app, "/dev/dri")).toBe("./renderD128");
      expect(await app.sh("stat -c %i /dev/dri/renderD128")).toBe(inode);
      await links.remove(one);
    });
    test("one that becomes another is replaced", async () => {
      const first = await links.plant(link({ socket: "/dev/dri/card*", target: "/dev/dri/card0" }));
      const told = links.nextChange();
      await bsp.sh("rm /dev/dri/card0; mknod /dev/dri/card1 c 1 3");
      await told;
      await bsp.sh("rm -f /dev/dri/card1; mknod -m 600 /dev/dri/card0 c 1 3");
      expect(links.verify(first)).toEqual({
        state: "drifted",
        reason: "mode or owner of device /dev/dri/card0 has changed",
      });
      const second = await links.plant(first.link, first);
      expect(await app.sh("stat -c '%A %t:%T' /dev/dri/card0")).toBe("crw------- 1:3");
      await links.remove(second);
    });
    test("one that turns into something else takes its node with it", async () => {
      const first = await links.plant(link());
      await bsp.sh("rm /dev/dri/card0; ln -s renderD128 /dev/dri/card0");
      expect(links.verify(first)).toMatchObject({
        state: "drifted",
        reason: expect.stringContaining("a symbolic link"),
      });
      expect(await reasonOf(links.plant(first.link, first))).toContain("a symbolic link");
      // What the controller does then.
      await links.remove(first);
      expect(await tree(app, "/dev/dri")).toBe("");
    });
    test("a provider that touches its directory all the time is heard a few times a second", async () => {
      const one = await links.plant(link({ socket: "/dev/dri/card*", target: "/dev/dri" }));
      const storm = bsp.start(["sh", "-c", "while true; do : > /dev/dri/x; rm /dev/dri/x; done"]);
      let told = 0;
      const end = performance.now() + 1200;
      while (performance.now() < end) {
        await links.nextChange();
        told++;
      }
      await storm.stop();
      expect(told).toBeLessThanOrEqual(7);
      await links.remove(one);
    });
  });

  test("a node that the consumer took away has drifted and is planted again", async () => {
    const first = await links.plant(link());
    await app.sh("rm /dev/dri/card0");
    expect(links.verify(first)).toMatchObject({
      state: "drifted",
      reason: expect.stringContaining("no longer the device"),
    });
    const second = await links.plant(first.link, first);
    expect(links.verify(second)).toEqual({ state: "ok" });
    await links.remove(second);
  });

  test("a node for which no driver answers is degraded, with the errno", async () => {
    await bsp.sh("rm /dev/dri/card0; mknod /dev/dri/card0 c 226 63");
    const one = await links.plant(link());
    expect(links.verify(one)).toEqual({
      state: "degraded",
      reason: expect.stringMatching(/^\/dev\/dri\/card0: no driver answers for 226:63: open: E(NXIO|NODEV)$/),
    });
    await links.remove(one);
  });

  test("a foreign node at the target is left alone, and nothing else of the link stands", async () => {
    await app.sh("mkdir -p /dev/dri; mknod /dev/dri/renderD128 c 1 9");
    const reason = await reasonOf(links.plant(link({ socket: "/dev/dri/*", target: "/dev/dri" })));
    expect(reason).toContain("a character device (1:9) that is not ours stands there");
    expect(await tree(app, "/dev/dri")).toBe("./renderD128");
    await app.sh("rm /dev/dri/renderD128");
  });

  test("a provider that restarts leaves the nodes where they are", async () => {
    const make = async () => {
      const provider = await startContainer({ name: "again" });
      await provider.sh("mkdir /dev/dri; mknod -m 660 /dev/dri/card0 c 1 3");
      return provider;
    };
    const first = await make();
    const one = await links.plant(deviceLink({ provider: first, consumer: app }));
    const inode = await app.sh("stat -c %i /dev/dri/card0");
    await first.stop();
    expect(links.verify(one)).toEqual({ state: "degraded", reason: 'The provider "again" is not up' });
    const second = await make();
    const two = await links.plant(deviceLink({ provider: second, consumer: app }), one);
    expect(links.verify(two)).toEqual({ state: "ok" });
    expect(await app.sh("stat -c %i /dev/dri/card0")).toBe(inode);
    await links.remove(two);
    await second.stop();
  });

  test("a consumer that has gone takes its nodes with it", async () => {
    const short = await startContainer({ name: "short" });
    const one = await links.plant(link({}, short));
    await short.stop();
    expect(links.verify(one)).toMatchObject({ state: "drifted" });
    await links.remove(one);
    expect(links.journal.entries()).toEqual([]);
  });
});

describe.skipIf(!here)("100 nodes in 10 containers", () => {
  test("are planted in less than a second, and leave no fd behind", async () => {
    const bsp = await startContainer({ name: "bsp" });
    const consumers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => startContainer({ name: `c${i}`, userns: i % 2 === 1 })),
    );
    const links = new DeviceLinks();
    try {
      await bsp.sh("mkdir /dev/input; for i in 0 1 2 3 4 5 6 7 8 9; do mknod /dev/input/event$i c 1 7; done");
      // The first use loads what planting needs.
      await links.remove(
        await links.plant(
          deviceLink(
            { provider: bsp, consumer: consumers[0]! },
            { type: "input", socket: "/dev/input/event0", target: "/dev/warm" },
          ),
        ),
      );
      const before = openFds();
      const started = performance.now();
      const planted = [];
      for (const consumer of consumers)
        planted.push(
          await links.plant(
            deviceLink(
              { provider: bsp, consumer },
              { type: "input", socket: "/dev/input/event*", target: "/dev/input" },
            ),
          ),
        );
      const took = performance.now() - started;
      console.log(`100 nodes in 10 containers: ${took.toFixed(0)} ms`);
      expect(planted.reduce((sum, one) => sum + one.nodes.size, 0)).toBe(100);
      for (const one of planted) expect(links.verify(one)).toEqual({ state: "ok" });
      expect(took).toBeLessThan(1000);
      for (const one of planted) await links.remove(one);
      expect(await settledFds(before)).toBeLessThanOrEqual(before);
    } finally {
      await links.down();
      await Promise.all([bsp, ...consumers].map((container) => container.stop()));
    }
  });
});
