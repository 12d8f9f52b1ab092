/** A served Wayland link for integration tests: a real data plane as a process of its own. */
import { join } from "node:path";
import type { WaylandConfig } from "../../src/mediators/wayland/handler.ts";
import { parsePolicyFile, type ServicePolicy } from "../../src/policy/schema.ts";
import { waylandAccess } from "../../src/policy/wayland.ts";
import type { ServeOptions } from "./link-serve.ts";
import { IDENTITY } from "./memory-session.ts";
import { Program } from "./program.ts";

const NAME = "wayland-0";

/** What a role's entry in the policy comes to. `undefined`: no policy. */
export function tableOf(role: unknown): WaylandConfig["table"] {
  let policy: ServicePolicy | undefined;
  if (role !== undefined) {
    const services = { [NAME]: { type: "wayland", roles: { any: role } } };
    const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services }), "test.json");
    if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
    policy = parsed.services.get(NAME);
  }
  const decision = waylandAccess({ name: NAME, role: "any", consumer: "app" }, policy);
  if (!decision.ok) throw new Error(decision.reason);
  return decision.table;
}

export class ServedLink {
  readonly program: Program;
  readonly path: string;
  private readonly provider: WaylandConfig["provider"];

  private constructor(program: Program, path: string, provider: WaylandConfig["provider"]) {
    this.program = program;
    this.path = path;
    this.provider = provider;
  }

  /** Serves `compositor` (a path) at `<directory>/<name>`. */
  static async start(directory: string, name: string, compositor: string, role?: unknown): Promise<ServedLink> {
    const provider = { pid: 0, path: compositor, seqpacket: false };
    const config: WaylandConfig = { provider, table: tableOf(role), context: { state: "absent" } };
    const options: ServeOptions = { directory, name, link: { ...IDENTITY, type: "wayland", name: NAME }, config };
    const serve = join(import.meta.dir, "link-serve.ts");
    const program = new Program([process.execPath, serve, JSON.stringify(options)]);
    await program.event("serving");
    return new ServedLink(program, join(directory, name), provider);
  }

  /** A policy change on the open link. */
  policy(role: unknown): void {
    const config: WaylandConfig = { provider: this.provider, table: tableOf(role), context: { state: "absent" } };
    this.program.write(`${JSON.stringify(config)}\n`);
  }
  async counters(): Promise<Record<string, number>> {
    const seen = this.program.events("counters").length;
    this.program.write("counters\n");
    for (;;) {
      const all = this.program.events<{ counters: Record<string, number> }>("counters");
      if (all.length > seen) return all[seen]!.counters;
      await Bun.sleep(2);
    }
  }
  stop(): Promise<number> {
    return this.program.stop();
  }
}
