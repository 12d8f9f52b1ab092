/**
 * The D-Bus part of `check`: a bus's XML configuration as it lies in an unpacked root
 * file system (or on this host), with what it includes, held against the links of a graph.
 */
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { readRegular } from "../files/read-regular.ts";
import type { Link } from "../graph/link.ts";
import { type BusLink, checkBusPolicy } from "../policy/dbus/bus-check.ts";
import { rightsOf } from "../policy/dbus.ts";
import { roleOf } from "../policy/role.ts";
import type { ServicePolicy } from "../policy/schema.ts";
import { BUSCONFIG_MAX, type BusPolicy, parseBusConfig } from "../protocol/dbus/busconfig.ts";
import { accountByName, parseId } from "../protocol/passwd/passwd.ts";

/** Files of one bus with everything it includes: Debian's largest desktops have about a hundred. */
const FILES_MAX = 1000;
/** dbus-daemon refuses a file that includes itself; this is for longer rings. */
const DEPTH_MAX = 8;
const PASSWD_MAX = 1024 * 1024;

export interface LoadedBusConfig {
  readonly policies: readonly BusPolicy[];
  /** `file: what is wrong`: what could not be read or is no bus configuration. */
  readonly errors: readonly string[];
}

/** Reads the configuration at `path` of the root file system `root`; absolute includes stay in `root`. */
export function loadBusConfig(path: string, root = "/"): LoadedBusConfig {
  const policies: BusPolicy[] = [];
  const errors: string[] = [];
  let files = 0;
  const load = (file: string, depth: number, required: boolean): void => {
    if (++files > FILES_MAX || depth > DEPTH_MAX) {
      errors.push(`${file}: more than ${FILES_MAX} files, or included more than ${DEPTH_MAX} deep`);
      return;
    }
    const read = readRegular(join(root, file), BUSCONFIG_MAX);
    if (!read.ok) {
      if (required || read.code !== "ENOENT") errors.push(`${file}: ${read.reason}`);
      return;
    }
    const parsed = parseBusConfig(Buffer.from(read.bytes).toString("utf8"), file);
    if (!parsed.ok) {
      errors.push(parsed.error);
      return;
    }
    for (const part of parsed.parts) {
      if (part.kind === "policy") policies.push(part.policy);
      else {
        const target = part.path.startsWith("/") ? part.path : join(dirname(file), part.path);
        if (part.kind === "include") load(target, depth + 1, false);
        else for (const name of confFiles(join(root, target))) load(join(target, name), depth + 1, false);
      }
    }
  };
  load(path, 0, true);
  return { policies, errors };
}

function confFiles(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(".conf"))
      .sort();
  } catch {
    return []; // A directory that is not there has no files: dbus-daemon(1), <includedir>.
  }
}

/** What the bus needs to know of a D-Bus link. `passwd`: the provider's. */
export function busLinkOf(link: Link, policy: ServicePolicy | undefined, passwd: string): BusLink | undefined {
  const decision = policy === undefined ? undefined : roleOf(policy, link, "dbus");
  if (decision?.ok === false) return undefined;
  const entry = decision?.role;
  const rights = rightsOf(link, entry);
  if (!rights.ok) return undefined;
  const uid = link.uid ?? entry?.uid ?? parseId(link.role) ?? accountByName(passwd, link.role)?.uid;
  const { consumer, name, role } = link;
  return {
    consumer,
    name,
    role,
    interfaces: rights.rights.interfaces,
    own: entry?.own ?? [],
    user: { uid, name: role, groups: [] },
  };
}

/**
 * Errors and warnings on the bus configuration `path` in `root`: `file:line: what`, and what
 * the links' roles can't do there. `policyOf` gives a service's policy, if it has one.
 */
export function checkBus(
  path: string,
  root: string,
  links: readonly Link[],
  policyOf: (service: string) => ServicePolicy | undefined,
): { readonly errors: readonly string[]; readonly warnings: readonly string[] } {
  const { policies, errors } = loadBusConfig(path, root);
  if (policies.length === 0) return { errors, warnings: [] };
  const read = readRegular(join(root, "etc/passwd"), PASSWD_MAX);
  const passwd = read.ok ? Buffer.from(read.bytes).toString("latin1") : "";
  const buses = links
    .filter((link) => link.type === "dbus")
    .map((link) => busLinkOf(link, policyOf(link.name), passwd))
    .filter((link) => link !== undefined);
  return { errors, warnings: checkBusPolicy(policies, buses) };
}
