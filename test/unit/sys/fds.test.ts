/** The shim's plain calls on fds: what each gives, and its main refusals. All answer -errno. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT_FDCWD, EPOLLIN, EPOLLOUT, LOCK_EX, LOCK_NB, O_PATH, O_RDWR } from "../../../src/sys/flags.ts";
import { cstring, Memory } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { EAGAIN, EBADF, EEXIST, EINVAL, ENOENT, ENOTDIR } from "./errors.ts";

const NOBODY = 1_000_000;
const opened: number[] = [];
const keep = (fd: number): number => {
  expect(fd).toBeGreaterThanOrEqual(0);
  opened.push(fd);
  return fd;
};
const scratch = mkdtempSync(join(tmpdir(), "pvx-fds-"));
afterEach(() => {
  for (const fd of opened.splice(0)) pvx.pvx_close(fd);
});
const pair = new Memory(8);
const pairView = new Int32Array(pair.buffer);
function pipe(): [number, number] {
  expect(pvx.pvx_pipe(pair.address)).toBe(0);
  return [keep(pairView[0]!), keep(pairView[1]!)];
}
const room = new Memory(64);
const F_GETFD = 1;
const F_GETFL = 3;

describe("plain fds", () => {
  test("a pipe carries bytes, is non-blocking and ends", () => {
    const [read, write] = pipe();
    expect(pvx.pvx_read(read, room.address, 64)).toBe(-EAGAIN);
    room.bytes.set([1, 2, 3]);
    expect(pvx.pvx_write(write, room.address, 3)).toBe(3);
    room.bytes.fill(0);
    expect(pvx.pvx_read(read, room.address, 64)).toBe(3);
    expect([...room.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
    expect(pvx.pvx_close(write)).toBe(0);
    opened.pop();
    expect(pvx.pvx_read(read, room.address, 64)).toBe(0);
    expect(pvx.pvx_write(read, room.address, 1)).toBe(-EBADF);
    expect(pvx.pvx_close(write)).toBe(-EBADF);
  });

  test("a duplicate is the same file, close-on-exec, and never one of the first three", () => {
    const [read] = pipe();
    const twin = keep(pvx.pvx_dup(read));
    expect(twin).toBeGreaterThan(2);
    expect(readlinkSync(`/proc/self/fd/${twin}`)).toBe(readlinkSync(`/proc/self/fd/${read}`));
    expect(pvx.pvx_fcntl(twin, F_GETFD, 0)).toBe(1);
    expect(pvx.pvx_dup(NOBODY)).toBe(-EBADF);
  });

  test("fcntl gives flags and refuses what is no fd", () => {
    const [read] = pipe();
    expect(pvx.pvx_fcntl(read, F_GETFL, 0) & 0o4000).toBe(0o4000);
    expect(pvx.pvx_fcntl(NOBODY, F_GETFD, 0)).toBe(-EBADF);
    expect(pvx.pvx_fcntl(read, 9999, 0)).toBe(-EINVAL);
  });

  test("an eventfd counts, does not block, and takes nothing but eight bytes", () => {
    const fd = keep(pvx.pvx_eventfd());
    const count = new BigUint64Array(room.buffer, 0, 1);
    expect(pvx.pvx_read(fd, room.address, 8)).toBe(-EAGAIN);
    count[0] = 5n;
    expect(pvx.pvx_write(fd, room.address, 8)).toBe(8);
    expect(pvx.pvx_write(fd, room.address, 8)).toBe(8);
    expect(pvx.pvx_read(fd, room.address, 8)).toBe(8);
    expect(count[0]).toBe(10n);
    expect(pvx.pvx_write(fd, room.address, 4)).toBe(-EINVAL);
  });

  test("a memfd is a file without a name", () => {
    const fd = keep(pvx.pvx_memfd(cstring("unit")));
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe("/memfd:unit (deleted)");
    expect(pvx.pvx_fcntl(fd, F_GETFD, 0)).toBe(1);
    expect(pvx.pvx_memfd(cstring("n".repeat(250)))).toBe(-EINVAL);
  });

  test("a lock keeps other openings of the file out until its fd is closed", () => {
    writeFileSync(join(scratch, "lock"), "");
    const open = () => keep(pvx.pvx_openat(AT_FDCWD, cstring(join(scratch, "lock")), O_RDWR, 0));
    const [first, second] = [open(), open()];
    expect(pvx.pvx_flock(first, LOCK_EX | LOCK_NB)).toBe(0);
    expect(pvx.pvx_flock(second, LOCK_EX | LOCK_NB)).toBe(-EAGAIN);
    pvx.pvx_close(first);
    opened.splice(opened.indexOf(first), 1);
    expect(pvx.pvx_flock(second, LOCK_EX | LOCK_NB)).toBe(0);
    expect(pvx.pvx_flock(NOBODY, LOCK_EX)).toBe(-EBADF);
  });

  test("umask and fchdir change what they say, and back", () => {
    const before = pvx.pvx_umask(0o077);
    expect(pvx.pvx_umask(before)).toBe(0o077);
    const cwd = keep(pvx.pvx_openat(AT_FDCWD, cstring("."), O_PATH, 0));
    const other = keep(pvx.pvx_openat(AT_FDCWD, cstring(scratch), O_PATH, 0));
    expect(pvx.pvx_fchdir(other)).toBe(0);
    expect(process.cwd() === scratch || readlinkSync("/proc/self/cwd") === scratch).toBe(true);
    expect(pvx.pvx_fchdir(cwd)).toBe(0);
    expect(pvx.pvx_fchdir(pipe()[0])).toBe(-ENOTDIR);
    expect(pvx.pvx_fchdir(NOBODY)).toBe(-EBADF);
  });
});

describe("epoll", () => {
  const out = new Memory(12 * 4);
  const view = new Uint32Array(out.buffer);
  const events = (ep: number, timeout = 0) => {
    const n = pvx.pvx_epoll_wait(ep, out.address, 4, timeout);
    expect(n).toBeGreaterThanOrEqual(0);
    return Array.from({ length: n }, (_, i) => [view[3 * i]!, view[3 * i + 1]!, view[3 * i + 2]!]);
  };

  test("tells fd, generation and events of what is ready, and nothing once it is removed", () => {
    const ep = keep(pvx.pvx_epoll_create());
    const [read, write] = pipe();
    expect(events(ep)).toEqual([]);
    expect(pvx.pvx_epoll_ctl(ep, 1, read, EPOLLIN, 0xffff_fffe)).toBe(0);
    expect(pvx.pvx_epoll_ctl(ep, 1, write, EPOLLOUT, 2)).toBe(0);
    expect(events(ep)).toEqual([[write, 2, EPOLLOUT]]);
    pvx.pvx_write(write, room.address, 1);
    expect(pvx.pvx_epoll_ctl(ep, 3, write, 0, 3)).toBe(0);
    expect(events(ep)).toEqual([[read, 0xffff_fffe, EPOLLIN]]);
    expect(pvx.pvx_epoll_ctl(ep, 2, read, 0, 0)).toBe(0);
    expect(events(ep)).toEqual([]);
  });

  test("waits no longer than it is told, and gives no more than asked for", () => {
    const ep = keep(pvx.pvx_epoll_create());
    const started = performance.now();
    expect(events(ep, 30)).toEqual([]);
    expect(performance.now() - started).toBeGreaterThanOrEqual(29);
    const all = Array.from({ length: 6 }, () => pipe()[1]);
    for (const fd of all) pvx.pvx_epoll_ctl(ep, 1, fd, EPOLLOUT, 0);
    expect(events(ep).length).toBe(4);
  });

  test("refuses twice the same, what is not there, and files", () => {
    const ep = keep(pvx.pvx_epoll_create());
    const [read] = pipe();
    expect(pvx.pvx_epoll_ctl(ep, 3, read, EPOLLIN, 0)).toBe(-ENOENT);
    expect(pvx.pvx_epoll_ctl(ep, 1, read, EPOLLIN, 0)).toBe(0);
    expect(pvx.pvx_epoll_ctl(ep, 1, read, EPOLLIN, 0)).toBe(-EEXIST);
    expect(pvx.pvx_epoll_ctl(ep, 1, NOBODY, EPOLLIN, 0)).toBe(-EBADF);
    expect(pvx.pvx_epoll_wait(read, out.address, 4, 0)).toBe(-EINVAL);
    expect(pvx.pvx_epoll_wait(ep, out.address, 0, 0)).toBe(-EINVAL);
  });
});

test.serial("scratch goes", () => rmSync(scratch, { recursive: true }));
