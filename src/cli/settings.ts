/** What every command that can be told where something is reads alike: the flag, over `PV_XCONNECT_*`, over the default. */
import type { CommandIo } from "./command.ts";

/** Where things are when nobody says. */
export const DEFAULTS = {
  ctrl: "/run/pantavisor/pv/pv-ctrl",
  policy: "/etc/pv-xconnect/policy.d",
  "state-dir": "/run/pv-xconnect",
  "sysfs-root": "/sys",
} as const;

/** The variable of a flag (`state-dir`: PV_XCONNECT_STATE_DIR); undefined where it is unset, or empty, which is the same. */
export function fromEnvironment(flag: string, env: CommandIo["env"]): string | undefined {
  return env[`PV_XCONNECT_${flag.toUpperCase().replace(/-/g, "_")}`] || undefined;
}

/** `values`: the flags as given. */
export function setting<F extends keyof typeof DEFAULTS>(
  flag: F,
  values: { readonly [flag in F]?: string | undefined },
  env: CommandIo["env"],
): string {
  return values[flag] ?? fromEnvironment(flag, env) ?? DEFAULTS[flag];
}
