/** What the device rules of each consumer's cgroup say of the machine's GPU nodes, and which driver libraries it has. */
import { readFileSync, readlinkSync } from "node:fs";
import { ProviderFiles } from "../devices/provider-files.ts";
import type { Link } from "../graph/link.ts";
import { deviceCgroupOf } from "../inject/device-cgroup.ts";
import { deviceRule } from "../inject/device-rule.ts";
import { ContainerRoot } from "../inject/root.ts";
import { ProcessHandle } from "../sys/process.ts";
import type { Check } from "./check.ts";
import type { GpuNode } from "./devices.ts";
import { driverChecks } from "./drivers.ts";

/** Consumers looked at; the rest are counted. */
const CONSUMERS_MAX = 100;

interface Consumer {
  readonly name: string;
  readonly pid: number;
  /** It has a link that plants devices. */
  readonly wantsDevices: boolean;
}

export function consumerChecks(links: readonly Link[], nodes: readonly GpuNode[], nvidia: string | undefined): Check[] {
  const consumers = consumersOf(links);
  const present = nodes.filter(
    (node) => node.present && (node.deviceClass === "card" || node.deviceClass === "render"),
  );
  const checks = consumers.slice(0, CONSUMERS_MAX).flatMap((consumer) => consumerCheck(consumer, present, nvidia));
  const more = consumers.length - CONSUMERS_MAX;
  return more <= 0 ? checks : [...checks, note("more", `${more} more consumers were not looked at`)];
}

function consumersOf(links: readonly Link[]): Consumer[] {
  const found = new Map<string, Consumer>();
  for (const { consumer: name, consumerPid: pid, type } of links) {
    if (pid === 0) continue;
    const wants = type === "drm" || type === "input" || found.get(name)?.wantsDevices === true;
    found.set(name, { name, pid, wantsDevices: wants });
  }
  return [...found.values()];
}

const note = (name: string, detail: string): Check => ({ area: "consumers", name, status: "note", detail });

function consumerCheck(
  { name, pid, wantsDevices }: Consumer,
  nodes: readonly GpuNode[],
  nvidia: string | undefined,
): Check[] {
  if (pid < 0) return [note(name, "is not up")];
  let handle: ProcessHandle;
  try {
    handle = new ProcessHandle(pid);
  } catch (error) {
    return [note(name, `pid ${pid} is not up: ${(error as Error).message}`)];
  }
  const root = ContainerRoot.of(handle, `consumer ${JSON.stringify(name)}`);
  try {
    const check = (status: Check["status"], detail: string): Check => ({ area: "consumers", name, status, detail });
    const kind = readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync("/proc/self/ns/user") ? "" : "user namespace; ";
    const [status, detail] = cgroupCheck(pid, nodes, wantsDevices);
    return [check(status, `pid ${pid}; ${kind}${detail}`), ...driverChecks(new ProviderFiles(root), name, nvidia)];
  } catch (error) {
    return [note(name, `pid ${pid} can't be looked at: ${(error as Error).message}`)];
  } finally {
    root.close();
    handle.close();
  }
}

const ALL_ALLOWED =
  "its cgroup allows every device: a node's presence is the gate, and a capable container can make nodes itself";

function cgroupCheck(pid: number, nodes: readonly GpuNode[], wantsDevices: boolean): [Check["status"], string] {
  const cgroup = deviceCgroupOf(pid);
  if (cgroup === undefined) return ["note", "no cgroup hierarchy with device rules is mounted here"];
  if (cgroup.version === 1 && /^a \*:\* rwm$/m.test(listOf(cgroup.directory))) return ["note", ALL_ALLOWED];
  const denied: string[] = [];
  const unknown: string[] = [];
  for (const { path, device } of nodes) {
    const rule = deviceRule(pid, path);
    const numbers = `${device.major}:${device.minor}`;
    if (!rule.known) unknown.push(rule.reason);
    else if (rule.denied !== "") denied.push(`${path} (${numbers}) ${rule.denied}`);
  }
  if (unknown.length > 0) return ["note", unknown[0]!];
  if (denied.length > 0)
    return [wantsDevices ? "warn" : "note", `its cgroup ${cgroup.path} denies ${denied.join(", ")}`];
  if (nodes.length === 0) return ["ok", `its cgroup is ${cgroup.path} (v${cgroup.version})`];
  // v2 rules are a program that can only be asked of one device at a time: these are all that we know to ask of.
  return ["ok", `its cgroup ${cgroup.path} allows ${nodes.map((node) => node.path).join(", ")}`];
}

function listOf(directory: string): string {
  try {
    return readFileSync(`${directory}/devices.list`, "latin1");
  } catch {
    return "";
  }
}
