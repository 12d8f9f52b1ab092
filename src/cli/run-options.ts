/** Flags of `run`: over `PV_XCONNECT_*` of the environment, over defaults. */
import { parseArgs } from "node:util";
import * as v from "valibot";
import { LOG_FORMATS, LOG_LEVELS } from "../observe/log.ts";
import { UsageError } from "./command.ts";
import { DEFAULTS, fromEnvironment } from "./settings.ts";
import { usage } from "./usage.ts";

/** A file path that the kernel takes. */
const Path = v.pipe(
  v.string(),
  v.minLength(1, "a path"),
  v.check((path) => !path.includes("\0"), "a path without NUL"),
);
/** sun_path (unix(7)) less "/status.sock": the status socket is bound by its path. */
const STATE_DIR_MAX = 107 - "/status.sock".length;
/** Seconds between polls: pv-ctrl has no events, and asking more often than ten times a second helps nobody. */
const INTERVAL_MIN = 0.1;
const INTERVAL_MAX = 3600;

const RunOptionsSchema = v.object({
  ctrl: v.optional(Path, DEFAULTS.ctrl),
  graph: v.optional(Path),
  policy: v.optional(Path, DEFAULTS.policy),
  "state-dir": v.optional(
    v.pipe(Path, v.maxBytes(STATE_DIR_MAX, `a path of at most ${STATE_DIR_MAX} bytes`)),
    DEFAULTS["state-dir"],
  ),
  interval: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d+(\.\d+)?$/, "a number of seconds"),
      v.transform(Number),
      v.minValue(INTERVAL_MIN, `at least ${INTERVAL_MIN} seconds`),
      v.maxValue(INTERVAL_MAX, `at most ${INTERVAL_MAX} seconds`),
    ),
    "5",
  ),
  "sysfs-root": v.optional(Path, DEFAULTS["sysfs-root"]),
  "log-format": v.optional(v.picklist(LOG_FORMATS, `one of ${LOG_FORMATS.join(", ")}`), "logfmt"),
  "log-level": v.optional(v.picklist(LOG_LEVELS, `one of ${LOG_LEVELS.join(", ")}`), "info"),
});
export type RunOptions = v.InferOutput<typeof RunOptionsSchema> & {
  readonly once: boolean;
  readonly json: boolean;
  readonly accessLog: boolean;
  /** D-Bus services whose links learn, whatever their policy says. */
  readonly learn: readonly string[];
  readonly help: boolean;
};

export const RUN_HELP = `Usage: pv-xconnect run [OPTIONS]

Connects the containers of the graph until it is told to stop.

  --ctrl PATH         Pantavisor's control socket (default /run/pantavisor/pv/pv-ctrl)
  --graph FILE        the graph from a file instead, read again when it changes
  --policy DIR        policy files (default /etc/pv-xconnect/policy.d)
  --state-dir DIR     lock, record of what was planted, status socket (default /run/pv-xconnect)
  --interval SECONDS  pause between polls (default 5)
  --sysfs-root DIR    where devices are described (default /sys)
  --log-format F      logfmt, json or kmsg (default logfmt)
  --log-level L       debug, info, warn or error (default info)
  --access-log        one log line for each REST request
  --learn NAME        let D-Bus links of service NAME do what policy would refuse and record
                      it for "pv-xconnect learn"; may be given several times
  --once              reconcile once, print the result, take everything down again;
                      exit 0 only if every link was established
  --json              with --once: print the result as JSON

Options up to --log-level can be given in the environment as well (PV_XCONNECT_STATE_DIR
and so on), and PV_XCONNECT_ACCESS_LOG=1. SIGHUP reads policy and graph again. SIGTERM
removes what was planted and exits.

Exit status 0, 1 where it could not run or go on, 2 for a wrong command line.
`;

/** Throws UsageError with the option's name, what was given and what was expected. */
export function parseRunOptions(argv: string[], env: Readonly<Record<string, string | undefined>>): RunOptions {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const { values } = usage(() =>
    parseArgs({
      args: argv,
      options: {
        ctrl: text,
        graph: text,
        policy: text,
        "state-dir": text,
        interval: text,
        "sysfs-root": text,
        "log-format": text,
        "log-level": text,
        once: flag,
        json: flag,
        "access-log": flag,
        learn: { type: "string", multiple: true },
        help: { ...flag, short: "h" },
      },
    }),
  );
  const given: Record<string, unknown> = {};
  for (const name of Object.keys(RunOptionsSchema.entries)) {
    const value = values[name as keyof typeof values] ?? fromEnvironment(name, env);
    if (value !== undefined) given[name] = value;
  }
  const parsed = v.safeParse(RunOptionsSchema, given);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    const name = String(issue.path?.[0]?.key ?? "");
    throw new UsageError(`Cannot use --${name} ${JSON.stringify(given[name])}: expected ${issue.message}`);
  }
  const accessLog = values["access-log"] === true || env["PV_XCONNECT_ACCESS_LOG"] === "1";
  return {
    ...parsed.output,
    once: values.once === true,
    json: values.json === true,
    accessLog,
    learn: values.learn ?? [],
    help: values.help === true,
  };
}
