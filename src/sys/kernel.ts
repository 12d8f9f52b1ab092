/** The running kernel's version, for what can't be asked for in a better way. */
import { release } from "node:os";

/** Whether `text` (uname -r, such as "6.1.0-18-amd64") is at least `major.minor`. What can't be read is old. */
export function versionAtLeast(text: string, major: number, minor: number): boolean {
  const [, first, second] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  const is = Number(first ?? 0);
  return is > major || (is === major && Number(second ?? 0) >= minor);
}

export function kernelAtLeast(major: number, minor: number): boolean {
  return versionAtLeast(release(), major, minor);
}
