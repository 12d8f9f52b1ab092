/** What the tests of device links share: the mediator with a journal and a log of its own, and links made short. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sysfs } from "../../../src/devices/sysfs.ts";
import type { Link } from "../../../src/graph/link.ts";
import { Journal } from "../../../src/inject/journal.ts";
import { type DeviceMediator, type DevicePlanted, deviceMediators } from "../../../src/mediators/drm/mediator.ts";
import { parsePolicyFile, type ServicePolicy } from "../../../src/policy/schema.ts";
import { startTimeOf } from "../../../src/sys/process.ts";
import type { Container } from "../../support/containers.ts";

export type Ends = {
  readonly provider?: Pick<Container, "name" | "pid">;
  readonly consumer: Pick<Container, "name" | "pid">;
};

/** A link of type drm, role any, to /dev/dri/card0, unless `fields` say otherwise. */
export function deviceLink({ provider, consumer }: Ends, fields: Partial<Link> = {}): Link {
  return {
    key: `${consumer.name} ${fields.name ?? "gpu"} ${fields.target ?? "/dev/dri/card0"}`,
    type: "drm",
    name: "gpu",
    consumer: consumer.name,
    consumerPid: consumer.pid,
    consumerStart: startTimeOf(consumer.pid),
    provider: provider?.name ?? "_pv_",
    providerPid: provider?.pid ?? 0,
    ...(provider === undefined ? {} : { providerStart: startTimeOf(provider.pid) }),
    role: "any",
    interface: "drm",
    target: "/dev/dri/card0",
    socket: "/dev/dri/card0",
    uid: null,
    ...fields,
  };
}

export class DeviceLinks {
  readonly lines: string[] = [];
  readonly state = mkdtempSync(join(tmpdir(), "pvx-state-"));
  readonly journal = new Journal(this.state, "boot");
  readonly drm: DeviceMediator;
  readonly input: DeviceMediator;
  private readonly standing = new Set<DevicePlanted>();
  private changed: (key: string) => void = () => {};

  constructor(sysfsRoot?: string) {
    const log = { log: (_level: string, _source: string, message: string) => void this.lines.push(message) };
    const [drm, input] = deviceMediators({
      journal: this.journal,
      log,
      changed: (key) => this.changed(key),
      ...(sysfsRoot === undefined ? {} : { sysfs: new Sysfs(sysfsRoot) }),
    });
    this.drm = drm!;
    this.input = input!;
  }

  private of(link: Link): DeviceMediator {
    return link.type === "input" ? this.input : this.drm;
  }

  /** As the controller does it: check, establish, verify. */
  async plant(link: Link, previous?: DevicePlanted, policy?: unknown): Promise<DevicePlanted> {
    const check = this.of(link).check(link, servicePolicy(link.name, policy));
    if (!check.ok) throw new Error(check.reason);
    const planted = await this.of(link).establish(link, check.config, previous);
    this.standing.add(planted);
    if (previous !== undefined) this.standing.delete(previous);
    return planted;
  }

  verify(planted: DevicePlanted) {
    return this.of(planted.link).verify(planted);
  }

  async remove(planted: DevicePlanted): Promise<void> {
    this.standing.delete(planted);
    await this.of(planted.link).teardown(planted);
  }

  /** The key of the next link whose devices are said to have changed. */
  nextChange(ms = 3000): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const timer = setTimeout(() => reject(new Error(`No change was told within ${ms} ms`)), ms);
    this.changed = (key) => {
      clearTimeout(timer);
      resolve(key);
    };
    return promise;
  }

  /** Removes what stands. */
  async clear(): Promise<void> {
    for (const planted of [...this.standing]) await this.remove(planted);
  }

  async down(): Promise<void> {
    await this.clear();
    this.journal.close();
    rmSync(this.state, { recursive: true });
  }
}

function servicePolicy(name: string, service: unknown): ServicePolicy | undefined {
  if (service === undefined) return undefined;
  const text = JSON.stringify({ "#spec": "xconnect-policy@1", services: { [name]: service } });
  const parsed = parsePolicyFile(text, "test.json");
  if (!parsed.ok) throw new Error(parsed.errors.join("\n"));
  return parsed.services.get(name);
}
