import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { plantNode, verifyNode } from "../../../src/inject/devnode.ts";
import { Journal } from "../../../src/inject/journal.ts";
import { removeSockets } from "../../../src/inject/remove-many.ts";
import { ContainerRoot } from "../../../src/inject/root.ts";
import { plantSocket, removeSocket, verifySocket } from "../../../src/inject/socket.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { USERNS_BASE } from "../../support/containers.ts";
import { openFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { withoutFds } from "../../support/without-fds.ts";
import { House } from "./house.ts";

const here = requireRealPart("root", "busybox");

describe.skipIf(!here).each([
  ["a plain container", false],
  ["a user-namespaced container", true],
])("planting a socket in %s", (_, userns) => {
  let house: House;
  const rootId = userns ? USERNS_BASE : 0;
  beforeAll(async () => {
    house = await House.build({ name: "app", userns });
  });
  afterAll(() => house.down());

  test("the socket is there with mode 0666 and belongs to the container's root, as do directories made for it", () => {
    house.plant("/run/pv/services/api.sock");
    const socket = statSync(house.container.hostPath("/run/pv/services/api.sock"));
    expect(socket.isSocket()).toBe(true);
    expect([socket.mode & 0o7777, socket.uid, socket.gid]).toEqual([0o666, rootId, rootId]);
    for (const made of ["/run/pv", "/run/pv/services"]) {
      const { mode, uid, gid } = statSync(house.container.hostPath(made));
      expect([made, mode & 0o7777, uid, gid]).toEqual([made, 0o755, rootId, rootId]);
    }
    expect(house.names("/run/pv/services")).toEqual(["api.sock"]);
  });

  test("an ordinary user of the container connects to it", async () => {
    const planted = house.plant("/run/any-uid.sock");
    const client = house.container.start(["peer", "hold", "/run/any-uid.sock"], { uid: 1000 });
    expect(pvx.pvx_wait_readable(planted.listenFd, 10_000)).toBe(1);
    const accepted = pvx.pvx_accept(planted.listenFd);
    expect(accepted).toBeGreaterThan(0);
    pvx.pvx_close(accepted);
    await client.stop();
  });

  test("a seqpacket socket is one", async () => {
    const planted = house.plant("/run/packets.sock", { seqpacket: true });
    const client = house.container.start(["peer", "hold", "/run/packets.sock", "--type", "seqpacket"]);
    expect(pvx.pvx_wait_readable(planted.listenFd, 10_000)).toBe(1);
    await client.stop();
  });

  test("a path of 4,095 bytes with components of 255 works", () => {
    let path = "/run";
    while (path.length + 256 <= 4095 - 2) path += `/${"d".repeat(255)}`;
    path += `/${"s".repeat(4095 - path.length - 1)}`;
    expect(path.length).toBe(4095);
    const planted = house.plant(path);
    expect(verifySocket(house.root, planted)).toEqual({ state: "ok" });
    expect(removeSocket(house.root, planted, house.journal)).toBeUndefined();
    expect(house.refusal(`${path}x`)).toContain("ENAMETOOLONG");
    expect(house.refusal(`/run/${"n".repeat(256)}`)).toContain("ENAMETOOLONG");
  });

  test("a target through the container's own absolute link is planted where the container sees it", async () => {
    await house.container.sh("mkdir -p /var/real && ln -s /var/real /run/linked");
    house.plant("/run/linked/x.sock");
    expect(house.names("/var/real")).toEqual(["x.sock"]);
  });

  test("verify sees a removed, a replaced and a moved-away socket as drift", async () => {
    const planted = house.plant("/run/drift/a.sock");
    expect(verifySocket(house.root, planted)).toEqual({ state: "ok" });
    await house.container.sh("mv /run/drift /run/drift.away; mkdir /run/drift");
    expect(verifySocket(house.root, planted).state).toBe("drifted");
    await house.container.sh("rmdir /run/drift; mv /run/drift.away /run/drift");
    expect(verifySocket(house.root, planted)).toEqual({ state: "ok" });
    await house.container.sh("rm /run/drift/a.sock; echo theirs > /run/drift/a.sock");
    expect(verifySocket(house.root, planted).state).toBe("drifted");
  });

  test("replacing one's own socket never leaves the target absent and never leaves two", async () => {
    let planted = house.plant("/run/blink/a.sock");
    const watch = house.container.start([
      "sh",
      "-c",
      "n=0; echo ready; while [ -S /run/blink/a.sock ]; do n=$((n+1)); done; echo absent after $n",
    ]);
    await watch.line(/^ready$/);
    const first = lstatSync(house.container.hostPath("/run/blink/a.sock")).ino;
    for (let i = 0; i < 100; i++) {
      const next = house.plant("/run/blink/a.sock", { previous: planted });
      house.closeListening(planted);
      planted = next;
    }
    expect(watch.stdout).toEqual(["ready"]);
    expect(lstatSync(house.container.hostPath("/run/blink/a.sock")).ino).not.toBe(first);
    expect(house.names("/run/blink")).toEqual(["a.sock"]);
    await watch.stop();
  });

  test("remove takes our socket and leaves what the consumer put in its place", async () => {
    const gone = house.plant("/run/remove/a.sock");
    expect(removeSocket(house.root, gone, house.journal)).toBeUndefined();
    expect(house.names("/run/remove")).toEqual([]);
    const replaced = house.plant("/run/remove/b.sock");
    await house.container.sh("rm /run/remove/b.sock; echo theirs > /run/remove/b.sock");
    // A file that is moved, if only for a moment, has another ctime.
    const { ctimeNs } = statSync(house.container.hostPath("/run/remove/b.sock"), { bigint: true });
    expect(removeSocket(house.root, replaced, house.journal)).toBeUndefined();
    expect(readFileSync(house.container.hostPath("/run/remove/b.sock"), "utf8")).toBe("theirs\n");
    expect(statSync(house.container.hostPath("/run/remove/b.sock"), { bigint: true }).ctimeNs).toBe(ctimeNs);
    expect(removeSocket(house.root, replaced, house.journal)).toBeUndefined();
  });

  test("many are taken away together, also where one of them is somebody else's by now or not there any more", async () => {
    const before = openFds();
    const removals = Array.from({ length: 200 }, (_, i) => ({
      root: house.root,
      socket: house.plant(`/run/${i < 150 ? "together" : "elsewhere"}/${i}.sock`),
    }));
    await house.container.sh("rm /run/together/7.sock /run/together/99.sock; echo theirs > /run/together/7.sock");
    const theirs = house.container.hostPath("/run/together/7.sock");
    const { ctimeNs } = statSync(theirs, { bigint: true });
    expect(removeSockets(removals, house.journal)).toEqual([]);
    expect(house.names("/run/together")).toEqual(["7.sock"]);
    expect(house.names("/run/elsewhere")).toEqual([]);
    expect(readFileSync(theirs, "utf8")).toBe("theirs\n");
    expect(statSync(theirs, { bigint: true }).ctimeNs).toBe(ctimeNs);
    // Whose program went through to its end, their records are gone.
    const recorded = (i: number) => {
      const { root, socket } = removals[i]!;
      return house.journal.find(root.pid, root.startTime, socket.path).length;
    };
    expect([130, 149, 150, 199].map(recorded)).toEqual([0, 0, 0, 0]);
    for (const { socket } of removals) house.closeListening(socket);
    expect(openFds()).toBe(before);
  });

  test("500 sockets are planted, verified, replaced and removed without one fd more", () => {
    const before = openFds();
    const started = performance.now();
    for (let i = 0; i < 500; i++) {
      const planted = house.plant(`/run/many/${i}.sock`);
      const next = house.plant(`/run/many/${i}.sock`, { previous: planted });
      expect(verifySocket(house.root, next)).toEqual({ state: "ok" });
      expect(removeSocket(house.root, next, house.journal)).toBeUndefined();
      house.closeListening(planted);
      house.closeListening(next);
    }
    expect(openFds()).toBe(before);
    expect(house.names("/run/many")).toEqual([]);
    // 5,000 plants in 3 s, with room for a busy machine.
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe.skipIf(!here)("planting when something of ours is used up", () => {
  let house: House;
  beforeAll(async () => {
    house = await House.build({ name: "app" });
    house.plant("/run/first.sock");
  });
  afterAll(() => house.down());

  test("no fd left: a reason, nothing lost, and nothing left behind once there are some", () => {
    const before = openFds();
    for (const spare of [0, 1, 2, 3]) {
      const filler: number[] = [];
      for (let fd = pvx.pvx_dup(0); fd >= 0 && filler.length < 2_000_000; fd = pvx.pvx_dup(0)) filler.push(fd);
      for (let i = 0; i < spare; i++) pvx.pvx_close(filler.pop()!);
      let message = "";
      try {
        message = house.refusal("/run/full/a.sock");
      } finally {
        for (const fd of filler) pvx.pvx_close(fd);
      }
      expect(message).toMatch(/EMFILE|ENFILE/);
      expect(openFds()).toBe(before);
    }
    // What could not even be cleared away for want of an fd was recorded, and goes with the next attempt.
    const planted = house.plant("/run/full/a.sock");
    expect(house.names("/run/full")).toEqual(["a.sock"]);
    const records = house.journal.find(house.container.pid, house.root.startTime, "/run/full/a.sock");
    expect(records.map((entry) => entry.id)).toEqual([planted.journalId]);
  });

  test("no room for the journal: nothing is planted that nobody would know of", () => {
    const before = openFds();
    const { journal } = house;
    journal.close();
    expect(house.refusal("/run/unwritten/a.sock")).toContain("Cannot write planted.ndjson");
    expect(openFds()).toBeLessThanOrEqual(before);
    expect(house.names("/run/unwritten")).toEqual([]);
  });
});

describe.skipIf(!here)("planting on the host", () => {
  const directory = mkdtempSync(join(tmpdir(), "pvx-host-"));
  const state = mkdtempSync(join(tmpdir(), "pvx-state-"));
  const root = here ? ContainerRoot.host() : (undefined as never);
  const journal = new Journal(state, "boot");
  const plant = (target: string) => plantSocket({ root, target, seqpacket: false, journal });
  afterAll(() => {
    journal.close();
    rmSync(directory, { recursive: true });
    rmSync(state, { recursive: true });
  });

  test("the same code serves the host's own paths", () => {
    const planted = plant(`${directory}/deep/er/a.sock`);
    expect(statSync(`${directory}/deep/er/a.sock`).mode & 0o7777).toBe(0o666);
    expect(verifySocket(root, planted)).toEqual({ state: "ok" });
    expect(removeSocket(root, planted, journal)).toBeUndefined();
    pvx.pvx_close(planted.listenFd);
    expect(lstatSync(`${directory}/deep/er`).isDirectory()).toBe(true);
  });

  test("a live socket that is not ours is never displaced", async () => {
    const server = Bun.listen({ unix: `${directory}/live.sock`, socket: { data() {} } });
    const { ino } = lstatSync(`${directory}/live.sock`);
    expect(() => plant(`${directory}/live.sock`)).toThrow(
      `Cannot plant socket ${directory}/live.sock in the host: a socket that is not ours stands there`,
    );
    expect(lstatSync(`${directory}/live.sock`).ino).toBe(ino);
    server.stop();
  });

  test("a file of the host is never replaced", () => {
    mkdirSync(`${directory}/f`);
    writeFileSync(`${directory}/f/file`, "mine");
    expect(() => plant(`${directory}/f/file`)).toThrow("a regular file stands there");
    expect(readFileSync(`${directory}/f/file`, "utf8")).toBe("mine");
  });
});

describe.skipIf(!here)("a daemon that is out of fds", () => {
  test("does not take what it can't look at for gone", async () => {
    const house = await House.build({ name: "app" });
    const planted = house.plant("/run/a.sock");
    const node = plantNode({
      root: house.root,
      journal: house.journal,
      target: "/dev/n",
      spec: { major: 1, minor: 3, mode: 0o666, uid: 0, gid: 0 },
    });
    const seen = withoutFds(() => [verifySocket(house.root, planted), verifyNode(house.root, node)]);
    expect(seen).toEqual([{ state: "ok" }, { state: "ok" }]);
    await house.container.sh("rm /run/a.sock");
    expect(verifySocket(house.root, planted).state).toBe("drifted");
    await house.down();
  });
});
