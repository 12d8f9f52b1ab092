/** The shim's file-system calls. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kindName } from "../../../src/sys/file-kind.ts";
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDWR,
  RESOLVE_BENEATH,
  RESOLVE_CACHED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  S_IFMT,
  S_IFREG,
} from "../../../src/sys/flags.ts";
import { cstring, Memory } from "../../../src/sys/memory.ts";
import { QuickStat } from "../../../src/sys/quick-stat.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { EAGAIN, EBADF, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV } from "./errors.ts";

let scratch = "";
let dir = -1;
const opened: number[] = [];
const keep = (fd: number): number => {
  expect(fd).toBeGreaterThanOrEqual(0);
  opened.push(fd);
  return fd;
};
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "pvx-files-"));
  dir = pvx.pvx_openat(AT_FDCWD, cstring(scratch), O_PATH | O_DIRECTORY, 0);
});
afterAll(() => {
  pvx.pvx_close(dir);
  rmSync(scratch, { recursive: true });
});
afterEach(() => {
  for (const fd of opened.splice(0)) pvx.pvx_close(fd);
  for (const name of readdirSync(scratch)) rmSync(join(scratch, name), { recursive: true });
});
const at = (name: string) => join(scratch, name);

describe("openat2", () => {
  const openat2 = (path: string, resolve: number, flags = O_PATH) => {
    const r = pvx.pvx_openat2(dir, cstring(path), flags, 0, resolve);
    if (r >= 0) keep(r);
    return r >= 0 ? "opened" : r;
  };

  test("with IN_ROOT a link to an absolute path, and .., stay inside", () => {
    mkdirSync(at("etc"));
    writeFileSync(at("etc/inside"), "");
    symlinkSync("/etc/inside", at("absolute"));
    symlinkSync("/etc/passwd", at("outside"));
    symlinkSync("../../../../../../etc/inside", at("climbs"));
    expect(openat2("absolute", RESOLVE_IN_ROOT)).toBe("opened");
    expect(openat2("climbs", RESOLVE_IN_ROOT)).toBe("opened");
    expect(openat2("/../../etc/inside", RESOLVE_IN_ROOT)).toBe("opened");
    expect(openat2("outside", RESOLVE_IN_ROOT)).toBe(-ENOENT);
    expect(openat2("absolute", RESOLVE_BENEATH)).toBe(-EXDEV);
    expect(openat2("..", RESOLVE_BENEATH)).toBe(-EXDEV);
    expect(openat2("absolute", RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)).toBe(-ELOOP);
  });

  test("magic links are refused, and mounts when asked to", () => {
    const proc = keep(pvx.pvx_openat(AT_FDCWD, cstring("/proc"), O_PATH, 0));
    const magic = pvx.pvx_openat2(proc, cstring("self/root"), O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    expect(magic).toBe(-ELOOP);
    const top = keep(pvx.pvx_openat(AT_FDCWD, cstring("/"), O_PATH, 0));
    expect(pvx.pvx_openat2(top, cstring("proc"), O_PATH, 0, RESOLVE_NO_XDEV)).toBe(-EXDEV);
  });

  test("CACHED answers what is in the cache, and EAGAIN for what is not", () => {
    writeFileSync(at("known"), "");
    expect(openat2("known", RESOLVE_IN_ROOT | RESOLVE_CACHED)).toBe("opened");
    expect(openat2("never-looked-for", RESOLVE_IN_ROOT | RESOLVE_CACHED)).toBe(-EAGAIN);
  });

  test("creates with a mode, and refuses a mode without creation and unknown flags", () => {
    const umask = process.umask(0);
    keep(pvx.pvx_openat2(dir, cstring("new"), O_RDWR | O_CREAT | O_EXCL, 0o640, RESOLVE_BENEATH));
    process.umask(umask);
    expect(statSync(at("new")).mode & 0o7777).toBe(0o640);
    expect(pvx.pvx_openat2(dir, cstring("new"), O_PATH, 0o640, 0)).toBe(-EINVAL);
    expect(pvx.pvx_openat2(dir, cstring("new"), O_PATH, 0, 0x8000_0000)).toBe(-EINVAL);
    expect(pvx.pvx_openat2(1_000_000, cstring("new"), O_PATH, 0, 0)).toBe(-EBADF);
  });
});

describe("names in a directory", () => {
  test("openat opens, follows no last link when told, and says what is wrong", () => {
    writeFileSync(at("f"), "");
    symlinkSync("f", at("l"));
    expect(keep(pvx.pvx_openat(dir, cstring("f"), O_RDWR, 0))).toBeGreaterThan(2);
    expect(pvx.pvx_openat(dir, cstring("l"), O_RDWR | O_NOFOLLOW, 0)).toBe(-ELOOP);
    expect(pvx.pvx_openat(dir, cstring("none"), O_RDWR, 0)).toBe(-ENOENT);
    expect(pvx.pvx_openat(dir, cstring("f/x"), O_RDWR, 0)).toBe(-ENOTDIR);
    expect(pvx.pvx_openat(dir, cstring("."), O_RDWR, 0)).toBe(-EISDIR);
  });

  test("unlinkat takes files, and directories when told", () => {
    mkdirSync(at("d"));
    writeFileSync(at("d/f"), "");
    expect(pvx.pvx_unlinkat(dir, cstring("d"), 0)).toBe(-EISDIR);
    expect(pvx.pvx_unlinkat(dir, cstring("d"), AT_REMOVEDIR)).toBe(-ENOTEMPTY);
    expect(pvx.pvx_unlinkat(dir, cstring("d/f"), 0)).toBe(0);
    expect(pvx.pvx_unlinkat(dir, cstring("d"), AT_REMOVEDIR)).toBe(0);
    expect(pvx.pvx_unlinkat(dir, cstring("d"), 0)).toBe(-ENOENT);
  });
});

test("statx tells what node tells", () => {
  writeFileSync(at("f"), "");
  const node = lstatSync(at("f"), { bigint: true });
  const quick = new QuickStat();
  expect(quick.read(keep(pvx.pvx_openat(dir, cstring("f"), O_PATH, 0)))).toBe(0);
  // glibc's makedev of small numbers (sys/sysmacros.h)
  const [major, minor] = [
    Number(node.dev >> 8n) & 0xfff,
    Number(node.dev & 0xffn) | (Number(node.dev >> 12n) & 0xfff00),
  ];
  expect([quick.ino, quick.mode & S_IFMT, quick.device]).toEqual([node.ino, S_IFREG, `${major}:${minor}`]);
  expect(quick.deviceNumber).toBe(major * 2 ** 32 + minor);
  expect(kindName(quick.mode)).toBe("a regular file");
  expect(quick.read(1_000_000)).toBe(-EBADF);
});

describe("inotify", () => {
  test("tells of a new name and stops when told", () => {
    const fd = keep(pvx.pvx_inotify_init());
    const IN_CREATE = 0x100;
    const watch = pvx.pvx_inotify_add(fd, cstring(scratch), IN_CREATE);
    expect(watch).toBeGreaterThan(0);
    const room = new Memory(4096);
    expect(pvx.pvx_read(fd, room.address, 4096)).toBe(-EAGAIN);
    writeFileSync(at("new"), "");
    expect(pvx.pvx_read(fd, room.address, 4096)).toBeGreaterThan(16);
    expect(new DataView(room.buffer).getUint32(4, true)).toBe(IN_CREATE);
    expect(pvx.pvx_inotify_remove(fd, watch)).toBe(0);
    expect(pvx.pvx_inotify_remove(fd, watch)).toBe(-EINVAL);
    expect(pvx.pvx_inotify_add(fd, cstring(at("none")), IN_CREATE)).toBe(-ENOENT);
    expect(pvx.pvx_inotify_add(1_000_000, cstring(scratch), IN_CREATE)).toBe(-EBADF);
  });
});
