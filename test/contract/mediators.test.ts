/**
 * What every link owes the operator, whatever its type: the mediators' four calls as the controller makes them, between
 * real containers. What only links with sessions can promise is in socket-mediators.test.ts.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { lstatSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { type Container, startContainer } from "../support/containers.ts";
import { FakeCompositor } from "../support/fake-compositor.ts";
import { CARD0, EVENT0, FakeSysfs } from "../support/fake-sysfs.ts";
import { Mediation, TestPlane } from "../support/mediation.ts";
import { openFds, settledFds } from "../support/open-fds.ts";
import { requireRealPart } from "../support/real-parts.ts";

interface Kind {
  /** What the provider offers and the link names. */
  readonly socket: string;
  /** Targets in one directory, which the link may have to make. */
  readonly targets: readonly [string, string];
  /** `test -? PATH` of what is planted. */
  readonly is: "S" | "c";
  /** Starts offering it; the answer stops that. */
  provide(container: Container): Promise<() => unknown>;
}

const SOCKET = { socket: "/run/provider.sock", targets: ["/run/links/a.sock", "/run/links/b.sock"], is: "S" } as const;
const listening: Kind = {
  ...SOCKET,
  async provide(container) {
    const server = createServer((socket) => socket.on("error", () => {}));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.on("error", reject).listen(container.hostPath(SOCKET.socket), () => resolve());
    await promise;
    return () => server.close();
  },
};
const device = (socket: string, second: string, minor: number): Kind => ({
  socket,
  targets: [socket, second],
  is: "c",
  async provide(container) {
    await container.sh(`mkdir -p ${dirname(socket)}; mknod -m 666 ${socket} c 1 ${minor}`);
    return () => container.sh(`rm -f ${socket}`);
  },
});
const KINDS: Readonly<Record<string, Kind>> = {
  unix: listening,
  rest: listening,
  dbus: listening,
  wayland: {
    ...SOCKET,
    async provide(container) {
      const compositor = new FakeCompositor(container.hostPath(SOCKET.socket), [[1, "wl_compositor", 5]]);
      compositor.closesEnded = true;
      return () => compositor.stop();
    },
  },
  // 1:3 and 1:7 (null, full) stand for a card and a keyboard: they open everywhere.
  drm: device("/dev/dri/card0", "/dev/dri/card1", 3),
  input: device("/dev/input/event0", "/dev/input/event1", 7),
};

const there = requireRealPart("root", "busybox");
let plane: TestPlane;
beforeAll(async () => {
  plane = new TestPlane();
  await plane.ready();
});

describe.skipIf(!there).each(Object.keys(KINDS))("a %s link", (type) => {
  const { socket, targets, is, provide } = KINDS[type]!;
  const [target, second] = targets;
  const sysfs = new FakeSysfs();
  for (const one of [CARD0, EVENT0]) sysfs.add(one);
  let backend: Container;
  let app: Container;
  let withdraw: () => unknown = () => {};
  let control: Mediation;

  beforeAll(async () => {
    [backend, app] = await Promise.all([startContainer({ name: "backend" }), startContainer({ name: "app" })]);
  });
  beforeEach(async () => {
    withdraw = await provide(backend);
    control = new Mediation(plane, sysfs.root);
  });
  afterEach(async () => {
    await control.stop();
    await withdraw();
    await app.sh(`rm -rf ${dirname(target)}`);
  });
  afterAll(async () => {
    sysfs.close();
    await Promise.all([backend.stop(), app.stop()]);
  });

  const entry = (name: string, over: object = {}): object => ({
    type,
    name,
    role: "any",
    consumer: app.name,
    consumer_pid: app.pid,
    provider: backend.name,
    provider_pid: backend.pid,
    target,
    socket,
    ...over,
  });
  const stands = (path: string, container = app) => container.sh(`test -${is} ${path}`);
  const directory = (container = app) => container.sh(`ls -A ${dirname(target)} 2>/dev/null || true`);
  const inode = (path: string): number => lstatSync(app.hostPath(path)).ino;

  test("is planted in its consumer, and leaves neither object, nor record, nor fd behind", async () => {
    // What the first use opens for good is not this link's.
    control.graph(entry("warm"));
    await control.until("warm", "established");
    control.graph();
    await control.until("warm", "gone");
    const before = openFds();

    control.lines.length = 0;
    control.graph(entry("one"));
    await control.until("one", "established");
    // Nothing that would alarm an operator is said on the way.
    expect(control.lines.filter((line) => line.startsWith("warn"))).toEqual([]);
    await stands(target);
    expect(control.journal.entries()).toHaveLength(1);
    control.graph();
    await control.until("one", "gone");
    expect(await directory()).toBe("");
    expect(control.journal.entries()).toEqual([]);
    expect(await settledFds(before)).toBeLessThanOrEqual(before);
  });

  test("is not touched by a graph or a policy that says the same again", async () => {
    control.graph(entry("one"));
    await control.until("one", "established");
    const [planted, since] = [inode(target), control.link("one")?.since];
    for (let i = 0; i < 3; i++) {
      control.graph(entry("one"));
      control.policy(undefined);
      await Bun.sleep(120);
    }
    expect(inode(target)).toBe(planted);
    expect(control.link("one")).toMatchObject({ state: "established", since });
  });

  test.each([
    ["a file", (path: string) => `echo theirs > ${path}`],
    ["a directory", (path: string) => `mkdir ${path}`],
    ["a dangling symbolic link", (path: string) => `ln -s /nowhere ${path}`],
  ])("fails with its reason while %s is at the target, and stands by itself when it has gone", async (_, make) => {
    await app.sh(`mkdir -p ${dirname(target)}; ${make(target)}`);
    const theirs = inode(target);
    control.graph(entry("one"));
    const reason = await control.until("one", "failed");
    expect(reason).toMatch(/^Cannot plant (socket|device) /);
    expect(reason).toContain(`${target} in consumer "app" (pid ${app.pid})`);
    expect(inode(target)).toBe(theirs);
    expect(await directory()).toBe(target.slice(target.lastIndexOf("/") + 1));
    expect(control.journal.entries()).toEqual([]);
    expect(control.link("one")?.retry_in_ms).toBeGreaterThan(0);
    await app.sh(`rm -r ${target}`);
    await control.until("one", "established");
    await stands(target);
  });

  test("that fails costs its neighbour nothing", async () => {
    await app.sh(`mkdir -p ${dirname(target)}; echo theirs > ${second}`);
    control.graph(entry("good"), entry("bad", { target: second }));
    await control.until("good", "established");
    await control.until("bad", "failed");
    const planted = inode(target);
    await Bun.sleep(500);
    expect(inode(target)).toBe(planted);
    expect(control.link("good")).toMatchObject({ state: "established" });
    control.graph(entry("good"));
    await control.until("bad", "gone");
    expect(inode(target)).toBe(planted);
    expect(await app.sh(`cat ${second}`)).toBe("theirs");
  });

  test("waits, degraded and with its reason, for what its provider does not offer yet", async () => {
    await withdraw();
    control.graph(entry("one"));
    const reason = await control.until("one", "degraded");
    expect(reason).toContain(socket);
    if (is === "S") {
      // Whoever tries it meanwhile is held, and no news to the operator.
      const client = app.start(["peer", "send", target]);
      await Bun.sleep(300);
      expect(control.link("one")).toMatchObject({ state: "degraded", reason });
      await client.stop();
    }
    withdraw = await provide(backend);
    await control.until("one", "established");
    await stands(target);
  });

  test("stands again soon after the consumer removed what was planted", async () => {
    control.graph(entry("one"));
    await control.until("one", "established");
    const planted = inode(target);
    await app.sh(`mv ${target} ${target}.old`);
    const end = performance.now() + 5000;
    while (
      performance.now() < end &&
      !(await directory()).split("\n").includes(target.slice(target.lastIndexOf("/") + 1))
    )
      await Bun.sleep(20);
    await stands(target);
    expect(inode(target)).not.toBe(planted);
    await control.until("one", "established");
    // Moved by the consumer, it is the consumer's.
    rmSync(app.hostPath(`${target}.old`));
  });

  test("follows its consumer to another pid, and waits with its reason between", async () => {
    const first = await startContainer({ name: "phone" });
    const ofPhone = (pid: number) => entry("one", { consumer: "phone", consumer_pid: pid });
    control.graph(ofPhone(first.pid));
    await control.until("one", "established");
    await stands(target, first);
    await first.stop();
    expect(await control.until("one", "pending")).toBe(`The consumer "phone" is not up: pid ${first.pid} has exited`);
    expect(control.journal.entries()).toEqual([]);
    const next = await startContainer({ name: "phone" });
    try {
      control.graph(ofPhone(next.pid));
      await control.until("one", "established");
      await stands(target, next);
    } finally {
      await next.stop();
    }
  });

  test("leaves the old container when the graph gives it another one that lives beside it", async () => {
    const other = await startContainer({ name: "app" });
    try {
      control.graph(entry("one"));
      await control.until("one", "established");
      control.graph(entry("one", { consumer_pid: other.pid }));
      const end = performance.now() + 5000;
      while (performance.now() < end && (await directory()) !== "") await Bun.sleep(20);
      expect(await directory()).toBe("");
      await stands(target, other);
    } finally {
      await other.stop();
    }
  });

  test("that policy refuses is taken away with the reason, and comes back when policy allows it", async () => {
    control.graph(entry("one"));
    await control.until("one", "established");
    control.policy({ one: { type, roles: { [type === "drm" ? "render" : "operator"]: {} } } });
    expect(await control.until("one", "failed")).toContain('"any"');
    expect(await directory()).toBe("");
    control.policy({ one: { type, roles: { any: { consumers: ["somebody"] } } } });
    expect(await control.until("one", "failed")).toContain('"app"');
    // A policy that does not say so gives no role a card.
    const nodes = type === "drm" ? { nodes: ["card"] } : {};
    control.policy({ one: { type, roles: { any: { consumers: ["app"], ...nodes } } } });
    await control.until("one", "established");
    await stands(target);
  });

  test("is taken down when the daemon ends, and a second time does no harm", async () => {
    control.graph(entry("one"), entry("two", { target: second }));
    await control.until("one", "established");
    await control.until("two", "established");
    expect(await control.controller.stop(5000)).toBe(true);
    expect(await directory()).toBe("");
    expect(control.journal.entries()).toEqual([]);
    expect(await control.controller.stop(5000)).toBe(true);
  });
});
