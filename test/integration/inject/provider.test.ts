import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProviderDialer, type ProviderEndpoint, probeSocketType } from "../../../src/inject/provider.ts";
import { cstring, Memory } from "../../../src/sys/memory.ts";
import { startTimeOf } from "../../../src/sys/process.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { listen, peerCredentials, unixSocket } from "../../../src/sys/unix-socket.ts";
import { type Container, startContainer, USERNS_BASE } from "../../support/containers.ts";
import { openFds } from "../../support/open-fds.ts";
import type { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { hostileProgram } from "./house.ts";

const here = requireRealPart("root", "busybox");
const STREAM = 1;
const DGRAM = 2;
const SEQPACKET = 5;

/** A listening socket of this process at a path, as a provider's. */
function serve(path: string, type = STREAM): number {
  const fd = unixSocket(type);
  if (pvx.pvx_bind(fd, cstring(path), 0o666) < 0) throw new Error(`bind ${path}`);
  if (type !== DGRAM) listen(fd, 64);
  return fd;
}
function dialled(dialer: ProviderDialer): number {
  const result = dialer.dial();
  if (!result.ok) throw new Error(result.reason);
  return result.fd;
}
/** What the provider says first. */
function textOf(fd: number): string {
  const room = new Memory(4096);
  if (pvx.pvx_wait_readable(fd, 10_000) !== 1) throw new Error("nothing came");
  return Buffer.from(room.bytes.subarray(0, pvx.pvx_read(fd, room.address, room.length))).toString();
}
function refused(dialer: ProviderDialer): { retry: boolean; reason: string } {
  const result = dialer.dial();
  if (!result.ok) return { retry: result.retry, reason: result.reason };
  pvx.pvx_close(result.fd);
  throw new Error("dialled");
}

describe.skipIf(!here)("a provider on the host", () => {
  const directory = mkdtempSync(join(tmpdir(), "pvx-provider-"));
  const endpoint = (name: string, seqpacket = false): ProviderEndpoint => ({
    pid: 0,
    path: join(directory, name),
    seqpacket,
  });
  const opened: number[] = [];
  const keep = (fd: number) => {
    opened.push(fd);
    return fd;
  };
  afterEach(() => {
    for (const fd of opened.splice(0)) pvx.pvx_close(fd);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test("is dialled, again after it restarted at the same path", () => {
    const dialer = new ProviderDialer(endpoint("a.sock"));
    expect(refused(dialer)).toEqual({
      retry: true,
      reason: `Cannot reach the provider: ${directory}/a.sock: ENOENT`,
    });
    const first = serve(join(directory, "a.sock"));
    Bun.sleepSync(60);
    keep(dialled(dialer));
    pvx.pvx_close(first);
    expect(refused(dialer)).toMatchObject({ retry: true, reason: expect.stringContaining("ECONNREFUSED") });
    rmSync(join(directory, "a.sock"));
    const second = keep(serve(join(directory, "a.sock")));
    Bun.sleepSync(60);
    keep(dialled(dialer));
    expect(keep(pvx.pvx_accept(second))).toBeGreaterThan(0);
    dialer.close();
  });

  test("sees the uid and gid it is told, and no group of the daemon's", () => {
    const listening = keep(serve(join(directory, "as.sock")));
    const dialer = new ProviderDialer({ ...endpoint("as.sock"), uid: 90_001 });
    keep(dialled(dialer));
    expect(peerCredentials(keep(pvx.pvx_accept(listening)))).toEqual({ pid: process.pid, uid: 90_001, gid: 90_001 });
    dialer.update({ ...endpoint("as.sock"), uid: 90_001, gid: 7 });
    keep(dialled(dialer));
    expect(peerCredentials(keep(pvx.pvx_accept(listening)))).toMatchObject({ uid: 90_001, gid: 7 });
    expect([process.geteuid?.(), process.getegid?.()]).toEqual([0, 0]);
    dialer.close();
  });

  test("a full backlog is worth a retry", () => {
    const fd = keep(unixSocket(STREAM));
    pvx.pvx_bind(fd, cstring(join(directory, "full.sock")), 0o666);
    listen(fd, 0);
    const dialer = new ProviderDialer(endpoint("full.sock"));
    keep(dialled(dialer));
    expect(refused(dialer)).toMatchObject({ retry: true, reason: expect.stringContaining("EAGAIN") });
    dialer.close();
  });

  test("no fd left is worth a retry, and nothing leaks on the way", () => {
    keep(serve(join(directory, "fds.sock")));
    const dialer = new ProviderDialer(endpoint("fds.sock"));
    keep(dialled(dialer));
    const before = openFds();
    const filler: number[] = [];
    // Bun has raised the limit far up; filling the table is quick all the same.
    for (let fd = pvx.pvx_dup(0); fd >= 0 && filler.length < 2_000_000; fd = pvx.pvx_dup(0)) filler.push(fd);
    const result = dialer.dial();
    for (const fd of filler) pvx.pvx_close(fd);
    expect(result).toMatchObject({ ok: false, retry: true, reason: expect.stringContaining("EMFILE") });
    expect(openFds()).toBe(before);
    dialer.close();
  });

  test("the wrong kind of socket and no socket at all are refused for good", async () => {
    keep(serve(join(directory, "stream.sock")));
    const wrong = new ProviderDialer(endpoint("stream.sock", true));
    expect(refused(wrong)).toEqual({
      retry: false,
      reason: `Cannot reach the provider: ${directory}/stream.sock is not a seqpacket socket`,
    });
    await Bun.write(join(directory, "file"), "x");
    const file = new ProviderDialer(endpoint("file"));
    expect(refused(file)).toEqual({
      retry: false,
      reason: `Cannot reach the provider: ${directory}/file is not a socket`,
    });
    for (const dialer of [wrong, file]) dialer.close();
  });

  test("its socket type is found without a connection at a stream provider", () => {
    const stream = keep(serve(join(directory, "p-stream.sock")));
    keep(serve(join(directory, "p-seq.sock"), SEQPACKET));
    keep(serve(join(directory, "p-dgram.sock"), DGRAM));
    expect(probeSocketType(endpoint("p-stream.sock"))).toBe("stream");
    expect(pvx.pvx_accept(stream)).toBe(-11);
    expect(probeSocketType(endpoint("p-seq.sock"))).toBe("seqpacket");
    expect(probeSocketType(endpoint("p-none.sock"))).toBe("absent");
    expect(probeSocketType(endpoint("p-dgram.sock"))).toEqual({
      refused: `Cannot mediate ${directory}/p-dgram.sock: it is a datagram socket; stream and seqpacket are supported`,
    });
    expect(probeSocketType(endpoint("p-stream.sock/x"))).toEqual({
      refused: `Cannot reach the provider: ${directory}/p-stream.sock/x: ENOTDIR`,
    });
  });

  test("a path of more than 107 bytes is reached", () => {
    const long = join(directory, "d".repeat(200));
    Bun.spawnSync(["mkdir", long]);
    const fd = keep(unixSocket(STREAM));
    const cwd = process.cwd();
    process.chdir(long);
    pvx.pvx_bind(fd, cstring("long.sock"), 0o666);
    process.chdir(cwd);
    listen(fd, 4);
    const dialer = new ProviderDialer({ pid: 0, path: join(long, "long.sock"), seqpacket: false });
    keep(dialled(dialer));
    dialer.close();
  });
});

describe.skipIf(!here).each([
  ["a plain container", false],
  ["a user-namespaced container", true],
])("a provider in %s", (_, userns) => {
  let container: Container;
  let peer: Program;
  const host = mkdtempSync(join(tmpdir(), "pvx-host-"));
  const hostSocket = here ? serve(join(host, "host.sock")) : -1;
  let dialer: ProviderDialer;
  const endpoint = (path: string): ProviderEndpoint => ({ pid: container.pid, path, seqpacket: false });
  beforeAll(async () => {
    container = await startContainer({
      name: "provider",
      userns,
      copies: [{ from: hostileProgram(), to: "/bin/hostile" }],
    });
    peer = container.start(["peer", "serve", "/run/p.sock", "--mode", "echo"]);
    await peer.event("listening");
    dialer = new ProviderDialer(endpoint("/run/p.sock"));
    pvx.pvx_close(dialled(dialer));
  });
  afterAll(async () => {
    dialer.close();
    await container.stop();
    // Nobody ever connected.
    expect(pvx.pvx_accept(hostSocket)).toBe(-11);
    pvx.pvx_close(hostSocket);
    rmSync(host, { recursive: true });
  });
  const at = (path: string) => {
    dialer.update(endpoint(path));
    return dialer;
  };

  test("1,000 dials leave no fd behind", async () => {
    at("/run/p.sock");
    pvx.pvx_close(dialled(dialer));
    const before = openFds();
    for (let i = 0; i < 1_000; i++) {
      const result = dialer.dial();
      if (result.ok) pvx.pvx_close(result.fd);
      else if (result.reason.includes("EAGAIN")) await Bun.sleep(1);
      else throw new Error(result.reason);
    }
    expect(openFds()).toBeLessThanOrEqual(before);
  });

  test("an absolute link to a host socket resolves inside and never reaches the host's", async () => {
    await container.sh(`ln -s ${host}/host.sock /run/evil.sock`);
    expect(refused(at("/run/evil.sock"))).toMatchObject({ retry: true, reason: expect.stringContaining("ENOENT") });
    await container.sh(`mkdir -p ${host}`);
    const own = container.start(["peer", "serve", `${host}/host.sock`, "--mode", "echo"]);
    await own.event("listening");
    Bun.sleepSync(60);
    pvx.pvx_close(dialled(at("/run/evil.sock")));
    await own.stop();
  });

  test("links that climb out with .. end at its own root", async () => {
    await container.sh(
      `ln -s ../../../../../..${host}/none.sock /run/climb.sock; ln -s ../../../../run/p.sock /run/in.sock`,
    );
    expect(refused(at("/run/climb.sock")).reason).toContain("ENOENT");
    pvx.pvx_close(dialled(at("/run/in.sock")));
  });

  test("magic links, rings of links, fifos and directories are refused for good", async () => {
    await container.sh(
      "ln -s /proc/1/root/run/p.sock /run/magic.sock; ln -s ring2 /run/ring1; ln -s ring1 /run/ring2; mkfifo /run/fifo; mkdir /run/dir",
    );
    expect(refused(at("/run/magic.sock"))).toEqual({
      retry: false,
      reason: `Cannot reach the provider: /run/magic.sock in process ${container.pid}: ELOOP`,
    });
    expect(refused(at("/run/ring1"))).toMatchObject({ retry: false, reason: expect.stringContaining("ELOOP") });
    for (const path of ["/run/fifo", "/run/dir"])
      expect(refused(at(path))).toEqual({
        retry: false,
        reason: `Cannot reach the provider: ${path} in process ${container.pid} is not a socket`,
      });
  });

  test("a socket in an overlay that the container mounted itself is reached under guard, as the right uid", async () => {
    await container.sh(
      "mkdir -p /tmp/l /tmp/u /tmp/m; mount -t tmpfs none /tmp/u; mkdir /tmp/u/u /tmp/u/w; mount -t overlay -o lowerdir=/tmp/l,upperdir=/tmp/u/u,workdir=/tmp/u/w none /tmp/m",
    );
    const own = container.start(["peer", "serve", "/tmp/m/o.sock", "--mode", "credentials"]);
    await own.event("listening");
    dialer.update({ ...endpoint("/tmp/m/o.sock"), uid: USERNS_BASE + 5 });
    const fd = dialled(dialer);
    const seen = JSON.parse(textOf(fd)) as { uid: number; gid: number; groups: number[] };
    const inside = userns ? 5 : USERNS_BASE + 5;
    expect(seen).toMatchObject({ uid: inside, gid: inside, groups: [] });
    pvx.pvx_close(fd);
    await own.stop();
  });

  test("the next dial follows it when its socket comes back at another place of the same name", async () => {
    const first = container.start(["peer", "serve", "/run/moving.sock", "--mode", "echo"]);
    await first.event("listening");
    pvx.pvx_close(dialled(at("/run/moving.sock")));
    await first.stop();
    await container.sh("rm -f /run/moving.sock; mkdir -p /var/other; ln -s /var/other/real.sock /run/moving.sock");
    const second = container.start(["peer", "serve", "/var/other/real.sock", "--mode", "echo"]);
    await second.event("listening");
    Bun.sleepSync(60);
    pvx.pvx_close(dialled(dialer));
    await second.stop();
  });

  test("another process that has its pid by now is not entered", () => {
    const other = new ProviderDialer({ ...endpoint("/run/p.sock"), startTime: "1" });
    expect(refused(other)).toEqual({
      retry: true,
      reason: `Cannot reach the provider: pid ${container.pid} belongs to another process now`,
    });
    other.update({ ...endpoint("/run/p.sock"), startTime: startTimeOf(container.pid) });
    pvx.pvx_close(dialled(other));
    other.close();
  });
});

describe.skipIf(!here)("a provider that is not up", () => {
  test("is retried while its process is gone, and while it still has the host's root", async () => {
    const dead = Bun.spawnSync(["true"]).pid;
    const gone = new ProviderDialer({ pid: dead, path: "/run/x.sock", seqpacket: false });
    expect(refused(gone)).toEqual({
      retry: true,
      reason: `Cannot reach the provider: process ${dead} is not running`,
    });
    const before = new ProviderDialer({ pid: process.pid, path: "/run/x.sock", seqpacket: false });
    expect(refused(before)).toEqual({
      retry: true,
      reason: `Cannot reach the provider: process ${process.pid} still has the host's root directory`,
    });
    for (const dialer of [gone, before]) dialer.close();
  });

  test("its pid, given to another process in the meantime, is not entered", async () => {
    const directory = mkdtempSync(join(tmpdir(), "pvx-reuse-"));
    copyFileSync(Bun.which("busybox")!, join(directory, "busybox"));
    const start = () => Bun.spawn(["chroot", directory, "/busybox", "sleep", "60"]);
    const rootOf = (pid: number) => readlinkSync(`/proc/${pid}/root`);
    const first = start();
    while (rootOf(first.pid) !== directory) await Bun.sleep(1);
    const server = serve(join(directory, "p.sock"));
    const dialer = new ProviderDialer({ pid: first.pid, path: "/p.sock", seqpacket: false });
    pvx.pvx_close(dialled(dialer));
    first.kill("SIGKILL");
    await first.exited;
    const others = [];
    for (let i = 0; i < 200 && others.at(-1)?.pid !== first.pid; i++) {
      others.at(-1)?.kill("SIGKILL");
      // pid_namespaces(7): the next process gets the number after this one.
      writeFileSync("/proc/sys/kernel/ns_last_pid", String(first.pid - 1));
      others.push(start());
    }
    const second = others.at(-1)!;
    expect(second.pid).toBe(first.pid);
    while (rootOf(second.pid) !== directory) await Bun.sleep(1);
    expect(refused(dialer).reason).toContain(`process ${first.pid} is not running`);
    second.kill("SIGKILL");
    dialer.close();
    pvx.pvx_close(server);
    rmSync(directory, { recursive: true });
  });

  test("one that dies between two dials is never entered again", async () => {
    const container = await startContainer({ name: "dies" });
    const peer = container.start(["peer", "serve", "/run/p.sock", "--mode", "echo"]);
    await peer.event("listening");
    const dialer = new ProviderDialer({ pid: container.pid, path: "/run/p.sock", seqpacket: false });
    pvx.pvx_close(dialled(dialer));
    await container.stop();
    expect(refused(dialer)).toMatchObject({ retry: true, reason: expect.stringContaining("is not running") });
    dialer.close();
  });
});

describe.skipIf(!here)("a provider whose file system never answers", () => {
  test("costs the data plane one short deadline, then microseconds, and its socket is never asked", async () => {
    const container = await startContainer({
      name: "mute",
      copies: [{ from: hostileProgram(), to: "/bin/hostile" }],
    });
    await container.sh("mknod /dev/fuse c 10 229; mkdir /run/mute");
    const hostile = container.start(["hostile", "mute", "/run/mute"]);
    await hostile.line(/^ready$/);
    const dialer = new ProviderDialer({ pid: container.pid, path: "/run/mute/p.sock", seqpacket: false });
    const started = performance.now();
    expect(refused(dialer)).toMatchObject({ retry: true, reason: expect.stringContaining("ETIMEDOUT") });
    expect(performance.now() - started).toBeLessThan(400);
    const before = openFds();
    const again = performance.now();
    for (let i = 0; i < 1_000; i++) refused(dialer);
    expect(performance.now() - again).toBeLessThan(200);
    expect(openFds()).toBe(before);
    dialer.close();
    await hostile.stop();
    await container.stop();
  });
});

describe.skipIf(!here)("a provider whose file system answers just before the deadline", () => {
  test.each([
    ["is reached in the end", "/run/p.sock"],
    ["leads nowhere", "/run/none.sock"],
  ])(
    "costs the data plane a small share of its time, also where it %s",
    async (_, to) => {
      const container = await startContainer({
        name: "slow",
        copies: [{ from: hostileProgram(), to: "/bin/hostile" }],
      });
      await container.sh("mknod /dev/fuse c 10 229; mkdir /run/slow");
      const serving = container.start(["peer", "serve", "/run/p.sock", "--mode", "echo"]);
      await serving.event("listening");
      const hostile = container.start(["hostile", "slow", "/run/slow", "60", to]);
      await hostile.line(/^ready$/);
      // Several links to the one provider: what they cost together counts.
      const dialers = Array.from(
        { length: 4 },
        (_, i) => new ProviderDialer({ pid: container.pid, path: `/run/slow/${i}`, seqpacket: false }),
      );
      let reached = 0;
      let waited = 0;
      const end = performance.now() + 5_000;
      while (performance.now() < end) {
        for (const dialer of dialers) {
          const before = performance.now();
          const result = dialer.dial();
          waited += performance.now() - before;
          if (!result.ok) continue;
          reached++;
          pvx.pvx_close(result.fd);
        }
        await Bun.sleep(1);
      }
      if (to === "/run/p.sock") expect(reached).toBeGreaterThan(0);
      expect(waited).toBeLessThan(1_000);
      for (const dialer of dialers) dialer.close();
      await hostile.stop();
      await serving.stop();
      await container.stop();
    },
    30_000,
  );
});
