/** Programs of system calls in a child with a deadline. What a FUSE server does to them: test/integration/inject. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_PATH, O_RDWR } from "../../../src/sys/flags.ts";
import {
  fd,
  guarded,
  inline,
  late,
  NR,
  output,
  require,
  result,
  resultPlace,
  type Step,
} from "../../../src/sys/guarded.ts";
import { Memory } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { EBADF, EMFILE, ENOTSUP, ETIMEDOUT } from "./errors.ts";

const arm = process.arch === "arm64";
const NR_GETPID = arm ? 172 : 39;
const NR_PAUSE_PPOLL = arm ? 73 : 271;
const openFds = () => readdirSync("/proc/self/fd").length;
let scratch = "";
let dir = -1;
const opened: number[] = [];
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "pvx-guarded-"));
  dir = openSync(scratch, O_PATH | O_DIRECTORY);
});
afterAll(() => {
  closeSync(dir);
  rmSync(scratch, { recursive: true });
});
afterEach(() => {
  for (const one of opened.splice(0)) pvx.pvx_close(one);
});

const getpid: Step = { call: "getpid()", nr: NR_GETPID, args: [] };
const open = (path: string, more: Partial<Step> = {}): Step => ({
  call: `openat(${path})`,
  nr: NR.openat,
  args: [AT_FDCWD, path, O_PATH | O_CLOEXEC, 0],
  ...more,
});
const hang: Step = { call: "ppoll(for ever)", nr: NR_PAUSE_PPOLL, args: [0, 0, 0, 0, 8] };

describe("a guarded program that is apart", () => {
  // A copy of this process's memory, which is a test runner's, takes a while on a busy machine.
  const apart = { apart: true, timeoutMs: 10_000 };
  const zeros: Step = { call: "read()", nr: NR.read, args: [result(0), new Uint8Array(8).fill(7), 8] };
  const zero: Step = { call: "openat(/dev/zero)", nr: NR.openat, args: [AT_FDCWD, "/dev/zero", O_CLOEXEC, 0] };

  test("shares no memory: its results come back, what it wrote does not", () => {
    const program = guarded([zero, zeros, getpid], apart);
    expect(program.results[1]).toBe(8);
    expect(program.results[2]).not.toBe(process.pid);
    expect([...program.output(1, 1, 8)]).toEqual(Array(8).fill(7));
    expect([...guarded([zero, zeros]).output(1, 1, 8)]).toEqual(Array(8).fill(0));
  });

  test("names the step that failed, ends at its deadline, and leaves nothing behind", () => {
    guarded([getpid], apart);
    const before = openFds();
    for (let i = 0; i < 20; i++) {
      expect(() => guarded([getpid, open("/nowhere"), getpid], apart)).toThrow("openat(/nowhere): ENOENT");
      expect(guarded([open("/nowhere", { mayFail: true }), getpid], apart).results[0]).toBe(-2);
    }
    expect(() => guarded([getpid, hang], { ...apart, timeoutMs: 30 })).toThrow("no answer within 30 ms");
    // Nothing of the killed one is taken for the next one's.
    expect(guarded([getpid, getpid], apart).results).toHaveLength(2);
    expect(openFds()).toBe(before);
  });

  test("has room for 32 steps", () => {
    expect(guarded(Array(32).fill(getpid), apart).results).toHaveLength(32);
    expect(() => guarded(Array(33).fill(getpid), apart)).toThrow("EINVAL");
    expect(guarded([getpid]).results).toHaveLength(1);
  });
});

describe("a guarded program", () => {
  test("runs in a process of its own, and gives each step's result", () => {
    const { results } = guarded([getpid, { ...getpid, call: "again" }]);
    expect(results[0]).toBe(results[1]!);
    expect(results[0]).not.toBe(process.pid);
  });

  test("passes strings, bytes, numbers, earlier results, and gives back what was written", () => {
    const text = Buffer.from("hello");
    const program = guarded([
      { call: "openat(f)", nr: NR.openat, args: [fd(dir), "f", O_RDWR | O_CREAT | O_CLOEXEC, 0o600] },
      { call: "write()", nr: NR.write, args: [result(0), text, text.length] },
      { call: "openat(f)", nr: NR.openat, args: [fd(dir), "f", O_RDWR | O_CLOEXEC, 0] },
      { call: "read()", nr: NR.read, args: [result(2), new Uint8Array(32), 32] },
    ]);
    expect(program.results.slice(1).filter((_, i) => i !== 1)).toEqual([5, 5]);
    expect(Buffer.from(program.output(3, 1, 5)).toString()).toBe("hello");
    expect(readFileSync(join(scratch, "f"), "utf8")).toBe("hello");
  });

  test("stops at the first failure and names that call; a step that may fail stops nothing, also as the last", () => {
    expect(() => guarded([getpid, open("/none"), { ...getpid, call: "never" }])).toThrow("openat(/none): ENOENT");
    const { results } = guarded([open("/none", { mayFail: true }), getpid, open("/none", { mayFail: true })]);
    expect([results[0], results[2]]).toEqual([-2, -2]);
    expect(results[1]).toBeGreaterThan(0);
  });

  test("changes umask, directory and identity of nobody else", () => {
    const umask = process.umask();
    guarded([
      { call: "umask()", nr: NR.umask, args: [0o777] },
      { call: "fchdir()", nr: NR.fchdir, args: [fd(dir)] },
      ...(process.getuid?.() === 0
        ? [{ call: "setresuid()", nr: NR.setresuid, args: [4_711, 4_711, 4_711] } satisfies Step]
        : []),
    ]);
    expect(process.umask()).toBe(umask);
    expect(readlinkSync("/proc/self/cwd")).not.toBe(scratch);
    expect(readFileSync("/proc/self/status", "utf8")).toMatch(new RegExp(`^Uid:\\s${process.getuid?.()}\\s`, "m"));
  });

  test("an fd that is handed back is ours and close-on-exec; all others end with the child", () => {
    const before = openFds();
    const { results } = guarded([open("/proc"), open(scratch, { handsBack: true }), open("/", { handsBack: true })]);
    opened.push(results[1]!, results[2]!);
    expect(openFds()).toBe(before + 2);
    expect([readlinkSync(`/proc/self/fd/${results[1]}`), readlinkSync(`/proc/self/fd/${results[2]}`)]).toEqual([
      scratch,
      "/",
    ]);
    expect(pvx.pvx_fcntl(results[1]!, 1, 0)).toBe(1);
  });

  test("what was opened before a failure is nobody's", () => {
    const before = openFds();
    for (let i = 0; i < 20; i++)
      expect(() => guarded([open("/", { handsBack: true }), open("/none")])).toThrow("ENOENT");
    expect(openFds()).toBe(before);
  });

  test("sees no fd of ours that it was not given", () => {
    const secret = openSync("/proc/self/status", "r");
    const read = (from: Step["args"][0]): Step => ({
      call: "read()",
      nr: NR.read,
      args: [from, new Uint8Array(8), 8],
      mayFail: true,
    });
    const { results } = guarded([read(secret), read(0), read(fd(secret))]);
    closeSync(secret);
    expect(results).toEqual([-EBADF, -EBADF, 8]);
  });

  test("knows the number that an fd of ours has inside", () => {
    const inside: number[] = [];
    const { results } = guarded([
      {
        call: "openat(/proc/self/fd/N)",
        nr: NR.openat,
        args: [
          AT_FDCWD,
          late(dir, (n) => {
            inside.push(n);
            return Buffer.from(`/proc/self/fd/${n}\0`);
          }),
          O_PATH | O_CLOEXEC,
          0,
        ],
        handsBack: true,
      },
    ]);
    opened.push(results[0]!);
    expect(inside.length).toBeGreaterThan(0);
    expect(readlinkSync(`/proc/self/fd/${results[0]}`)).toBe(scratch);
  });

  test("a deadline ends it, leaves no fd, and the next program runs", () => {
    const before = openFds();
    const started = performance.now();
    expect(() => guarded([open("/", { handsBack: true }), hang], { timeoutMs: 50 })).toThrow(
      "ppoll(for ever) (no answer within 50 ms): ETIMEDOUT",
    );
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(openFds()).toBe(before);
    expect(guarded([getpid]).results[0]).toBeGreaterThan(0);
  });

  test("a signal to the thread that waits is no deadline", async () => {
    let heard = 0;
    const hear = () => heard++;
    process.on("SIGUSR2", hear);
    const sender = Bun.spawn(["/bin/sh", "-c", `for i in 1 2 3 4 5; do sleep 0.03; kill -USR2 ${process.pid}; done`]);
    const nap: Step = {
      call: "ppoll(250 ms)",
      nr: NR_PAUSE_PPOLL,
      args: [0, 0, new Uint8Array(new BigInt64Array([0n, 250_000_000n]).buffer), 0, 8],
    };
    expect(guarded([nap], { timeoutMs: 5_000 }).results).toEqual([0]);
    await sender.exited;
    await Bun.sleep(10);
    process.off("SIGUSR2", hear);
    expect(heard).toBeGreaterThan(0);
  });

  test("leaves no child behind", () => {
    const children = () => readFileSync(`/proc/self/task/${pvx.pvx_gettid()}/children`, "utf8").trim();
    const before = children();
    for (let i = 0; i < 10; i++) guarded([getpid]);
    try {
      guarded([hang], { timeoutMs: 10 });
    } catch {
      // As the test before says.
    }
    expect(children()).toBe(before);
  });

  test("a full table of ours is told, and nothing is lost", () => {
    const before = openFds();
    const filler: number[] = [];
    for (let one = pvx.pvx_dup(0); one >= 0 && filler.length < 2_000_000; one = pvx.pvx_dup(0)) filler.push(one);
    let message = "";
    try {
      guarded([open("/", { handsBack: true })]);
    } catch (error) {
      message = (error as Error).message;
    }
    for (const one of filler) pvx.pvx_close(one);
    expect(message).toContain("EMFILE");
    expect(EMFILE).toBe(24);
    expect(openFds()).toBe(before);
    expect(guarded([getpid]).results[0]).toBeGreaterThan(0);
  });

  test("takes six fds of ours and no seventh, and no string with a NUL", () => {
    const seven = Array.from({ length: 7 }, () => pvx.pvx_eventfd());
    opened.push(...seven);
    const fcntl = (own: number): Step => ({ call: "fcntl(F_GETFD)", nr: arm ? 25 : 72, args: [fd(own), 1] });
    expect(guarded(seven.slice(0, 6).map(fcntl)).results).toEqual([1, 1, 1, 1, 1, 1]);
    expect(() => guarded(seven.map(fcntl))).toThrow("Cannot pass more than 6 fds");
    expect(() => guarded([open("/a\0b")])).toThrow("NUL");
  });
});

describe("a demand on what a step gave", () => {
  const stat: Step = { call: "fstatfs()", nr: NR.fstatfs, args: [fd(0), new Uint8Array(120)] };
  const magic = (value: number, differs: boolean): Step[] => [
    { ...stat, args: [fd(dir), new Uint8Array(120)] },
    require("the type of file system", output(0, 1, 0), 4, value, ENOTSUP, differs),
    getpid,
  ];

  test("ends the program with the errno it is given, unless it holds", () => {
    const real = new DataView(
      guarded([{ ...stat, args: [fd(dir), new Uint8Array(120)] }]).output(0, 1, 8).buffer,
    ).getUint32(0, true);
    expect(guarded(magic(real, false)).results.length).toBe(3);
    expect(() => guarded(magic(real, true))).toThrow("the type of file system: ENOTSUP");
    expect(() => guarded(magic(real ^ 1, false))).toThrow("ENOTSUP");
    expect(guarded(magic(real ^ 1, true)).results.length).toBe(3);
  });

  test("can be made of a result, in four bytes and in eight", () => {
    const umask: Step = { call: "umask()", nr: NR.umask, args: [0o022] };
    const demand = (width: 4 | 8, value: number | bigint) => [
      umask,
      { ...umask, call: "umask again" },
      require("the umask", resultPlace(1), width, value, ENOTSUP),
    ];
    expect(guarded(demand(8, 0o022n)).results[1]).toBe(0o022);
    expect(guarded(demand(4, 0o022)).results[1]).toBe(0o022);
    expect(() => guarded(demand(8, 0o023n))).toThrow("the umask: ENOTSUP");
  });
});

describe("the same steps inline", () => {
  test("run in this process, and leave its umask, its directory and its fds as they were", () => {
    const [umask, cwd, before] = [process.umask(), process.cwd(), openFds()];
    const { results } = inline([
      getpid,
      { call: "umask()", nr: NR.umask, args: [0] },
      open("/"),
      { call: "fchdir()", nr: NR.fchdir, args: [fd(dir)] },
      { call: "mkdirat()", nr: NR.mkdirat, args: [AT_FDCWD, "made", 0o777] },
      open(scratch, { handsBack: true }),
    ]);
    opened.push(results[5]!);
    expect(results[0]).toBe(process.pid);
    expect([process.umask(), process.cwd(), openFds()]).toEqual([umask, cwd, before + 1]);
    expect(statSync(join(scratch, "made")).mode & 0o777).toBe(0o777);
  });

  test("a failure closes what was opened, and only that", () => {
    const before = openFds();
    expect(() => inline([open("/", { handsBack: true }), open("/none"), open("/proc")])).toThrow(
      "openat(/none): ENOENT",
    );
    expect(openFds()).toBe(before);
    const closing: Step = { call: "close()", nr: NR.close, args: [result(0)] };
    inline([open("/"), closing]);
    expect(openFds()).toBe(before);
  });

  test("refuse to change who we are", () => {
    expect(() => inline([{ call: "setresuid()", nr: NR.setresuid, args: [1, 1, 1] }])).toThrow(
      "Cannot run setresuid() without a process of its own",
    );
  });
});

test("memory for the kernel keeps its address and its bytes", () => {
  const memory = new Memory(64);
  const { address } = memory;
  memory.bytes.fill(7);
  expect([memory.length, memory.buffer.byteLength, memory.address]).toEqual([64, 64, address]);
  expect(ETIMEDOUT).toBe(110);
});
