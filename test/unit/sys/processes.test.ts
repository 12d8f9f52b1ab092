/** Processes by pidfd, limits and signals; strings and errors on their way to and from the kernel. */
import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { checked, errnoName, SysError } from "../../../src/sys/errno.ts";
import { cold } from "../../../src/sys/koffi.ts";
import { cstring } from "../../../src/sys/memory.ts";
import {
  cgroupPathsOf,
  hostId,
  ProcessHandle,
  raiseFdLimit,
  readProc,
  rootIdsOf,
  startTimeOf,
} from "../../../src/sys/process.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { EBADF, EINVAL, ENOENT, ESRCH } from "./errors.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});
function child(): { pid: number; end: () => Promise<unknown> } {
  const sleeper = Bun.spawn(["sleep", "60"]);
  const end = async () => {
    sleeper.kill("SIGKILL");
    await sleeper.exited;
  };
  cleanups.push(end);
  return { pid: sleeper.pid, end };
}
/** Already reaped: nobody has this pid for now. */
const goneBy = (): number => Bun.spawnSync(["true"]).pid;

describe("a process", () => {
  test("is held from when it was alive, and seen to end", async () => {
    const { pid, end } = child();
    const handle = new ProcessHandle(pid);
    cleanups.push(() => handle.close());
    expect([handle.alive, handle.startTime]).toEqual([true, startTimeOf(pid)]);
    await end();
    expect(handle.alive).toBe(false);
    handle.close();
    handle.close();
    expect(handle.alive).toBe(false);
  });

  test("that is gone can't be held, and no fd is left of the attempt", () => {
    const gone = goneBy();
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 10; i++) expect(() => new ProcessHandle(gone)).toThrow("ESRCH");
    expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
    expect(pvx.pvx_pidfd_open(0)).toBe(-EINVAL);
    expect(pvx.pvx_pidfd_open(goneBy())).toBe(-ESRCH);
    expect(pvx.pvx_pidfd_signal(1_000_000, 0)).toBe(-EBADF);
  });

  test("gets its signals by pidfd", async () => {
    const { pid } = child();
    const pidfd = pvx.pvx_pidfd_open(pid);
    cleanups.push(() => pvx.pvx_close(pidfd));
    expect(pvx.pvx_pidfd_signal(pidfd, 0)).toBe(0);
    expect(pvx.pvx_pidfd_signal(pidfd, 999)).toBe(-EINVAL);
    expect(pvx.pvx_pidfd_signal(pidfd, 9)).toBe(0);
    expect(pvx.pvx_wait_readable(pidfd, 5_000)).toBe(1);
  });

  test("a name with a parenthesis does not move its start time", () => {
    const stat = readProc(`/proc/${process.pid}/stat`);
    expect(startTimeOf(process.pid)).toBe(stat.slice(stat.lastIndexOf(")")).split(" ")[20]!);
    expect(cgroupPathsOf(process.pid).every((path) => path.startsWith("/"))).toBe(true);
    expect(rootIdsOf(process.pid).uid).toBeGreaterThanOrEqual(0);
  });

  test("ids are translated by the map, and unmapped ones are nobody's", () => {
    const map = "         0     100000      65536\n     70000     300000          1\n";
    expect([0, 44, 65_535, 65_536, 70_000, 70_001].map((id) => hostId(map, id))).toEqual([
      100_000, 100_044, 165_535, 65_534, 300_000, 65_534,
    ]);
    expect(hostId("", 0)).toBe(65_534);
  });
});

describe("this process", () => {
  test("the limit of fds is raised as far as it goes, and told", () => {
    const limit = raiseFdLimit(4_096);
    expect(limit).toBeGreaterThan(0);
    const line = /Max open files\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    expect(Number(line)).toBe(limit);
  });

  test("its thread has a number, and its signals can be unblocked", () => {
    const tid = pvx.pvx_gettid();
    expect(readFileSync(`/proc/self/task/${tid}/comm`, "utf8").length).toBeGreaterThan(0);
    const blocked = () => /^SigBlk:\s(\w+)$/m.exec(readFileSync(`/proc/self/task/${tid}/status`, "utf8"))?.[1];
    expect(pvx.pvx_unblock_signals()).toBe(0);
    expect(blocked()).toBe("0000000000000000");
  });

  test("execve of what is not there returns", () => {
    expect(cold().execve("/none/such", ["x", null], [null])).toBe(-ENOENT);
  });
});

describe("errors and strings", () => {
  test("an errno is named, also one that node does not know, and both signs", () => {
    expect([2, -2, 40, 95, 116, 9_999].map(errnoName)).toEqual([
      "ENOENT",
      "ENOENT",
      "ELOOP",
      "ENOTSUP",
      "ESTALE",
      "errno 9999",
    ]);
  });

  test("a failed call says the whole call; a good one is not asked for its words", () => {
    const words = () => {
      throw new Error("asked");
    };
    expect(checked(7, words)).toBe(7);
    const error = new SysError('openat2("/run/nm", RESOLVE_IN_ROOT)', -40);
    expect([error.message, error.errno, error.code]).toEqual([
      'openat2("/run/nm", RESOLVE_IN_ROOT): ELOOP',
      40,
      "ELOOP",
    ]);
    expect(() => checked(-13, () => "mkdirat()")).toThrow("mkdirat(): EACCES");
  });

  test("a string that does not fit, or ends early, is refused and never cut", () => {
    expect(() => cstring("x".repeat(5_000))).toThrow(RangeError);
    expect(() => cstring("é".repeat(2_500))).toThrow(RangeError);
    expect(() => cstring("a\0b")).toThrow("NUL");
    expect(pvx.pvx_openat(-100, cstring(`/${"x/".repeat(2_047)}`), 0, 0)).toBe(-ENOENT);
  });
});
