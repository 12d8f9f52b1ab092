/** A process that is out of file descriptors, for as long as something is tried. */
import { closeSync, openSync, readFileSync } from "node:fs";

/** Runs `work`, synchronous, while every open of ours fails with EMFILE. Needs prlimit (util-linux). */
export function withoutFds<T>(work: () => T): T {
  const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))!;
  const limit = (now: string) => Bun.spawnSync(["prlimit", "--pid", `${process.pid}`, `--nofile=${now}:${hard}`]);
  limit("512");
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync("/dev/null", "r"));
  } catch {
    // EMFILE: that was all of them.
  }
  try {
    return work();
  } finally {
    for (const fd of taken) closeSync(fd);
    limit(soft!);
  }
}
