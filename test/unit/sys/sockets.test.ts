/** The shim's socket calls. */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AT_FDCWD,
  MSG_CTRUNC,
  O_PATH,
  SHUT_WR,
  SO_ERROR,
  SO_PASSCRED,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from "../../../src/sys/flags.ts";
import { cstring, Memory } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { bindAt, connectTo, peerCredentials, unixAddress } from "../../../src/sys/unix-socket.ts";
import {
  EADDRINUSE,
  EAGAIN,
  EBADF,
  ECONNREFUSED,
  EINVAL,
  ENAMETOOLONG,
  ENOENT,
  ENOTSOCK,
  ENOTSUP,
  EPIPE,
  EPROTOTYPE,
} from "./errors.ts";

const root = process.getuid?.() === 0;
const scratch = mkdtempSync(join(tmpdir(), "pvx-sockets-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const opened: number[] = [];
const keep = (fd: number): number => {
  expect(fd).toBeGreaterThanOrEqual(0);
  opened.push(fd);
  return fd;
};
afterEach(() => {
  for (const fd of opened.splice(0)) pvx.pvx_close(fd);
});
const two = new Memory(8);
const twoView = new Int32Array(two.buffer);
function pair(type = SOCK_STREAM): [number, number] {
  expect(pvx.pvx_socketpair(type, two.address)).toBe(0);
  return [keep(twoView[0]!), keep(twoView[1]!)];
}
let count = 0;
const fresh = () => join(scratch, `${++count}.sock`);
function listening(path: string, type = SOCK_STREAM, backlog = 8): number {
  const fd = keep(pvx.pvx_socket(type));
  expect(pvx.pvx_bind(fd, cstring(path), 0o666)).toBe(0);
  expect(pvx.pvx_listen(fd, backlog)).toBe(0);
  return fd;
}

describe("sockets", () => {
  test("are of the type asked for, non-blocking and close-on-exec", () => {
    for (const type of [SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM]) {
      const fd = keep(pvx.pvx_socket(type));
      expect(pvx.pvx_getsockopt_int(fd, SO_TYPE)).toBe(type);
      expect(pvx.pvx_fcntl(fd, 3, 0) & 0o4000).toBe(0o4000);
      expect(pvx.pvx_fcntl(fd, 1, 0)).toBe(1);
    }
    expect(pvx.pvx_socket(77)).toBe(-EINVAL);
    expect(pvx.pvx_socketpair(77, two.address)).toBe(-EINVAL);
  });

  test("bind gives the new inode exactly the mode, whatever the umask, and leaves the umask alone", () => {
    const before = process.umask(0o077);
    const path = fresh();
    listening(path);
    expect(process.umask(before)).toBe(0o077);
    expect(statSync(path).mode & 0o7777).toBe(0o666);
  });

  test("bind refuses what is there, what has no directory, what is too long and what is no socket", () => {
    const path = fresh();
    listening(path);
    const fd = keep(pvx.pvx_socket(SOCK_STREAM));
    expect(pvx.pvx_bind(fd, cstring(path), 0o666)).toBe(-EADDRINUSE);
    expect(pvx.pvx_bind(fd, cstring(`${scratch}/none/x`), 0o666)).toBe(-ENOENT);
    expect(pvx.pvx_bind(fd, cstring(`/${"x".repeat(107)}`), 0o666)).toBe(-ENAMETOOLONG);
    expect(pvx.pvx_bind(1_000_000, cstring(fresh()), 0o666)).toBe(-EBADF);
  });

  test("bindAt and connectTo reach a directory and a socket behind an fd, however long the path", () => {
    const long = join(scratch, "d".repeat(200));
    mkdirSync(long);
    const directory = keep(pvx.pvx_openat(AT_FDCWD, cstring(long), O_PATH, 0));
    const fd = keep(pvx.pvx_socket(SOCK_STREAM));
    bindAt(fd, directory, "s", 0o600);
    pvx.pvx_listen(fd, 1);
    const inode = keep(pvx.pvx_openat(directory, cstring("s"), O_PATH, 0));
    expect(connectTo(keep(pvx.pvx_socket(SOCK_STREAM)), inode)).toBe(0);
    expect(() => bindAt(keep(pvx.pvx_socket(SOCK_STREAM)), directory, "s", 0o600)).toThrow('bind("s"): EADDRINUSE');
  });

  test("a listener gives a connection once, then says EAGAIN", () => {
    const path = fresh();
    const server = listening(path);
    expect(pvx.pvx_accept(server)).toBe(-EAGAIN);
    const client = keep(pvx.pvx_socket(SOCK_STREAM));
    expect(pvx.pvx_connect(client, cstring(path))).toBe(0);
    const accepted = keep(pvx.pvx_accept(server));
    expect(pvx.pvx_fcntl(accepted, 3, 0) & 0o4000).toBe(0o4000);
    expect(pvx.pvx_accept(server)).toBe(-EAGAIN);
    expect(pvx.pvx_accept(client)).toBe(-EINVAL);
  });

  test("connect tells absent, dead, full and of another type apart", () => {
    const path = fresh();
    const connect = (to: string, type = SOCK_STREAM) => pvx.pvx_connect(keep(pvx.pvx_socket(type)), cstring(to));
    expect(connect(path)).toBe(-ENOENT);
    listening(path, SOCK_STREAM, 0);
    expect(connect(path, SOCK_SEQPACKET)).toBe(-EPROTOTYPE);
    expect(connect(path)).toBe(0);
    expect(connect(path)).toBe(-EAGAIN);
    const dead = fresh();
    pvx.pvx_close(listening(dead));
    opened.pop();
    expect(connect(dead)).toBe(-ECONNREFUSED);
    expect(connect(`/${"x".repeat(107)}`)).toBe(-ENAMETOOLONG);
  });

  test("listen refuses what is not bound and what can't listen", () => {
    expect(pvx.pvx_listen(keep(pvx.pvx_socket(SOCK_STREAM)), 1)).toBe(-EINVAL);
    expect(pvx.pvx_listen(keep(pvx.pvx_socket(SOCK_DGRAM)), 1)).toBe(-ENOTSUP);
    expect(pvx.pvx_listen(keep(pvx.pvx_eventfd()), 1)).toBe(-ENOTSOCK);
  });

  test("shutdown ends one direction of a socket", () => {
    const [a, b] = pair();
    expect(pvx.pvx_shutdown(a, SHUT_WR)).toBe(0);
    expect(pvx.pvx_read(b, two.address, 8)).toBe(0);
    expect(pvx.pvx_send(a, two.address, 0, 1)).toBe(-EPIPE);
    expect(pvx.pvx_send(b, two.address, 0, 1)).toBe(1);
    expect(pvx.pvx_shutdown(keep(pvx.pvx_eventfd()), SHUT_WR)).toBe(-ENOTSOCK);
  });

  test("options are set and read", () => {
    const [a] = pair();
    expect(pvx.pvx_getsockopt_int(a, SO_PASSCRED)).toBe(0);
    expect(pvx.pvx_setsockopt_int(a, SO_PASSCRED, 1)).toBe(0);
    expect(pvx.pvx_getsockopt_int(a, SO_PASSCRED)).toBe(1);
    expect(pvx.pvx_getsockopt_int(a, SO_ERROR)).toBe(0);
    expect(pvx.pvx_setsockopt_int(a, 9999, 1)).toBeLessThan(0);
    const file = keep(pvx.pvx_eventfd());
    expect(pvx.pvx_setsockopt_int(file, SO_PASSCRED, 1)).toBe(-ENOTSOCK);
    expect(pvx.pvx_getsockopt_int(file, SO_PASSCRED)).toBe(-ENOTSOCK);
  });

  test("the peer of a pair is this process", () => {
    const [a] = pair();
    expect(peerCredentials(a)).toEqual({
      pid: process.pid,
      uid: process.geteuid?.() ?? -1,
      gid: process.getegid?.() ?? -1,
    });
    expect(() => peerCredentials(keep(pvx.pvx_eventfd()))).toThrow("SO_PEERCRED): ENOTSOCK");
  });

  test("wait_readable tells bytes, an end, and nothing within the time", () => {
    const [a, b] = pair();
    const started = performance.now();
    expect(pvx.pvx_wait_readable(a, 30)).toBe(0);
    expect(performance.now() - started).toBeGreaterThanOrEqual(29);
    pvx.pvx_send(b, two.address, 0, 1);
    expect(pvx.pvx_wait_readable(a, 0)).toBe(1);
    pvx.pvx_read(a, two.address, 8);
    expect(pvx.pvx_wait_readable(a, 0)).toBe(0);
    pvx.pvx_shutdown(b, SHUT_WR);
    expect(pvx.pvx_wait_readable(a, 0)).toBe(1);
  });

  test("a socket address is refused rather than cut", () => {
    expect(unixAddress("/a").subarray(0, 5)).toEqual(new Uint8Array([1, 0, 0x2f, 0x61, 0]));
    expect(() => unixAddress("x".repeat(108))).toThrow(RangeError);
  });
});

describe.skipIf(!root)("connect_as", () => {
  test("the provider sees that uid and gid and no group, reaches a socket of mode 0600, and we are root again", () => {
    const path = fresh();
    const server = keep(pvx.pvx_socket(SOCK_STREAM));
    pvx.pvx_bind(server, cstring(path), 0o600);
    pvx.pvx_listen(server, 8);
    const groups = process.getgroups?.();
    expect(pvx.pvx_connect_as(keep(pvx.pvx_socket(SOCK_STREAM)), cstring(path), 4_711, 4_712)).toBe(0);
    expect(peerCredentials(keep(pvx.pvx_accept(server)))).toEqual({ pid: process.pid, uid: 4_711, gid: 4_712 });
    const status = require("node:fs").readFileSync("/proc/thread-self/status", "utf8") as string;
    expect(status).toMatch(/^Uid:\s0\s0\s0\s0$/m);
    expect(status).toMatch(/^Gid:\s0\s0\s0\s0$/m);
    expect(process.getgroups?.()).toEqual(groups!);
  });

  test("a refusal brings us back too", () => {
    const fd = keep(pvx.pvx_socket(SOCK_STREAM));
    expect(pvx.pvx_connect_as(fd, cstring(fresh()), 4_711, 4_712)).toBe(-ENOENT);
    expect(process.geteuid?.()).toBe(0);
  });

  test("the id that means unchanged, and so root, is refused", () => {
    const path = fresh();
    const server = listening(path);
    const fd = keep(pvx.pvx_socket(SOCK_STREAM));
    expect(pvx.pvx_connect_as(fd, cstring(path), 0xffff_ffff, 4_712)).toBe(-EINVAL);
    expect(pvx.pvx_connect_as(fd, cstring(path), 4_711, 0xffff_ffff)).toBe(-EINVAL);
    expect(pvx.pvx_accept(server)).toBe(-EAGAIN);
  });
});

describe("messages", () => {
  const buffer = new Memory(4096);
  const received = new Memory(4096);
  const page = new Memory(4096);
  const iov = new Memory(32);
  const iovView = new BigUint64Array(iov.buffer);
  const fds = new Memory(4 * 260);
  const fdView = new Int32Array(fds.buffer);
  const got = new Memory(4 * 253);
  const gotView = new Int32Array(got.buffer);
  const info = new Memory(24);
  const infoView = new Int32Array(info.buffer);
  const credentials = new Memory(12);
  const nothing = null;

  function send(
    fd: number,
    text: string,
    withFds: readonly number[] = [],
    as: typeof nothing | Memory = nothing,
  ): number {
    const bytes = Buffer.from(text);
    buffer.bytes.set(bytes);
    iovView[0] = BigInt(buffer.address);
    iovView[1] = BigInt(bytes.length);
    fdView.set(withFds);
    return pvx.pvx_sendv(fd, iov.address, 1, fds.address, withFds.length, as === null ? null : as.address);
  }
  function receive(fd: number, n = 4096) {
    const r = pvx.pvx_recv(fd, received.address, n, got.address, info.address);
    const taken = r > 0 || infoView[0]! > 0 ? [...gotView.subarray(0, infoView[0])].map(keep) : [];
    return { r, text: Buffer.from(received.bytes.subarray(0, Math.max(r, 0))).toString(), fds: taken };
  }

  test("several pieces leave as one", () => {
    const [a, b] = pair();
    buffer.bytes.set(Buffer.from("helloworld"));
    iovView.set([BigInt(buffer.address), 5n, BigInt(buffer.address) + 5n, 5n]);
    expect(pvx.pvx_sendv(a, iov.address, 2, null, 0, null)).toBe(10);
    expect(receive(b).text).toBe("helloworld");
  });

  test("1, 28 and 253 fds arrive in order, close-on-exec; 254 are refused", () => {
    const [a, b] = pair();
    for (const n of [1, 28, 253]) {
      const sent = Array.from({ length: n }, () => keep(pvx.pvx_eventfd()));
      for (const [i, fd] of sent.entries()) {
        new BigUint64Array(iov.buffer)[0] = BigInt(i + 1);
        pvx.pvx_write(fd, iov.address, 8);
      }
      expect(send(a, "x", sent)).toBe(1);
      const { r, fds: arrived } = receive(b);
      expect([r, arrived.length, infoView[1]! & MSG_CTRUNC]).toEqual([1, n, 0]);
      const counts = arrived.map((fd) => {
        pvx.pvx_read(fd, iov.address, 8);
        return Number(new BigUint64Array(iov.buffer)[0]);
      });
      expect(counts).toEqual(sent.map((_, i) => i + 1));
      expect(pvx.pvx_fcntl(arrived[0]!, 1, 0)).toBe(1);
    }
    expect(
      send(
        a,
        "x",
        Array.from({ length: 254 }, () => 0),
      ),
    ).toBe(-EINVAL);
  });

  test("credentials arrive with the message, in front of fds as well", () => {
    const [a, b] = pair();
    pvx.pvx_setsockopt_int(b, SO_PASSCRED, 1);
    new Uint32Array(credentials.buffer).set([process.pid, root ? 4_711 : process.getuid!(), process.getgid!()]);
    expect(send(a, "who", [keep(pvx.pvx_eventfd())], credentials)).toBe(3);
    const { text, fds: arrived } = receive(b);
    expect([text, arrived.length, infoView[2], infoView[3]]).toEqual(["who", 1, 1, process.pid]);
    if (root) expect(infoView[4]).toBe(4_711);
    expect(send(a, "none")).toBe(4);
    pvx.pvx_setsockopt_int(b, SO_PASSCRED, 0);
    receive(b);
    expect(infoView[0]).toBe(0);
  });

  test("nothing there, the end, and no socket at all", () => {
    const [a, b] = pair();
    expect(receive(b).r).toBe(-EAGAIN);
    pvx.pvx_shutdown(a, SHUT_WR);
    expect(receive(b).r).toBe(0);
    expect(receive(keep(pvx.pvx_eventfd())).r).toBe(-ENOTSOCK);
    expect(send(keep(pvx.pvx_eventfd()), "x")).toBe(-ENOTSOCK);
    expect(send(a, "x", [1_000_000])).toBe(-EBADF);
  });

  test("send takes a part of a buffer, and never raises SIGPIPE", () => {
    const [a, b] = pair();
    buffer.bytes.set(Buffer.from("0123456789"));
    expect(pvx.pvx_send(a, buffer.address, 3, 4)).toBe(4);
    expect(receive(b).text).toBe("3456");
    pvx.pvx_close(b);
    opened.splice(opened.indexOf(b), 1);
    expect(pvx.pvx_send(a, buffer.address, 0, 1)).toBe(-EPIPE);
    expect(send(a, "x")).toBe(-EPIPE);
  });

  test("a full socket says EAGAIN", () => {
    const [a] = pair();
    let r = 0;
    for (let i = 0; i < 10_000 && r >= 0; i++) r = pvx.pvx_send(a, buffer.address, 0, 4096);
    expect(r).toBe(-EAGAIN);
  });

  test("recv_packet tells an empty message from the end", () => {
    const [a, b] = pair(SOCK_SEQPACKET);
    expect(send(a, "")).toBe(0);
    const receivePacket = () => pvx.pvx_recv_packet(b, received.address, 4096, got.address, info.address);
    expect([receivePacket(), infoView[2]]).toEqual([0, 1]);
    expect(receivePacket()).toBe(-EAGAIN);
    pvx.pvx_shutdown(a, SHUT_WR);
    expect([receivePacket(), infoView[2]]).toEqual([0, 0]);
  });

  test("recv_placed stops before the byte that fds came with, and gives them with it", () => {
    const [a, b] = pair();
    send(a, "before");
    send(a, "with", [keep(pvx.pvx_eventfd())]);
    send(a, "after");
    const placed = () => {
      const r = pvx.pvx_recv_placed(b, received.address, 4096, got.address, info.address, page.address, page.length);
      const n = r > 0 ? infoView[0]! : 0;
      for (const fd of gotView.subarray(0, n)) keep(fd);
      return [r > 0 ? Buffer.from(received.bytes.subarray(0, r)).toString() : r, n];
    };
    expect(placed()).toEqual(["before", 0]);
    expect(placed()).toEqual(["with", 1]);
    expect(placed()).toEqual(["after", 0]);
    expect(placed()).toEqual([-EAGAIN, 0]);
    pvx.pvx_shutdown(a, SHUT_WR);
    expect(placed()).toEqual([0, 0]);
  });

  test("fds that find no room in our table are told by MSG_CTRUNC", () => {
    const [a, b] = pair();
    send(a, "x", [keep(pvx.pvx_eventfd()), keep(pvx.pvx_eventfd())]);
    const filler: number[] = [];
    for (let fd = pvx.pvx_dup(0); fd >= 0 && filler.length < 2_000_000; fd = pvx.pvx_dup(0)) filler.push(fd);
    const r = pvx.pvx_recv(b, received.address, 16, got.address, info.address);
    for (const fd of filler) pvx.pvx_close(fd);
    expect([r, infoView[0], infoView[1]! & MSG_CTRUNC]).toEqual([1, 0, MSG_CTRUNC]);
  });
});
