/** The control half with a real data plane, a real journal and a fake compositor: identity over the compositor's lives. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import type { Link } from "../../../src/graph/link.ts";
import { linkKey } from "../../../src/graph/schema.ts";
import { Journal } from "../../../src/inject/journal.ts";
import type { SocketLinkServices } from "../../../src/mediators/socket-link.ts";
import { checkWayland, WaylandMediator, type WaylandPlanted } from "../../../src/mediators/wayland/mediator.ts";
import { CONTEXT_OFFERED_REPORT } from "../../../src/mediators/wayland/reports.ts";
import { PlaneClient, type SlotEvent } from "../../../src/relay/plane-client.ts";
import { type ContextMode, FakeCompositor, type FakeGlobal } from "../../support/fake-compositor.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { RawClient } from "../../support/wayland-client.ts";
import { until } from "../../support/wayland-socket.ts";

const WITHOUT: FakeGlobal[] = [
  [1, "wl_compositor", 5],
  [3, "wl_shm", 1],
];
const WITH: FakeGlobal[] = [...WITHOUT, [2, "wp_security_context_manager_v1", 1]];

let plane: PlaneClient;
let directory: string;
let journal: Journal;
let mediator: WaylandMediator;
let compositor: FakeCompositor | undefined;
let planted: WaylandPlanted | undefined;
const events: SlotEvent[] = [];
const changed: string[] = [];
const clients: RawClient[] = [];

const root = requireRealPart("root");
beforeAll(async () => {
  plane = new PlaneClient(new URL("../../../src/dataplane.ts", import.meta.url), 4096, {
    onLink: (_slot, event) => {
      events.push(event);
      if (event.event === "report" && planted !== undefined)
        mediator.reported(planted.link.key, event.kind, event.record);
    },
    onFatal: (error) => {
      throw error;
    },
  });
  await plane.ready();
});
beforeEach(() => {
  directory = mkdtempSync("/tmp/pvx-wayland-");
  mkdirSync(`${directory}/state`, { mode: 0o700 });
  journal = new Journal(`${directory}/state`, "boot");
  const said = () => [...events].reverse().find((e) => e.event === "provider");
  const services: SocketLinkServices = {
    plane: {
      open: (...args) => plane.open(...args),
      configure: (...args) => plane.configure(...args),
      replaceListener: (...args) => plane.replaceListener(...args),
      close: (slot) => plane.close(slot),
      provider: () => {
        const event = said();
        return event?.event === "provider" ? { reachable: event.reachable, reason: event.reason } : undefined;
      },
      trouble: () => null,
    },
    journal,
    log: { log: () => undefined } as unknown as SocketLinkServices["log"],
  };
  mediator = new WaylandMediator({ ...services, directory: `${directory}/state`, changed: (key) => changed.push(key) });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  if (planted !== undefined) await mediator.teardown(planted);
  planted = undefined;
  compositor?.stop();
  compositor = undefined;
  journal.close();
  events.length = 0;
  changed.length = 0;
  rmSync(directory, { recursive: true });
});
afterAll(() => {
  // The Worker ends with the process of the test.
});

const target = (): string => `${directory}/consumer/wayland-0`;
function link(): Link {
  const [consumer, name] = ["app", "wayland-0"];
  return {
    key: linkKey(consumer, name, target()),
    type: "wayland",
    name,
    consumer,
    consumerPid: 0,
    provider: "compositor",
    providerPid: 0,
    role: "any",
    interface: "wayland",
    target: target(),
    socket: `${directory}/compositor`,
    uid: null,
  } as Link;
}
function start(globals: FakeGlobal[], mode: ContextMode = "accept"): FakeCompositor {
  compositor = new FakeCompositor(`${directory}/compositor`, globals, mode);
  return compositor;
}
async function establish(previous?: WaylandPlanted): Promise<WaylandPlanted> {
  const check = checkWayland(link(), undefined);
  if (!check.ok) throw new Error(check.reason);
  planted = await mediator.establish(link(), check.config, previous);
  return planted;
}
function client(): RawClient {
  const raw = new RawClient(target());
  clients.push(raw);
  return raw;
}
const ok = () => until("the link is in order", () => mediator.verify(planted!).state === "ok");

describe.skipIf(!root)("a link to a compositor that takes identities", () => {
  test("dials every session through the socket with the link's identity", async () => {
    const fake = start(WITH);
    await establish();
    await ok();
    expect(fake.identities).toEqual([{ engine: "org.pantavisor", appId: "app", instanceId: link().key }]);
    for (let i = 0; i < 3; i++) {
      const { shown } = await client().globals();
      expect(shown).toEqual(["1 wl_compositor v5", "3 wl_shm v1"]);
    }
    const sessions = fake.clients.filter((c) => c.registries.length > 0).slice(1);
    expect(sessions.map((c) => c.identity?.appId)).toEqual(["app", "app", "app"]);
    expect(changed).toContain(link().key);
  });
  test("names what is hidden as news once, however many sessions tell it", async () => {
    start(WITH);
    const { key } = (await establish()).link;
    const says = (globals: string, action = "wayland.hide") => mediator.isRepeated(key, action, { globals });
    expect([says("a v1"), says("a v1"), says("a v1, b v1"), says("a v1, b v1", "wayland.bind")]).toEqual([
      false,
      true,
      false,
      false,
    ]);
    await establish(planted);
    expect(says("a v1, b v1")).toBe(true);
  });
  test("serves clients that connected before it was settled", async () => {
    await establish();
    const early = client();
    const globals = early.globals();
    expect(mediator.verify(planted!)).toMatchObject({ state: "degraded" });
    await Bun.sleep(100);
    const fake = start(WITH);
    expect((await globals).shown.length).toBe(2);
    expect(fake.clients.filter((c) => c.identity !== undefined).length).toBe(1);
  });
  test("attaches the identity again when the compositor has restarted", async () => {
    const first = start(WITH);
    await establish();
    await ok();
    await client().globals();
    first.stop();
    expect(mediator.verify(planted!).state).toBe("degraded");
    const second = start(WITH);
    await ok();
    await client().globals();
    expect(second.identities.length).toBe(1);
    expect(second.clients.at(-1)?.identity?.appId).toBe("app");
  });
  test("dials nobody when the compositor refuses the identity, and says so", async () => {
    const fake = start(WITH, "refuse");
    await establish();
    const raw = client();
    await raw.ended();
    expect(raw.errors).toEqual(["error 1 3 the compositor of this link can't be reached"]);
    expect(mediator.verify(planted!)).toEqual({
      state: "degraded",
      reason: "Cannot use the compositor: the compositor refused: invalid metadata (code 3)",
    });
    // Its own privileged connection was the only one.
    expect(fake.clients.length).toBe(1);
  });
  test("keeps the identity when the socket is planted anew", async () => {
    const fake = start(WITH);
    const before = await establish();
    await ok();
    await establish(before);
    await client().globals();
    expect(fake.identities.length).toBe(1);
    expect(fake.clients.at(-1)?.identity?.appId).toBe("app");
  });
  test("keeps the identity over a policy change, which the open session obeys", async () => {
    start(WITH);
    await establish();
    await ok();
    const raw = client();
    const { registry } = await raw.globals();
    const check = checkWayland(link(), undefined);
    if (!check.ok) throw new Error(check.reason);
    mediator.update(planted!, link(), { ...check.config, table: { rule: "new", globals: [["wl_shm", 1]] } });
    await until("wl_compositor is withdrawn", () =>
      raw.messages.some((m) => m.id === registry && m.opcode === 1 && m.body.readUInt32LE(0) === 1),
    );
    expect((await client().globals()).shown).toEqual(["3 wl_shm v1"]);
  });
  test("lets go of it when the link ends", async () => {
    const fake = start(WITH);
    await establish();
    await ok();
    await mediator.teardown(planted!);
    planted = undefined;
    await until("the compositor stops listening", () => fake.listeningContexts === 0);
    expect(existsSync(target())).toBe(false);
    expect(readdirSync(`${directory}/state`)).toEqual(["planted.ndjson"]);
  });
});

describe.skipIf(!root)("a link to a compositor without identities", () => {
  test("dials it directly", async () => {
    const fake = start(WITHOUT);
    await establish();
    await ok();
    expect((await client().globals()).shown.length).toBe(2);
    expect(fake.clients.every((c) => c.identity === undefined)).toBe(true);
  });
  test("refuses the first session and attaches the identity when the next compositor takes them", async () => {
    const first = start(WITHOUT);
    await establish();
    await ok();
    first.stop();
    const second = start(WITH);
    const raw = client();
    raw.send(Uint8Array.from([1, 0, 0, 0, 1, 0, 12, 0, 2, 0, 0, 0]));
    await raw.ended();
    expect(raw.errors).toEqual(["error 1 3 the identity of this connection is not attached yet"]);
    await until("it is reported", () => events.some((e) => e.event === "report" && e.kind === CONTEXT_OFFERED_REPORT));
    await until("the identity is attached", () => second.identities.length === 1);
    await ok();
    await client().globals();
    expect(second.clients.at(-1)?.identity?.appId).toBe("app");
  });
});

test.skipIf(!root)("links made and unmade leave no fd behind", async () => {
  const count = () => readdirSync("/proc/self/fd").length;
  const round = async () => {
    const fake = start(WITH);
    await establish();
    await ok();
    const raw = new RawClient(target());
    await raw.globals();
    const check = checkWayland(link(), undefined);
    if (check.ok) mediator.update(planted!, link(), check.config);
    await establish(planted);
    await ok();
    raw.close();
    await mediator.teardown(planted!);
    planted = undefined;
    fake.stop();
    compositor = undefined;
  };
  await round();
  await round();
  const before = count();
  for (let i = 0; i < 5; i++) await round();
  await until("the fds are back", () => count() <= before);
});
