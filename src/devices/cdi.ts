/**
 * The devices of all Container Device Interface files together. What a link takes of one
 * are its device nodes; the rest (hooks, environment, mounts…) edits a container before it
 * starts, which is over by then: named in `notApplicable`, never done. Pure.
 */
import { type CdiDeviceNode, type CdiEdits, parseCdi } from "./cdi-schema.ts";

/** SPEC.md of the CDI project; a device of the second directory hides one of the first. */
export const CDI_DIRECTORIES = ["/etc/cdi", "/var/run/cdi"] as const;
/**
 * Bytes that are read of all files of a provider together, which takes some 100 ms at each look, and most files
 * of one directory: a generated file of 100 GPUs has 200 KB.
 */
export const CDI_BYTES_MAX = 1024 * 1024;
export const CDI_FILES_MAX = 100;

export interface CdiFile {
  /** Full path. */
  readonly name: string;
  readonly text: string;
  /** Index of its directory: the higher one wins. */
  readonly priority: number;
}

export interface CdiDevice {
  /** `vendor.com/class=name` */
  readonly device: string;
  readonly file: string;
  readonly nodes: readonly CdiDeviceNode[];
  /** What else the file asks for: "3 hooks", "environment (2 variables)". */
  readonly notApplicable: readonly string[];
}

export interface CdiDevices {
  readonly devices: ReadonlyMap<string, CdiDevice>;
  /** Devices that two files of one directory both describe: neither counts. */
  readonly conflicts: ReadonlyMap<string, readonly string[]>;
  /** Files that are refused, and why. */
  readonly errors: readonly string[];
}

export function readCdi(files: readonly CdiFile[]): CdiDevices {
  const candidates = new Map<string, { found: CdiDevice; priority: number }[]>();
  const errors: string[] = [];
  for (const { name, text, priority } of files) {
    const parsed = parseCdi(text, name);
    if (!parsed.ok) {
      errors.push(...parsed.errors);
      continue;
    }
    const { spec } = parsed;
    for (const device of spec.devices) {
      const id = `${spec.kind}=${device.name}`;
      const edits = [spec.containerEdits, device.containerEdits].filter((e) => e !== undefined);
      const found = { device: id, file: name, nodes: nodesOf(edits), notApplicable: restOf(edits) };
      candidates.set(id, [...(candidates.get(id) ?? []), { found, priority }]);
    }
  }
  const devices = new Map<string, CdiDevice>();
  const conflicts = new Map<string, readonly string[]>();
  for (const [id, all] of candidates) {
    const best = Math.max(...all.map((c) => c.priority));
    const winners = all.filter((c) => c.priority === best);
    if (winners.length === 1) devices.set(id, winners[0]!.found);
    else
      conflicts.set(
        id,
        winners.map((c) => c.found.file),
      );
  }
  return { devices, conflicts, errors };
}

/** A device's own nodes replace the file's common ones of the same path. */
function nodesOf(edits: readonly CdiEdits[]): CdiDeviceNode[] {
  const byPath = new Map<string, CdiDeviceNode>();
  for (const node of edits.flatMap((e) => e.deviceNodes ?? [])) byPath.set(node.path, node);
  return [...byPath.values()];
}

function restOf(edits: readonly CdiEdits[]): string[] {
  const count = (of: (e: CdiEdits) => readonly unknown[] | undefined) =>
    edits.reduce((sum, e) => sum + (of(e)?.length ?? 0), 0);
  const named: [number, string][] = [
    [count((e) => e.env), "environment variables"],
    [count((e) => e.mounts), "mounts"],
    [count((e) => e.hooks), "hooks"],
    [count((e) => e.netDevices), "network devices"],
    [count((e) => e.additionalGids), "additional group ids"],
    [edits.filter((e) => e.intelRdt !== undefined).length, "intelRdt settings"],
  ];
  return named.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`);
}
