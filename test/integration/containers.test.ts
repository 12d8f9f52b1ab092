/** The containers that every other integration test stands on are what they say they are. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { type Container, startContainer, USERNS_BASE } from "../support/containers.ts";
import { startLxc } from "../support/lxc.ts";
import { requireRealPart } from "../support/real-parts.ts";

const started: Container[] = [];
afterEach(async () => {
  for (const container of started.splice(0)) await container.stop();
});
async function up(container: Promise<Container>): Promise<Container> {
  const made = await container;
  started.push(made);
  return made;
}

describe.skipIf(!requireRealPart("root", "busybox"))("a test container", () => {
  test("has its own root, pid, mount and uts namespaces and the host's network", async () => {
    const box = await up(startContainer({ name: "own" }));
    const same = (kind: string) =>
      readlinkSync(`/proc/${box.pid}/ns/${kind}`) === readlinkSync(`/proc/self/ns/${kind}`);
    expect(["mnt", "pid", "uts", "user", "net", "ipc"].map(same)).toEqual([false, false, false, true, true, true]);
    expect(await box.sh("hostname; cat /proc/1/comm; ls /")).toBe(
      "own\ncontainer\nbin\ndev\netc\nmnt\nopt\nproc\nroot\nrun\nsys\ntmp\nusr\nvar",
    );
    expect(readdirSync(box.hostPath("/"))).not.toContain("work");
    expect((await box.exec(["ls", "/proc/1/root/home"])).code).not.toBe(0);
  });

  test("with a user namespace owns its root, /run and files under shifted ids", async () => {
    const box = await up(startContainer({ name: "shifted", userns: true }));
    await box.sh("touch /run/mine /mine && echo > /dev/null");
    expect(statSync(box.hostPath("/run/mine")).uid).toBe(USERNS_BASE);
    expect(statSync(box.hostPath("/mine")).gid).toBe(USERNS_BASE);
    expect(await box.sh("cat /proc/self/uid_map")).toMatch(/0\s+100000\s+65536/);
  });

  test("passes a program's exit status, uid, groups and environment", async () => {
    const box = await up(startContainer({ name: "ids" }));
    expect((await box.exec(["sh", "-c", "exit 7"])).code).toBe(7);
    expect(await box.sh("id; echo $A", { uid: 1000, gid: 1001, groups: [5, 6], env: { A: "b" } })).toBe(
      "uid=1000 gid=1001 groups=5,6\nb",
    );
  });

  test("refuses writes to a read-only root but not to /run", async () => {
    const box = await up(startContainer({ name: "fixed", readonlyRoot: true }));
    expect((await box.exec(["touch", "/etc/x"])).stderr).toContain("Read-only file system");
    expect((await box.exec(["touch", "/run/x"])).code).toBe(0);
  });

  test("runs the host's programs on request", async () => {
    const box = await up(startContainer({ name: "host-programs", hostPrograms: true }));
    expect(await box.sh("readlink /proc/1/root; bash -c 'echo $BASH_VERSION'; ls /opt")).toMatch(
      /^\/\n\d+\.\d.*\npeer$/,
    );
    expect((await box.exec(["touch", "/etc/x"])).stderr).toContain("Read-only");
  });

  test("is gone after stop, with everything that ran in it, and leaves no directory", async () => {
    const box = await startContainer({ name: "gone" });
    const sleeper = box.start(["sleep", "1000"]);
    const inside = Number(
      (await box.sh("ps -o pid,args | grep 'sleep 1000' | grep -v grep | head -n 1 | awk '{print $1}'")).trim(),
    );
    expect(inside).toBeGreaterThan(1);
    await box.stop();
    expect((await sleeper.finished()).code).toBe(128 + 9);
    expect(existsSync(`/proc/${box.pid}`)).toBe(false);
    expect(readdirSync("/tmp").filter((name) => name.startsWith("pvx-container-"))).toEqual([]);
  });
});

describe.skipIf(!requireRealPart("root", "busybox"))("the test peer", () => {
  test("echoes 253 fds a message in order between two containers that share a socket", async () => {
    const box = await up(startContainer({ name: "peer" }));
    const server = box.start(["peer", "serve", "/run/echo.sock", "--mode", "echo"]);
    await server.event("listening");
    const sent = await box.exec(["peer", "send", "/run/echo.sock", "--messages", "3", "--size", "100", "--fds", "253"]);
    expect(JSON.parse(sent.stdout)).toMatchObject({
      sent: true,
      exact: 759,
      late: 0,
      in_order: true,
      intact: true,
      truncated: false,
    });
  });

  test("reports what a provider sees: credentials, half-close, sequenced packets", async () => {
    const box = await up(startContainer({ name: "peer" }));
    const credentials = box.start(["peer", "serve", "/run/c.sock", "--mode", "credentials"]);
    await credentials.event("listening");
    const seen = await box.exec(["peer", "read", "/run/c.sock"], { uid: 33, gid: 44, groups: [55] });
    expect(JSON.parse(JSON.parse(seen.stdout).text)).toMatchObject({ uid: 33, gid: 44, groups: [55] });
    const trailer = box.start(["peer", "serve", "/run/t.sock", "--mode", "trailer"]);
    await trailer.event("listening");
    expect(JSON.parse((await box.exec(["peer", "half-close", "/run/t.sock", "--size", "100000"])).stdout)).toEqual({
      event: "eof",
      bytes: "BYE 100000\n".length,
      tail: "BYE 100000\n",
    });
    const packets = box.start(["peer", "serve", "/run/p.sock", "--type", "seqpacket"]);
    await packets.event("listening");
    const sent = await box.exec([
      "peer",
      "send",
      "/run/p.sock",
      "--type",
      "seqpacket",
      "--messages",
      "40",
      "--size",
      "777",
    ]);
    expect(JSON.parse(sent.stdout)).toMatchObject({ bytes: 40 * 777, sizes_intact: true, intact: true });
  });
});

describe.skipIf(!requireRealPart("root", "lxc", "busybox"))("an LXC container", () => {
  test("runs in the cgroup /lxc/NAME with the peer inside, and restarts with a new pid", async () => {
    const first = await startLxc({ name: "real" });
    try {
      expect(await Bun.file(`/proc/${first.pid}/cgroup`).text()).toMatch(/\/lxc\/real$/m);
      expect((await first.exec(["peer"])).code).toBe(2);
      const second = await first.restart();
      expect(second.pid).not.toBe(first.pid);
      expect(await second.sh("cat /proc/1/comm")).toBe("init");
      await second.stop();
    } finally {
      await first.stop();
    }
  });

  test("with shifted ids has a root that is nobody on the host", async () => {
    const box = await startLxc({ name: "idmap", userns: true });
    try {
      expect(await box.sh("id -u; touch /run/x && echo made")).toBe("0\nmade");
      expect(statSync(box.hostPath("/run/x")).uid).toBe(USERNS_BASE);
    } finally {
      await box.stop();
    }
  });
});
