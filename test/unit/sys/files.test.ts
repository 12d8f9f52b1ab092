/** The shim's file-system calls, and the wrappers over them. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as files from "../../../src/sys/files.ts";
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDWR,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RESOLVE_BENEATH,
  RESOLVE_CACHED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
} from "../../../src/sys/flags.ts";
import { cold } from "../../../src/sys/koffi.ts";
import { cstring, cstring2, Memory } from "../../../src/sys/memory.ts";
import { QuickStat } from "../../../src/sys/quick-stat.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { EAGAIN, EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV } from "./errors.ts";

const root = process.getuid?.() === 0;
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
    expect(() => files.openAt(dir, "none", O_RDWR)).toThrow('openat("none"): ENOENT');
    expect(pvx.pvx_fcntl(keep(files.openAt(dir, "f", O_RDWR)), 1, 0)).toBe(1);
  });

  test("mkdirat and unlinkat make and take", () => {
    expect(pvx.pvx_mkdirat(dir, cstring("d"), 0o700)).toBe(0);
    expect(pvx.pvx_mkdirat(dir, cstring("d"), 0o700)).toBe(-EEXIST);
    expect(pvx.pvx_mkdirat(dir, cstring("none/d"), 0o700)).toBe(-ENOENT);
    expect(statSync(at("d")).mode & 0o7777).toBe(0o700);
    writeFileSync(at("d/f"), "");
    expect(pvx.pvx_unlinkat(dir, cstring("d"), 0)).toBe(-EISDIR);
    expect(pvx.pvx_unlinkat(dir, cstring("d"), AT_REMOVEDIR)).toBe(-ENOTEMPTY);
    expect(pvx.pvx_unlinkat(dir, cstring("d/f"), 0)).toBe(0);
    expect(pvx.pvx_unlinkat(dir, cstring("d"), AT_REMOVEDIR)).toBe(0);
    expect(pvx.pvx_unlinkat(dir, cstring("d"), 0)).toBe(-ENOENT);
  });

  test("mknodat makes a fifo, and a device where it may", () => {
    expect(pvx.pvx_mknodat(dir, cstring("p"), S_IFIFO | 0o600, 0)).toBe(0);
    expect(lstatSync(at("p")).isFIFO()).toBe(true);
    expect(pvx.pvx_mknodat(dir, cstring("p"), S_IFIFO | 0o600, 0)).toBe(-EEXIST);
    expect(pvx.pvx_mknodat(dir, cstring("x"), 0o160000, 0)).toBe(-EINVAL);
    if (!root) return;
    files.makeNode(dir, "null", S_IFCHR | 0o600, 1, 3);
    const stat = files.statAt(dir, "null");
    expect([stat?.rdevMajor, stat?.rdevMinor, files.kindName(stat?.mode ?? 0)]).toEqual([1, 3, "a character device"]);
    files.makeNode(dir, "wide", S_IFCHR | 0o600, 226, 70_000);
    expect(files.statAt(dir, "wide")).toMatchObject({ rdevMajor: 226, rdevMinor: 70_000 });
  });

  test("renameat2 replaces nothing, or exchanges, when told", () => {
    writeFileSync(at("a"), "a");
    writeFileSync(at("b"), "b");
    const inode = (name: string) => statSync(at(name)).ino;
    const [a, b] = [inode("a"), inode("b")];
    const rename = (from: string, to: string, flags: number) =>
      pvx.pvx_renameat2(dir, cstring(from), dir, cstring2(to), flags);
    expect(rename("a", "b", RENAME_NOREPLACE)).toBe(-EEXIST);
    expect(rename("a", "c", RENAME_EXCHANGE)).toBe(-ENOENT);
    expect(rename("a", "b", RENAME_EXCHANGE)).toBe(0);
    expect([inode("a"), inode("b")]).toEqual([b, a]);
    expect(rename("a", "c", RENAME_NOREPLACE)).toBe(0);
    expect(rename("a", "c", RENAME_NOREPLACE | RENAME_EXCHANGE)).toBe(-EINVAL);
    expect(files.tryRename(dir, "c", "b", 0)).toBe(0);
    expect(readdirSync(scratch)).toEqual(["b"]);
  });

  test("fchmodat, fchownat and readlinkat", () => {
    writeFileSync(at("f"), "");
    symlinkSync("to/where", at("l"));
    expect(pvx.pvx_fchmodat(dir, cstring("f"), 0o604)).toBe(0);
    expect(statSync(at("f")).mode & 0o7777).toBe(0o604);
    expect(pvx.pvx_fchmodat(dir, cstring("none"), 0o604)).toBe(-ENOENT);
    expect(files.readLink(dir, "l")).toBe("to/where");
    expect(() => files.readLink(dir, "f")).toThrow('readlinkat("f"): EINVAL');
    expect(pvx.pvx_fchownat(dir, cstring("none"), 0, 0, AT_SYMLINK_NOFOLLOW)).toBe(-ENOENT);
    if (!root) return;
    files.changeOwner(dir, "l", 5, 6);
    const stat = lstatSync(at("l"));
    expect([stat.uid, stat.gid]).toEqual([5, 6]);
  });
});

describe("statx and fstatfs", () => {
  test("tell what node tells, by name and by fd, through koffi and without", () => {
    writeFileSync(at("f"), "");
    symlinkSync("f", at("l"));
    const node = lstatSync(at("f"), { bigint: true });
    const stat = files.statAt(dir, "f");
    expect(stat).toMatchObject({ ino: String(node.ino), mode: Number(node.mode), uid: Number(node.uid), nlink: 1 });
    expect(files.kindName(files.statAt(dir, "l")?.mode ?? 0)).toBe("a symbolic link");
    expect(files.statAt(dir, "none")).toBeUndefined();
    const fd = keep(files.openAt(dir, "f", O_PATH));
    expect(files.sameObject(files.statFd(fd), stat!)).toBe(true);
    const quick = new QuickStat();
    expect(quick.read(fd)).toBe(0);
    expect([quick.ino, quick.mode & S_IFMT, quick.device]).toEqual([node.ino, S_IFREG, stat!.dev]);
    expect(quick.deviceNumber).toBe(Number(stat!.dev.split(":")[0]) * 2 ** 32 + Number(stat!.dev.split(":")[1]));
    expect(quick.read(1_000_000)).toBe(-EBADF);
    expect(() => files.statFd(1_000_000)).toThrow("statx(1000000): EBADF");
    expect(() => files.statAt(dir, "f/x")).toThrow("ENOTDIR");
  });

  test("two objects of one inode number differ by device", () => {
    expect(files.sameObject({ dev: "0:1", ino: "7" }, { dev: "0:2", ino: "7" })).toBe(false);
    expect(files.sameObject({ dev: "0:1", ino: "7" }, { dev: "0:1", ino: "7" })).toBe(true);
  });

  test("the kind of file system is told", () => {
    expect(files.fileSystemType(keep(files.openAt(AT_FDCWD, "/proc/self", O_PATH)))).toBe(0x9fa0);
    expect(() => files.fileSystemType(1_000_000)).toThrow("EBADF");
  });
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

describe("mounts", () => {
  test.skipIf(!root)("a file system is made, written to, and gone with its fd; nobody else ever sees it", () => {
    const { fsopen, fsconfig, fsmount, openTree, moveMount, umount2 } = cold();
    const context = keep(fsopen("tmpfs"));
    expect(fsconfig(context, 1, "mode", "0700", 0)).toBe(0);
    expect(fsconfig(context, 1, "no-such-key", "1", 0)).toBe(-EINVAL);
    expect(fsmount(context, 0)).toBe(-EINVAL);
    expect(fsconfig(context, 6, null, null, 0)).toBe(0);
    const mount = keep(fsmount(context, 2));
    expect(pvx.pvx_mkdirat(mount, cstring("inside"), 0o700)).toBe(0);
    expect(files.fileSystemType(mount)).toBe(0x0102_1994);
    const tree = keep(openTree(AT_FDCWD, scratch, 0));
    expect(files.sameObject(files.statFd(tree), files.statFd(dir))).toBe(true);
    expect(openTree(AT_FDCWD, at("none"), 0)).toBe(-ENOENT);
    expect(moveMount(tree, "", AT_FDCWD, at("none"), 4)).toBe(-ENOENT);
    expect(umount2(scratch, 0)).toBe(-EINVAL);
    expect(fsopen("no-such-file-system")).toBe(-19);
  });

  test("prctl answers, and refuses what it does not know", () => {
    expect(cold().prctl(27, 0, 0)).toBeGreaterThanOrEqual(0);
    expect(cold().prctl(99_999, 0, 0)).toBe(-EINVAL);
  });
});

test("work done as another file-system user leaves us root, also when it throws", () => {
  if (!root) return;
  expect(() =>
    files.asFileSystemUser(5, 6, () => {
      expect(files.makeDirectory(dir, "theirs", 0o700)).toBeLessThan(0);
      throw new Error("through");
    }),
  ).toThrow("through");
  expect(files.makeDirectory(dir, "ours", 0o700)).toBe(0);
  expect(statSync(at("ours")).uid).toBe(0);
});
