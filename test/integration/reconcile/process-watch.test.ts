import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { ProcessWatch } from "../../../src/reconcile/process-watch.ts";

const children: Bun.Subprocess[] = [];
function sleeper(): Bun.Subprocess {
  const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
  children.push(child);
  return child;
}
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});
const fds = () => readdirSync("/proc/self/fd").length;

describe("a process that is watched", () => {
  test("tells of its exit by itself, within milliseconds, once", async () => {
    const child = sleeper();
    const handle = new ProcessWatch().open(child.pid);
    let calls = 0;
    const exited = Promise.withResolvers<number>();
    handle.onExit(() => {
      calls++;
      exited.resolve(performance.now());
    });
    await Bun.sleep(30);
    expect(calls).toBe(0);
    expect(handle.alive).toBe(true);
    const killed = performance.now();
    child.kill("SIGKILL");
    const at = await Promise.race([exited.promise, Bun.sleep(1000).then(() => Number.POSITIVE_INFINITY)]);
    expect(at - killed).toBeLessThan(50);
    expect(handle.alive).toBe(false);
    await Bun.sleep(20);
    expect(calls).toBe(1);
    handle.close();
  });

  test("tells of an exit in the moment of the asking", async () => {
    const child = sleeper();
    const handle = new ProcessWatch().open(child.pid);
    child.kill("SIGKILL");
    await child.exited;
    const exited = Promise.withResolvers<boolean>();
    handle.onExit(() => exited.resolve(true));
    expect(await Promise.race([exited.promise, Bun.sleep(500).then(() => false)])).toBe(true);
    handle.close();
  });

  test("is silent after close", async () => {
    const child = sleeper();
    const handle = new ProcessWatch().open(child.pid);
    let calls = 0;
    handle.onExit(() => calls++);
    handle.close();
    child.kill("SIGKILL");
    await child.exited;
    await Bun.sleep(50);
    expect(calls).toBe(0);
  });

  test("costs no fd once it is closed, whichever came first, the exit or the close", async () => {
    const watch = new ProcessWatch();
    const kids = Array.from({ length: 40 }, sleeper);
    await Bun.sleep(50);
    const before = fds();
    const handles = kids.map((child) => watch.open(child.pid));
    for (const handle of handles) handle.onExit(() => {});
    expect(fds()).toBe(before + 80);
    for (const handle of handles.slice(0, 20)) handle.close();
    for (const child of kids.slice(20)) child.kill("SIGKILL");
    await Promise.all(kids.slice(20).map((child) => child.exited));
    await Bun.sleep(50);
    for (const handle of handles) handle.close();
    await Bun.sleep(20);
    // The killed children's own pidfds, held by Bun, are gone as well.
    expect(fds()).toBeLessThanOrEqual(before);
  });

  test("costs no processor time while it lives", async () => {
    const watch = new ProcessWatch();
    const handles = Array.from({ length: 20 }, () => watch.open(sleeper().pid));
    for (const handle of handles) handle.onExit(() => {});
    await Bun.sleep(50);
    const before = process.cpuUsage();
    await Bun.sleep(500);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(100);
    for (const handle of handles) handle.close();
  });

  test("has its cgroups and a start that is not after now", () => {
    const watch = new ProcessWatch();
    const handle = watch.open(sleeper().pid);
    expect(handle.cgroups.length).toBeGreaterThan(0);
    expect(handle.cgroups[0]).toStartWith("/");
    expect(watch.ownCgroups.length).toBe(handle.cgroups.length);
    const age = watch.nowTicks() - handle.startTicks;
    expect(age).toBeGreaterThanOrEqual(0);
    expect(age).toBeLessThan(200);
    handle.close();
  });

  test("can't be opened once it is gone, also while it is a zombie", async () => {
    const child = sleeper();
    child.kill("SIGKILL");
    await child.exited;
    expect(() => new ProcessWatch().open(child.pid)).toThrow(/ESRCH/);
    const parent = Bun.spawn(["sh", "-c", "sh -c 'exit 0' & echo $!; exec sleep 60"], { stdout: "pipe" });
    children.push(parent);
    const { value } = await parent.stdout.getReader().read();
    await Bun.sleep(100);
    const zombie = Number(new TextDecoder().decode(value));
    expect(await Bun.file(`/proc/${zombie}/stat`).text()).toContain(") Z ");
    expect(() => new ProcessWatch().open(zombie)).toThrow();
  });
});
