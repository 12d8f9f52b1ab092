/**
 * A real LXC container, as Pantavisor runs them: init in the cgroup /lxc/NAME, host network,
 * a busybox root on disk. About a second to make. Needs root and the packages lxc and busybox-static.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Container, insideOf, USERNS_BASE } from "./containers.ts";
import { nativeProgram } from "./native.ts";

export interface LxcOptions {
  readonly name: string;
  /** Ids shifted to USERNS_BASE (`lxc.idmap`). */
  readonly userns?: boolean;
  /** `lxc.cgroup.devices.deny = a`: every device is refused until `allowDevice`. */
  readonly denyDevices?: boolean;
  /** Further lines of the configuration. */
  readonly config?: readonly string[];
}

export interface LxcContainer extends Container {
  /** `lxc-cgroup devices.allow`, for example "c 226:0 rwm". */
  allowDevice(rule: string): void;
  /** Stops and starts it again: a new init, a new pid. */
  restart(): Promise<LxcContainer>;
}

function call(program: string, ...argv: readonly string[]): string {
  const done = spawnSync(program, argv, { encoding: "utf8", timeout: 60_000 });
  if (done.status !== 0)
    throw new Error(`Cannot run ${program} ${argv.join(" ")}: exit ${done.status}: ${done.stderr}${done.stdout}`);
  return done.stdout;
}

/** LXC refuses a cgroup that is there; one that a killed test left is empty by now, and one in use stays. */
function removeCgroups(name: string): void {
  spawnSync("sh", [
    "-c",
    `find /sys/fs/cgroup/*/lxc/"$1" /sys/fs/cgroup/*/lxc.monitor/"$1" -depth -type d -exec rmdir {} + 2>/dev/null`,
    "sh",
    name,
  ]);
}

/** Numbers each of the root's files up by the base, as `lxc.idmap` will number them down. */
function shiftOwners(root: string): void {
  call("find", root, "-xdev", "-exec", "chown", "-h", `${USERNS_BASE}:${USERNS_BASE}`, "{}", "+");
}

export async function startLxc(options: LxcOptions): Promise<LxcContainer> {
  const folder = mkdtempSync(join(tmpdir(), "pvx-lxc-"));
  try {
    return create(folder, options);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function create(folder: string, options: LxcOptions): LxcContainer {
  const { name } = options;
  const config = [
    // The host's network, as under Pantavisor; but sysfs wants a network namespace of the user namespace's own.
    `lxc.net.0.type = ${options.userns ? "empty" : "none"}`,
    "lxc.apparmor.profile = unconfined",
    // With `lxc.cgroup.dir` alone, LXC puts init one folder further down.
    `lxc.cgroup.dir.container = lxc/${name}`,
    `lxc.cgroup.dir.monitor = lxc.monitor/${name}`,
    "lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0", // As Pantavisor's containers have it.
    ...(options.denyDevices ? ["lxc.cgroup.devices.deny = a"] : []),
    ...(options.userns ? [`lxc.idmap = u 0 ${USERNS_BASE} 65536`, `lxc.idmap = g 0 ${USERNS_BASE} 65536`] : []),
    ...(options.config ?? []),
  ];
  const base = join(folder, "base.conf");
  // lxc-create itself would want newuidmap for an idmap: make it unmapped, then shift.
  writeFileSync(base, `${config.filter((line) => !line.startsWith("lxc.idmap")).join("\n")}\n`);
  call("lxc-create", "-P", folder, "-n", name, "-f", base, "-t", "busybox");
  const root = join(folder, name, "rootfs");
  // The template's own script runs udhcpc, which flushes every address of the interface: with the
  // host's network that is the machine's eth0.
  writeFileSync(join(root, "etc/init.d/rcS"), "#!/bin/sh\nmount -a\n");
  rmSync(join(root, "bin/udhcpc"), { force: true });
  mkdirSync(join(root, "bin"), { recursive: true });
  copyFileSync(nativeProgram("peer"), join(root, "bin/peer"));
  if (options.userns) {
    const own = join(folder, name, "config");
    const made = spawnSync("cat", [own], { encoding: "utf8" }).stdout;
    writeFileSync(own, `${made}${config.filter((line) => line.startsWith("lxc.idmap")).join("\n")}\n`);
    shiftOwners(root);
    call("chmod", "755", folder, join(folder, name));
  }
  return start(folder, options);
}

function start(folder: string, options: LxcOptions): LxcContainer {
  const { name } = options;
  const log = join(folder, "lxc.log");
  removeCgroups(name);
  try {
    call("lxc-start", "-P", folder, "-n", name, "-o", log, "-l", "INFO");
  } catch (error) {
    throw new Error(`${error}\n${readFileSync(log, "utf8").split("\n").slice(-25).join("\n")}`);
  }
  const pid = Number(call("lxc-info", "-P", folder, "-n", name, "-p", "-H").trim());
  let stopped = false;
  const halt = () => {
    if (stopped) return;
    stopped = true;
    call("lxc-stop", "-P", folder, "-n", name, "-k");
    removeCgroups(name);
  };
  return {
    name,
    pid,
    rootId: options.userns ? USERNS_BASE : 0,
    ...insideOf(pid),
    allowDevice: (rule) => void call("lxc-cgroup", "-P", folder, "-n", name, "devices.allow", rule),
    restart: async () => {
      halt();
      return start(folder, options);
    },
    stop: async () => {
      halt();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
