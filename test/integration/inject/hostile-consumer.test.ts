import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, readFileSync } from "node:fs";
import { removeSocket, verifySocket } from "../../../src/inject/socket.ts";
import { GUARD_MS } from "../../../src/sys/guarded.ts";
import { openFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { Canary, House, treeOf } from "./house.ts";

const here = requireRealPart("root", "busybox");

describe.skipIf(!here).each([
  ["a plain container", false],
  ["a user-namespaced container", true],
])("what a hostile consumer puts in the way, in %s", (_, userns) => {
  let house: House;
  const canary = new Canary();
  const where = () => `consumer "app" (pid ${house.container.pid})`;
  beforeAll(async () => {
    house = await House.build({ name: "app", userns });
  });
  afterAll(async () => {
    expect(canary.changes()).toBe("");
    canary.remove();
    await house.down();
  });

  /** Plants into the way of `obstacle`, sees the reason, clears the way, and sees it planted. */
  async function refusedUntil(obstacle: string, target: string, reason: string | RegExp, clear: string) {
    await house.container.sh(obstacle);
    const tree = treeOf(house.container.hostPath("/run"));
    const message = house.refusal(target);
    expect(message.startsWith(`Cannot plant socket ${target} in ${where()}: `)).toBe(true);
    expect(message).toMatch(reason);
    const before = openFds();
    for (let i = 0; i < 10; i++) house.refusal(target);
    expect(openFds()).toBeLessThanOrEqual(before);
    expect(house.journal.find(house.container.pid, house.root.startTime, target)).toEqual([]);
    // Names come and go in a directory that is written to: everything but its times is as before.
    const timeless = (text: string) => text.replace(/ \d{19} \d{19}/g, "");
    expect(timeless(treeOf(house.container.hostPath("/run")))).toBe(timeless(tree));
    expect(canary.changes()).toBe("");
    await house.container.sh(clear);
    const planted = house.plant(target);
    expect(verifySocket(house.root, planted)).toEqual({ state: "ok" });
    expect(removeSocket(house.root, planted, house.journal)).toBeUndefined();
    house.closeListening(planted);
  }

  test("a target directory that is a link to a host directory leads nowhere", () =>
    refusedUntil(`ln -s ${canary.path}/nm /run/nm`, "/run/nm/api.sock", "dangling symbolic link", "rm /run/nm"));

  test("a link that climbs out with .. ends at the container's own root", async () => {
    await house.container.sh(`ln -s ../../../../../../../..${canary.path} /run/climb`);
    expect(house.refusal("/run/climb/nm/api.sock")).toContain("dangling symbolic link");
    await house.container.sh(`mkdir -p ${canary.path}/nm`);
    house.plant("/run/climb/nm/api.sock");
    expect(house.names(`${canary.path}/nm`)).toEqual(["api.sock"]);
    expect(canary.changes()).toBe("");
  });

  test("a target with .. in it stays inside as well", () => {
    house.plant(`/run/../../../..${canary.path}/dots.sock`);
    expect(house.names(canary.path)).toContain("dots.sock");
    expect(canary.changes()).toBe("");
  });

  test("magic links are not followed", () =>
    refusedUntil(
      "ln -s /proc/1/root /run/magic",
      `/run/magic${canary.path}/m.sock`,
      "ELOOP",
      "rm /run/magic; mkdir /run/magic",
    ));

  test("a link to the working directory of a process is not followed", () =>
    refusedUntil("ln -s /proc/1/cwd /run/cwd", "/run/cwd/run/m.sock", "ELOOP", "rm /run/cwd; mkdir /run/cwd"));

  test("links that go round are named", () =>
    refusedUntil("ln -s r2 /run/r1; ln -s r1 /run/r2", "/run/r1/a.sock", "ELOOP", "rm /run/r1 /run/r2"));

  test("a fifo", () => refusedUntil("mkfifo /run/fifo", "/run/fifo", /a fifo stands there$/, "rm /run/fifo"));

  test("a regular file", () =>
    refusedUntil("echo theirs > /run/file", "/run/file", /a regular file stands there$/, "rm /run/file"));

  test("a directory, empty or not", async () => {
    await refusedUntil("mkdir /run/empty", "/run/empty", /a directory stands there$/, "rmdir /run/empty");
    await refusedUntil("mkdir -p /run/full/x", "/run/full", /a directory stands there$/, "rm -r /run/full");
  });

  test("a symbolic link at the target, to something and to nothing", async () => {
    await refusedUntil("ln -s /bin/busybox /run/some", "/run/some", /a symbolic link stands there$/, "rm /run/some");
    await refusedUntil(
      `ln -s ${canary.path}/new /run/none`,
      "/run/none",
      /a symbolic link stands there$/,
      "rm /run/none",
    );
  });

  test("a live socket of its own goes on serving its clients", async () => {
    const serve = house.container.start(["peer", "serve", "/run/own.sock", "--mode", "echo"]);
    await serve.event("listening");
    const { ino } = lstatSync(house.container.hostPath("/run/own.sock"));
    expect(house.refusal("/run/own.sock")).toContain("a socket that is not ours stands there");
    expect(lstatSync(house.container.hostPath("/run/own.sock")).ino).toBe(ino);
    const client = await house.container.exec(["peer", "send", "/run/own.sock", "--messages", "3"]);
    expect(client.code).toBe(0);
    await serve.stop();
  });

  test("a dead socket of its own stays too", () =>
    refusedUntil(
      "peer serve /run/dead.sock --mode echo & p=$!; while [ ! -S /run/dead.sock ]; do :; done; kill -9 $p; true",
      "/run/dead.sock",
      /a socket that is not ours stands there$/,
      "rm /run/dead.sock",
    ));

  test("a file on the way is named by the call that met it", () =>
    refusedUntil("echo theirs > /run/way", "/run/way/a.sock", "ENOTDIR", "rm /run/way"));

  test("a directory that its root may not write to", async () => {
    if (userns) {
      // Host root's, seen inside as nobody's: the container's root has no right there, so neither have we.
      await house.container.sh("mkdir /run/theirs");
      Bun.spawnSync(["chown", "0:0", house.container.hostPath("/run/theirs")]);
      await refusedUntil("true", "/run/theirs/a.sock", "EACCES", "rmdir /run/theirs");
    }
  });

  test("a read-only file system", async () => {
    if (userns) return;
    await refusedUntil(
      "mkdir /run/ro; mount -t tmpfs -o ro none /run/ro",
      "/run/ro/a.sock",
      /mkdirat\(.*\): EROFS$/,
      "umount /run/ro",
    );
    await refusedUntil(
      "mount -t tmpfs -o ro none /run/ro",
      "/run/ro/sub/a.sock",
      /mkdirat\("sub"\): EROFS$/,
      "umount /run/ro",
    );
  });

  test("a full file system", async () => {
    if (userns) return;
    await house.container.sh("mkdir /run/full; mount -t tmpfs -o nr_inodes=2 none /run/full; echo x > /run/full/x");
    expect(house.refusal("/run/full/a.sock")).toMatch(/ENOSPC/);
    await house.container.sh("umount /run/full");
  });
});

describe.skipIf(!here)("a consumer with a file system whose server never answers", () => {
  let house: House;
  beforeAll(async () => {
    house = await House.build({ name: "app" });
    await house.container.sh("mknod /dev/fuse c 10 229; mkdir /run/mute");
  });
  afterAll(() => house.down());

  test("costs one deadline, then next to nothing, and others nothing at all", async () => {
    const other = await House.build({ name: "other" });
    const before = openFds();
    const hostile = house.container.start(["hostile", "mute", "/run/mute"]);
    await hostile.line(/^ready$/);
    const started = performance.now();
    expect(house.refusal("/run/mute/a.sock")).toMatch(/no answer within \d+ ms\): ETIMEDOUT$/);
    const first = performance.now() - started;
    expect(first).toBeGreaterThanOrEqual(GUARD_MS * 0.9);
    expect(first).toBeLessThan(GUARD_MS + 500);
    const again = performance.now();
    for (let i = 0; i < 100; i++) expect(house.refusal("/run/mute/a.sock")).toContain("left alone for a while");
    expect(performance.now() - again).toBeLessThan(200);
    other.plant("/run/a.sock");
    await hostile.stop();
    await other.down();
    // The other container's own: its listening socket is closed with it.
    expect(openFds()).toBeLessThanOrEqual(before);
  });

  test("one that answers just before the deadline costs a small share of the time", async () => {
    const slow = await House.build({ name: "slow" });
    await slow.container.sh("mknod /dev/fuse c 10 229; mkdir /run/slow");
    const hostile = slow.container.start(["hostile", "slow", "/run/slow", "300", "/run/none"]);
    await hostile.line(/^ready$/);
    const started = performance.now();
    let waited = 0;
    for (let i = 0; performance.now() - started < 8_000; i++) {
      const before = performance.now();
      slow.refusal(`/run/slow/${i}/a.sock`);
      waited += performance.now() - before;
      await Bun.sleep(10);
    }
    expect(waited).toBeLessThan(4_000);
    // Others are planted meanwhile.
    const other = await House.build({ name: "other" });
    other.plant("/run/a.sock");
    await hostile.stop();
    await other.down();
    await slow.down();
  }, 30_000);

  test("one that can't even be killed holds none of our fds, and no second child", async () => {
    const next = await House.build({ name: "next" });
    await next.container.sh("mknod /dev/fuse c 10 229; mkdir /run/deaf");
    next.plant("/run/before.sock");
    const hostile = next.container.start(["hostile", "deaf", "/run/deaf"]);
    await hostile.line(/^ready$/);
    const before = openFds();
    expect(next.refusal("/run/deaf/a.sock")).toContain("ETIMEDOUT");
    // The pidfd of the child that hangs, and nothing else.
    expect(openFds()).toBe(before + 1);
    await hostile.stop();
    await next.container.stop();
    const other = await House.build({ name: "other" });
    // Its server is gone, so the child has ended: the next program reaps it.
    const still = openFds();
    expect(() => other.root.openDirectory("/nowhere", false)).toThrow("ENOENT");
    // Less the pidfd of the hung child, and one for the other container's own.
    expect(openFds()).toBe(still);
    await next.down();
    await other.down();
  });
});

test("the tree comparison sees a change of contents", () => {
  const canary = new Canary();
  expect(canary.changes()).toBe("");
  Bun.write(`${canary.path}/nm/precious`, "other");
  expect(readFileSync(`${canary.path}/nm/precious`, "utf8")).toBe("other");
  expect(canary.changes()).not.toBe("");
  canary.remove();
});
