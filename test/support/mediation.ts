/**
 * All mediators under the real controller, as the daemon puts them together: real processes, planting, journal and
 * data plane; the graph and the policy are what a test says.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sysfs } from "../../src/devices/sysfs.ts";
import { Journal } from "../../src/inject/journal.ts";
import { dbusMediator } from "../../src/mediators/dbus/mediator.ts";
import { deviceMediators } from "../../src/mediators/drm/mediator.ts";
import { restMediator } from "../../src/mediators/rest/mediator.ts";
import { unixMediator } from "../../src/mediators/unix/mediator.ts";
import { WaylandMediator } from "../../src/mediators/wayland/mediator.ts";
import { mergePolicyFiles } from "../../src/policy/merge.ts";
import { NO_POLICY, type Policy, parsePolicyFile } from "../../src/policy/schema.ts";
import type { AnyMediator } from "../../src/reconcile/assess.ts";
import { Controller, type LinkStatus } from "../../src/reconcile/controller.ts";
import { ProcessWatch } from "../../src/reconcile/process-watch.ts";
import { systemClock } from "../../src/reconcile/system-clock.ts";
import { PlaneClient } from "../../src/relay/plane-client.ts";
import { ServedLinks } from "../../src/served-links.ts";
import { MemorySource } from "./memory-source.ts";

/** Generous: the machines of tests are slow and shared. */
const WAIT_MS = 10_000;

/** A data plane for all the tests of a file: it ends with the process. */
export class TestPlane {
  readonly served: ServedLinks;
  private readonly client: PlaneClient;
  /** Whom to tell what a link said. */
  user: Pick<Mediation, "controller" | "wayland"> | undefined;

  constructor() {
    this.client = new PlaneClient(new URL("../../src/dataplane.ts", import.meta.url), 4096, {
      onLink: (slot, event) => {
        const served = this.served.find(slot);
        if (served === undefined) return;
        if (event.event === "provider") served.provider = { reachable: event.reachable, reason: event.reason };
        if (event.event === "report") this.user?.wayland.reported(served.key, event.kind, event.record);
        this.user?.controller.recheck(served.key);
      },
      onFatal: (error) => {
        throw error;
      },
    });
    this.served = new ServedLinks(this.client);
  }
  ready(): Promise<void> {
    return this.client.ready();
  }
}

export class Mediation {
  readonly source = new MemorySource();
  /** The log: level and message. */
  readonly lines: string[] = [];
  readonly journal: Journal;
  readonly controller: Controller;
  readonly wayland: WaylandMediator;
  readonly mediators: ReadonlyMap<string, AnyMediator>;
  private readonly state = mkdtempSync(join(tmpdir(), "pvx-state-"));
  private readonly watch = new ProcessWatch();

  constructor(plane: TestPlane, sysfsRoot: string) {
    this.journal = new Journal(this.state, "boot");
    const log = { log: (level: string, _source: string, text: string) => void this.lines.push(`${level} ${text}`) };
    const changed = (key: string) => this.controller.recheck(key);
    const services = { plane: plane.served, journal: this.journal, log };
    this.wayland = new WaylandMediator({ ...services, directory: this.state, changed });
    const all = [
      unixMediator(services),
      restMediator(services, false),
      dbusMediator(services),
      this.wayland,
      ...deviceMediators({ journal: this.journal, log, changed, sysfs: new Sysfs(sysfsRoot) }),
    ];
    this.mediators = new Map(all.map((mediator) => [mediator.type, mediator as unknown as AnyMediator]));
    this.controller = new Controller({
      source: this.source,
      mediators: this.mediators,
      watch: this.watch,
      policy: NO_POLICY,
      clock: systemClock,
      random: () => 0,
      intervalMs: 100,
      log,
    });
    plane.user = this;
    this.controller.start();
  }

  /** A new graph, read at once. */
  graph(...entries: readonly object[]): void {
    this.source.setEntries(entries);
    this.controller.reload();
  }

  /** The services of the one policy file; undefined: none. */
  policy(services: unknown): void {
    let policy: Policy = NO_POLICY;
    if (services !== undefined) {
      const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services }), "test.json");
      if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
      policy = mergePolicyFiles([{ fileName: "test.json", parsed }], new Map()).policy;
    }
    this.controller.setPolicy(policy);
  }

  link(name: string): LinkStatus | undefined {
    return this.controller.status().find((link) => link.name === name);
  }

  /** Waits for a state of the named link; "gone": no link of that name. Gives the link's reason. */
  async until(name: string, state: LinkStatus["state"] | "gone"): Promise<string> {
    const end = performance.now() + WAIT_MS;
    for (;;) {
      const link = this.link(name);
      if ((link?.state ?? "gone") === state) return link?.reason ?? "";
      if (performance.now() > end)
        throw new Error(`${name} is not ${state} after ${WAIT_MS} ms but ${link?.state ?? "gone"}: ${link?.reason}`);
      await Bun.sleep(5);
    }
  }

  /** Everything down. True when it was done in time. */
  async stop(): Promise<boolean> {
    const done = await this.controller.stop(WAIT_MS);
    this.journal.close();
    rmSync(this.state, { recursive: true, force: true });
    return done;
  }
}
