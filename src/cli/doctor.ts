/** `pv-xconnect doctor`: what will work on this machine, and what won't. Changes nothing. */
import { parseArgs } from "node:util";
import { Sysfs } from "../devices/sysfs.ts";
import { capabilityChecks } from "../doctor/capabilities.ts";
import type { Check, CheckStatus } from "../doctor/check.ts";
import { consumerChecks } from "../doctor/consumers.ts";
import { deviceChecks, gpuNodes } from "../doctor/devices.ts";
import { readNvidiaVersion } from "../doctor/drivers.ts";
import { kernelChecks } from "../doctor/kernel.ts";
import { surveyGraph } from "../doctor/pv-ctrl.ts";
import { FileSource } from "../graph/file-source.ts";
import { PvCtrlSource } from "../graph/pv-ctrl-source.ts";
import { type Command, EXIT_OK, EXIT_RUNTIME } from "./command.ts";
import { fromEnvironment, setting } from "./settings.ts";
import { usage } from "./usage.ts";

const HELP = `Usage: pv-xconnect doctor [--json] [--ctrl PATH | --graph FILE] [--sysfs-root DIR]

Looks at the kernel, the capabilities, pv-ctrl, the devices, and at each consumer of the
graph: what its cgroup allows and whether its GPU libraries fit the kernel's driver.
Changes nothing and opens no device.

  --json           the checks as JSON: {"ok", "checks": [{"area", "name", "status", "detail"}]}
  --ctrl PATH      Pantavisor's control socket (default /run/pantavisor/pv/pv-ctrl)
  --graph FILE     the graph from a file instead
  --sysfs-root DIR where devices are described (default /sys)

Exits with 1 when a check is an error.
`;
/** A person waits: shorter than the daemon's own patience with pv-ctrl. */
const CTRL_MS = 5000;

const MARKS: Readonly<Record<CheckStatus, readonly [text: string, colour: string]>> = {
  ok: ["ok   ", "32"],
  note: ["note ", "36"],
  warn: ["warn ", "33"],
  error: ["ERROR", "31"],
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;
/** Names of containers and files of theirs must not write to the terminal. */
const plain = (text: string): string => text.replace(CONTROL, "\uFFFD");

export function renderChecks(checks: readonly Check[], colour: boolean): string {
  let text = "";
  let area = "";
  for (const check of checks) {
    if (check.area !== area) text += `${text === "" ? "" : "\n"}${check.area}\n`;
    area = check.area;
    const [mark, code] = MARKS[check.status];
    const painted = colour ? `\u001b[${code}m${mark}\u001b[0m` : mark;
    text += `  ${painted} ${plain(check.name)}: ${plain(check.detail)}\n`;
  }
  return text;
}

export interface DoctorOptions {
  readonly ctrl: string;
  readonly graph: string | undefined;
  readonly sysfsRoot: string;
}

export async function examine({ ctrl, graph, sysfsRoot }: DoctorOptions): Promise<Check[]> {
  const source = graph === undefined ? new PvCtrlSource(ctrl, CTRL_MS) : new FileSource(graph);
  const sysfs = new Sysfs(sysfsRoot);
  const survey = await surveyGraph(source);
  source.close();
  const nodes = gpuNodes(sysfs);
  return [
    ...kernelChecks(),
    ...capabilityChecks(),
    ...survey.checks,
    ...deviceChecks(sysfs, nodes),
    ...consumerChecks(survey.links, nodes, readNvidiaVersion()),
  ];
}

export const command: Command = {
  name: "doctor",
  summary: "kernel, capabilities, pv-ctrl, devices, cgroup rules: what will work here",
  async run(argv, io) {
    const text = { type: "string" } as const;
    const flag = { type: "boolean" } as const;
    const options = { json: flag, ctrl: text, graph: text, "sysfs-root": text, help: { ...flag, short: "h" } } as const;
    const { values } = usage(() => parseArgs({ args: argv, options }));
    if (values.help) {
      io.out(HELP);
      return EXIT_OK;
    }
    const checks = await examine({
      ctrl: setting("ctrl", values, io.env),
      graph: values.graph ?? fromEnvironment("graph", io.env),
      sysfsRoot: setting("sysfs-root", values, io.env),
    });
    const ok = !checks.some((check) => check.status === "error");
    const colour = io.isTTY && (io.env["NO_COLOR"] ?? "") === "";
    io.out(values.json ? `${JSON.stringify({ ok, checks })}\n` : renderChecks(checks, colour));
    return ok ? EXIT_OK : EXIT_RUNTIME;
  },
};
