/**
 * Composition root of the control thread: graph and policy to the controller, the
 * controller to the mediators, mediators to the injection and the data plane; what
 * comes back to log, audit and status.
 */
import { join } from "node:path";
import type { RunOptions } from "./cli/run-options.ts";
import { VERSION } from "./cli/version.ts";
import { Sysfs } from "./devices/sysfs.ts";
import { FileSource } from "./graph/file-source.ts";
import { LINK_TYPES } from "./graph/link.ts";
import { PvCtrlSource } from "./graph/pv-ctrl-source.ts";
import { Journal } from "./inject/journal.ts";
import { recover, sweep } from "./inject/recover.ts";
import { LEARN_REPORT } from "./mediators/dbus/lessons.ts";
import { dbusMediator } from "./mediators/dbus/mediator.ts";
import { deviceMediators } from "./mediators/drm/mediator.ts";
import { restMediator } from "./mediators/rest/mediator.ts";
import type { SocketLinkServices } from "./mediators/socket-link.ts";
import { unixMediator } from "./mediators/unix/mediator.ts";
import { WaylandMediator } from "./mediators/wayland/mediator.ts";
import { AuditStream, askedInShort, auditFields } from "./observe/audit.ts";
import type { Log } from "./observe/log.ts";
import { renderMetrics } from "./observe/metrics.ts";
import { StatusServer } from "./observe/status-server.ts";
import { Learned, type Lesson, learnedPolicy } from "./policy/dbus/learn.ts";
import type { Policy } from "./policy/schema.ts";
import { PolicyDir } from "./policy-source/policy-dir.ts";
import type { AnyMediator, Mediators } from "./reconcile/assess.ts";
import { Controller } from "./reconcile/controller.ts";
import { LINK_STATES } from "./reconcile/link-state.ts";
import { ProcessWatch } from "./reconcile/process-watch.ts";
import { systemClock } from "./reconcile/system-clock.ts";
import { PlaneClient, type SlotEvent } from "./relay/plane-client.ts";
import { ServedLinks } from "./served-links.ts";
import { raiseFdLimit, readProc } from "./sys/process.ts";

/** RLIMIT_NOFILE wanted: two fds a session and room; more than any device needs. */
const FD_LIMIT = 65_536;
/** For everything to be taken down: within the second that a clean exit may take. */
const STOP_MS = 700;
/** Longest wait that a timer can hold (31 bits of milliseconds): the first graph may come whenever it likes. */
const FOR_EVER_MS = 2 ** 31 - 1;
/** `--once`: how long links may take to be established, or to fail. */
const ONCE_MS = 10_000;

export interface LinkReport {
  readonly consumer: string;
  readonly name: string;
  readonly target: string;
  readonly type: string;
  readonly role: string;
  readonly provider: string;
  readonly state: string;
  readonly reason: string | null;
  readonly retry_in_ms: number | null;
  readonly sessions: number;
  readonly bytes_in: number;
  readonly bytes_out: number;
  readonly fds: number;
  readonly denied: number;
  readonly since: string;
  /** Wayland: what the application has bound since the link was made, each with its highest version. */
  readonly bound?: readonly string[];
}

function mediatorsFor(
  services: SocketLinkServices,
  { accessLog, learn, "sysfs-root": sysfsRoot }: RunOptions,
  wayland: WaylandMediator,
  changed: (key: string) => void,
): Mediators {
  const { journal, log } = services;
  const devices = deviceMediators({ journal, log, changed, sysfs: new Sysfs(sysfsRoot) });
  const all = [
    dbusMediator(services, new Set(learn)),
    restMediator(services, accessLog),
    unixMediator(services),
    wayland,
    ...devices,
  ];
  return new Map(all.map((mediator) => [mediator.type, mediator as unknown as AnyMediator]));
}

export class Daemon {
  private readonly log: Log;
  private readonly audit = new AuditStream();
  private readonly learned = new Learned();
  private readonly policyDir: PolicyDir;
  private policy: Policy;
  private readonly journal: Journal;
  private readonly plane: PlaneClient;
  private readonly served: ServedLinks;
  private readonly controller: Controller;
  private readonly wayland: WaylandMediator;
  private readonly server: StatusServer;
  private readonly startedAt = Date.now();
  private stopping = false;
  private readonly options: RunOptions;

  /** The state directory is ours (locked). `fatal` is called when the daemon can't go on. */
  constructor(options: RunOptions, log: Log, fatal: (error: Error) => void) {
    this.log = log;
    this.options = options;
    const fdLimit = raiseFdLimit(FD_LIMIT);
    this.policyDir = new PolicyDir(options.policy);
    this.policy = this.loadPolicy();
    this.journal = new Journal(options["state-dir"], bootId());
    for (const { line, reason } of this.journal.troubles)
      log.log("warn", "inject", `Cannot use line ${line} of the record of planted objects: ${reason}`);
    this.recoverPlanted();
    this.plane = new PlaneClient(dataPlaneEntry(), fdLimit, {
      onLink: (slot, event) => this.onLink(slot, event),
      onFatal: fatal,
    });
    this.served = new ServedLinks(this.plane);
    const changed = (key: string) => this.controller.recheck(key);
    const services = { plane: this.served, journal: this.journal, log };
    this.wayland = new WaylandMediator({ ...services, directory: options["state-dir"], changed });
    this.controller = new Controller({
      source: options.graph === undefined ? new PvCtrlSource(options.ctrl) : new FileSource(options.graph),
      mediators: mediatorsFor(services, options, this.wayland, changed),
      watch: new ProcessWatch(),
      policy: this.policy,
      clock: systemClock,
      random: Math.random,
      intervalMs: options.interval * 1000,
      log,
    });
    this.server = new StatusServer(join(options["state-dir"], "status.sock"), {
      status: () => this.status(),
      metrics: () => this.metrics(),
      learned: () => ({
        policy: learnedPolicy(this.learned, (service, role) => this.roleOf(service, role)),
        full: this.learned.full,
      }),
      reload: () => this.reload(),
      audit: this.audit,
    });
  }

  async start(): Promise<void> {
    this.policyDir.onChange(() => this.reloadPolicy());
    await this.plane.ready();
    this.controller.start();
    void this.controller.settle(FOR_EVER_MS).then(() => this.sweepPlanted());
  }

  /** After a daemon that was killed: its temporary names go now, what it planted as soon as the graph says who is wanted. */
  private recoverPlanted(): void {
    const { forgotten, temporaries, standing, troubles } = recover(this.journal);
    for (const trouble of troubles) this.log.log("warn", "inject", trouble);
    if (forgotten + temporaries + standing.length > 0)
      this.log.log("info", "inject", "Taking over from a daemon that was killed", {
        still_planted: standing.length,
        temporary_names_removed: temporaries,
        gone_with_their_container: forgotten,
      });
  }

  /** What a link now serves has replaced its record: the rest is nobody's. */
  private sweepPlanted(): void {
    if (this.stopping) return;
    for (const trouble of sweep(this.journal, () => false)) this.log.log("warn", "inject", trouble);
  }

  /** Waits until what can be established is; false when that took too long or there was no graph. */
  settle(): Promise<boolean> {
    return this.controller.settle(ONCE_MS);
  }

  status() {
    const source = this.controller.sourceStatus();
    const warnings = [
      ...(source.trouble === null ? [] : [source.trouble]),
      ...this.policy.errors,
      ...this.learning().map((what) => `Policy is not enforced on ${what}: it is in learn mode`),
      ...source.skipped.map((skipped) => `Graph entry skipped: ${skipped.pointer}: ${skipped.reason}`),
    ];
    return {
      version: VERSION,
      pid: process.pid,
      source: source.source,
      started: new Date(this.startedAt).toISOString(),
      warnings,
      links: this.links(),
    };
  }

  links(): LinkReport[] {
    return this.controller.status().map(({ key, ...link }) => {
      const counters = this.served.counters(key);
      const bound = this.wayland.bound(key);
      return {
        ...link,
        ...(bound === undefined ? {} : { bound }),
        sessions: counters?.sessions ?? 0,
        bytes_in: counters?.bytes_in ?? 0,
        bytes_out: counters?.bytes_out ?? 0,
        fds: counters?.fds ?? 0,
        denied: counters?.denied ?? 0,
      };
    });
  }

  private metrics(): string {
    const source = this.controller.sourceStatus();
    const links = this.controller.status().map((link) => ({ ...link, counters: this.served.counters(link.key) }));
    return renderMetrics(links, {
      version: VERSION,
      startedAt: this.startedAt,
      sourceOk: source.seen && source.trouble === null,
      skipped: source.skipped.length,
      policyErrors: this.policy.errors.length,
      states: LINK_STATES,
      types: LINK_TYPES,
    });
  }

  /** SIGHUP and `POST /reload`. */
  async reload(): Promise<{ readonly policy_errors: readonly string[] }> {
    this.reloadPolicy();
    this.controller.reload();
    return { policy_errors: this.policy.errors };
  }

  private reloadPolicy(): void {
    this.policy = this.loadPolicy();
    this.controller.setPolicy(this.policy);
  }

  private loadPolicy(): Policy {
    const policy = this.policyDir.load();
    for (const error of policy.errors) this.log.log("error", "policy", `Cannot use policy as written: ${error}`);
    const { services, errors } = policy;
    const fields = { directory: this.policyDir.path, services: services.size, errors: errors.length };
    this.log.log("info", "policy", "Policy read", fields);
    return policy;
  }

  private onLink(slot: number, event: SlotEvent): void {
    const served = this.served.find(slot);
    if (served === undefined) return;
    const { consumer, name, target, type, role } = served.identity;
    const fields = { consumer, name, target };
    switch (event.event) {
      case "provider":
        served.provider = { reachable: event.reachable, reason: event.reason };
        this.controller.recheck(served.key);
        break;
      case "serving":
        served.trouble = event.trouble;
        this.controller.recheck(served.key);
        break;
      case "denied": {
        const { action, rule } = event.record;
        const asked = askedInShort(event.record.asked);
        const time = new Date().toISOString();
        this.audit.add({ time, link: fields, type, role, action, rule, asked, suppressed: event.suppressed });
        const level = this.wayland.isRepeated(served.key, action, asked) ? "debug" : "warn";
        this.log.log(level, "audit", `Denied ${action} by ${rule}`, auditFields({ ...fields, role }, asked));
        break;
      }
      case "log":
        this.log.log(event.level, "relay", event.message, fields);
        break;
      case "report":
        this.wayland.reported(served.key, event.kind, event.record);
        this.onReport(event.kind, event.record, fields, role);
        break;
    }
  }

  private onReport(
    kind: string,
    record: Readonly<Record<string, unknown>>,
    fields: { readonly consumer: string; readonly name: string; readonly target: string },
    role: string,
  ): void {
    if (kind === LEARN_REPORT) this.learned.add(fields.name, role, record as unknown as Lesson);
    if (kind === "access" && this.options.accessLog)
      this.log.log("info", "access", "request", {
        ...fields,
        ...(record as Record<string, string | number | boolean | null>),
      });
  }

  /** What does not enforce its policy now. */
  private learning(): string[] {
    const named = this.options.learn.map((name) => `service ${JSON.stringify(name)}`);
    for (const [service, policy] of this.policy.services)
      if (policy.type === "dbus")
        for (const [role, entry] of policy.roles)
          if (entry.learn === true) named.push(`role ${JSON.stringify(role)} of service ${JSON.stringify(service)}`);
    return named;
  }

  /** What policy says of a D-Bus role now, for what `learn` prints besides the lists. */
  private roleOf(service: string, role: string) {
    const policy = this.policy.services.get(service);
    return policy?.type === "dbus" ? policy.roles.get(role) : undefined;
  }

  /** Removes all that was planted. True when it was done in time. */
  async stop(): Promise<boolean> {
    this.stopping = true;
    this.policyDir.close();
    const done = await this.controller.stop(STOP_MS);
    this.server.close();
    this.journal.close();
    return done;
  }
}

/** The kernel's random id of this boot: what an earlier boot planted is gone with it. */
const bootId = (): string => readProc("/proc/sys/kernel/random/boot_id").trim();

/** The Worker's module: beside this one in the source, embedded under the same name in the binary. */
function dataPlaneEntry(): URL {
  return new URL("./dataplane.ts", import.meta.url);
}
