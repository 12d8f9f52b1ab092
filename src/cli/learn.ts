/** `pv-xconnect learn`: the policy for what D-Bus links in learn mode have used. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as v from "valibot";
import { type Command, EXIT_OK, EXIT_RUNTIME } from "./command.ts";
import { setting } from "./settings.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect learn [--state-dir DIR]

Prints the smallest policy that allows what D-Bus links in learn mode have used since
the daemon started. A link learns with "learn": true in its role's policy, or with
"run --learn NAME" for a service. What is printed is a policy file: put it in the policy
directory in place of the role's entry, and the same use passes under enforcement.

  --state-dir DIR  where the daemon keeps its socket (default /run/pv-xconnect)
`;
/** A daemon on the same device answers in milliseconds; this is for one that is stuck. */
const ANSWER_MS = 5000;

const LearnedSchema = v.object({
  policy: v.looseObject({ services: v.record(v.string(), v.unknown()) }),
  /** More was used than is remembered. */
  full: v.boolean(),
});

async function ask(path: string): Promise<v.InferOutput<typeof LearnedSchema>> {
  let answer: unknown;
  try {
    const response = await fetch("http://localhost/learned", { unix: path, signal: AbortSignal.timeout(ANSWER_MS) });
    answer = await response.json();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot ask the daemon at ${path}: ${why}. Is it running?`);
  }
  const parsed = v.safeParse(LearnedSchema, answer);
  if (!parsed.success) throw new Error(`Cannot read the daemon's answer at ${path}: ${parsed.issues[0].message}`);
  return parsed.output;
}

export const command: Command = {
  name: "learn",
  summary: "the policy for what D-Bus links in learn mode have used",
  async run(argv, io) {
    const { values } = usage(() =>
      parseArgs({
        args: argv,
        options: { "state-dir": { type: "string" }, help: { type: "boolean", short: "h" } },
      }),
    );
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const stateDir = setting("state-dir", values, io.env);
    const { policy, full } = await ask(join(stateDir, "status.sock"));
    if (Object.keys(policy.services).length === 0) {
      io.err("Nothing was learned yet: no D-Bus link is in learn mode, or none was used.\n");
      return EXIT_RUNTIME;
    }
    io.out(`${JSON.stringify(policy, null, 2)}\n`);
    if (full) io.err("More was used than is remembered: the policy is not complete.\n");
    return EXIT_OK;
  },
};
