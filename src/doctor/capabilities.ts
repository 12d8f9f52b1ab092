/** The capabilities that the daemon's work takes (capabilities(7)). */
import { readFileSync } from "node:fs";
import type { Check } from "./check.ts";

/** Bit, name, and what can't be done without it. */
const NEEDED: readonly (readonly [number, string, string])[] = [
  [0, "CAP_CHOWN", "give planted objects their owner"],
  [1, "CAP_DAC_OVERRIDE", "plant in directories of other users"],
  [3, "CAP_FOWNER", "remove what was planted in sticky directories"],
  [6, "CAP_SETGID", "reach providers as another group (D-Bus, unix)"],
  [7, "CAP_SETUID", "reach providers as another user (D-Bus, unix)"],
  [18, "CAP_SYS_CHROOT", "enter mount namespaces"],
  [19, "CAP_SYS_PTRACE", "look into the roots of containers (/proc/PID/root)"],
  [21, "CAP_SYS_ADMIN", "enter namespaces and mount devices"],
  [27, "CAP_MKNOD", "plant devices"],
];

/** `status`: text of /proc/self/status, for tests. */
export function capabilityChecks(status = readFileSync("/proc/self/status", "latin1")): Check[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  const lacking = NEEDED.filter(([bit]) => (effective & (1n << BigInt(bit))) === 0n);
  if (lacking.length === 0)
    return [{ area: "capabilities", name: "effective", status: "ok", detail: "all that is needed" }];
  return lacking.map(([, name, use]) => ({
    area: "capabilities",
    name,
    status: "error",
    detail: `missing: can't ${use}`,
  }));
}
