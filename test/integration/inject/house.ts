/** What the tests of this folder share: a consumer container to plant in, a host tree to guard, fds to count. */

import { spawnSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../../src/inject/journal.ts";
import { ContainerRoot } from "../../../src/inject/root.ts";
import { type PlantedSocket, type PlantRequest, plantSocket } from "../../../src/inject/socket.ts";
import { ProcessHandle } from "../../../src/sys/process.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { type Container, type ContainerOptions, startContainer } from "../../support/containers.ts";
import { ROOT } from "../../support/native.ts";

const built = new Map<string, string>();
/** A C program of this folder, built at the first use. */
export function builtProgram(name: "hostile" | "without"): string {
  const known = built.get(name);
  if (known !== undefined) return known;
  const path = join(ROOT, "build/test", name);
  mkdirSync(join(ROOT, "build/test"), { recursive: true });
  // Its own file first: two test files may build at once.
  const own = `${path}.${process.pid}`;
  const gcc = spawnSync("gcc", ["-O1", "-Wall", "-static", "-o", own, join(import.meta.dir, `${name}.c`)]);
  if (gcc.status !== 0) throw new Error(`Cannot build ${name}.c: ${gcc.stderr}`);
  renameSync(own, path);
  built.set(name, path);
  return path;
}
export const hostileProgram = (): string => builtProgram("hostile");

/** A container with `hostile` inside, its root as the daemon sees it, and a journal. */
export class House {
  readonly container: Container;
  readonly root: ContainerRoot;
  readonly journal: Journal;
  readonly state: string;
  private readonly handle: ProcessHandle;
  private readonly listening = new Set<number>();

  private constructor(container: Container, state: string) {
    this.container = container;
    this.state = state;
    this.handle = new ProcessHandle(container.pid);
    this.root = ContainerRoot.of(this.handle, `consumer "${container.name}"`);
    this.journal = new Journal(state, "boot");
  }

  static async build(options: ContainerOptions): Promise<House> {
    const copies = [...(options.copies ?? []), { from: hostileProgram(), to: "/bin/hostile" }];
    const container = await startContainer({ ...options, copies });
    return new House(container, mkdtempSync(join(tmpdir(), "pvx-state-")));
  }

  plant(target: string, more: Partial<PlantRequest> = {}): PlantedSocket {
    const planted = plantSocket({ root: this.root, target, seqpacket: false, journal: this.journal, ...more });
    this.listening.add(planted.listenFd);
    return planted;
  }

  /** The message that planting is refused with. */
  refusal(target: string, more: Partial<PlantRequest> = {}): string {
    try {
      this.plant(target, more);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error(`${target} was planted`);
  }

  closeListening(planted: PlantedSocket): void {
    if (this.listening.delete(planted.listenFd)) pvx.pvx_close(planted.listenFd);
  }

  /** Names below a directory of the container, as the host sees it. */
  names(path: string): string[] {
    return readdirSync(this.container.hostPath(path)).sort();
  }

  async down(): Promise<void> {
    for (const fd of this.listening) pvx.pvx_close(fd);
    this.listening.clear();
    this.journal.close();
    this.root.close();
    this.handle.close();
    await this.container.stop();
    rmSync(this.state, { recursive: true, force: true });
  }
}

/** A tree of the host that nobody may touch. */
export class Canary {
  readonly path = mkdtempSync(join(tmpdir(), "pvx-canary-"));
  private readonly before: string;
  constructor() {
    mkdirSync(join(this.path, "nm"));
    writeFileSync(join(this.path, "nm/precious"), "precious");
    this.before = treeOf(this.path);
  }
  /** "" when it is as it was, else what it is now. */
  changes(): string {
    const now = treeOf(this.path);
    return now === this.before ? "" : now;
  }
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Every name below `path` with its inode, mode, owner, times and contents, as text. */
export function treeOf(path: string): string {
  const stat = lstatSync(path, { bigint: true });
  const own = `${path} ${stat.ino} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeNs} ${stat.ctimeNs}`;
  if (stat.isSymbolicLink()) return `${own} -> ${readlinkSync(path)}\n`;
  if (stat.isFile()) return `${own} ${readFileSync(path, "utf8")}\n`;
  if (!stat.isDirectory()) return `${own}\n`;
  const below = readdirSync(path).sort();
  return `${own}\n${below.map((name) => treeOf(join(path, name))).join("")}`;
}
