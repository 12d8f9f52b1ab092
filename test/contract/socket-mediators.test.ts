/**
 * What every socket mediator owes the controller besides mediators.test.ts, whatever its protocol: slots of the
 * real data plane, and host-side peers.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Link } from "../../src/graph/link.ts";
import { linkKey } from "../../src/graph/schema.ts";
import { Journal } from "../../src/inject/journal.ts";
import { dbusMediator } from "../../src/mediators/dbus/mediator.ts";
import { restMediator } from "../../src/mediators/rest/mediator.ts";
import type {
  SocketLinkConfig,
  SocketLinkMediator,
  SocketLinkServices,
  SocketPlanted,
} from "../../src/mediators/socket-link.ts";
import { unixMediator } from "../../src/mediators/unix/mediator.ts";
import { WaylandMediator } from "../../src/mediators/wayland/mediator.ts";
import { FakeCompositor } from "../support/fake-compositor.ts";
import { TestPlane } from "../support/mediation.ts";
import { openFds, settledFds } from "../support/open-fds.ts";
import { requireRealPart } from "../support/real-parts.ts";

let folder = "";
/** A compositor for all: the other types' providers are not spoken to here. */
let provider: FakeCompositor;
let plane: TestPlane;
let services: SocketLinkServices;
const log = { log() {} };

type Any = SocketLinkMediator<SocketLinkConfig>;
const MEDIATORS = {
  unix: () => unixMediator(services) as unknown as Any,
  rest: () => restMediator(services, false) as unknown as Any,
  dbus: () => dbusMediator(services) as unknown as Any,
  wayland: () => new WaylandMediator({ ...services, directory: join(folder, "state"), changed() {} }) as unknown as Any,
};

const there = requireRealPart("root");
beforeAll(async () => {
  plane = new TestPlane();
  await plane.ready();
});

describe.skipIf(!there).each(Object.keys(MEDIATORS) as (keyof typeof MEDIATORS)[])("the %s mediator", (type) => {
  let mediator: Any;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "pvx-contract-"));
    provider = new FakeCompositor(join(folder, "provider.sock"), []);
    provider.closesEnded = true;
    mkdirSync(join(folder, "state"), { mode: 0o700 });
    services = { plane: plane.served, journal: new Journal(join(folder, "state"), "this-boot"), log };
    mediator = MEDIATORS[type]();
  });
  afterAll(() => {
    provider.stop();
    services.journal.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const linkTo = (target: string, over: Partial<Link> = {}): Link => ({
    key: linkKey("app", "service", target),
    type,
    name: "service",
    consumer: "app",
    consumerPid: 0,
    provider: "backend",
    providerPid: 0,
    role: "any",
    interface: type,
    target,
    socket: join(folder, "provider.sock"),
    uid: type === "dbus" ? 0 : null,
    ...over,
  });
  const establish = async (link: Link, previous?: SocketPlanted): Promise<SocketPlanted> => {
    const check = mediator.check(link, undefined);
    if (!check.ok) throw new Error(check.reason);
    return await mediator.establish(link, check.config, previous);
  };

  /** Soon in order: a compositor is asked first whether it takes identities. */
  const inOrder = async (planted: SocketPlanted): Promise<void> => {
    for (let tries = 0; tries < 100 && mediator.verify(planted).state !== "ok"; tries++) await Bun.sleep(20);
    expect(mediator.verify(planted)).toEqual({ state: "ok" });
  };

  test("is of its own type and allows a link that no policy speaks of", () => {
    expect(mediator.type).toBe(type);
    expect(mediator.check(linkTo("/x"), undefined)).toMatchObject({ ok: true });
  });

  test("plants a socket, finds it in place, and takes it away without a trace", async () => {
    const target = join(folder, "made", "for", "it.sock");
    // What the first use opens for good (the host's root, for one) is not this link's.
    await mediator.teardown(await establish(linkTo(join(folder, "first.sock"))));
    await Bun.sleep(50);
    const before = openFds();
    const planted = await establish(linkTo(target));
    expect(lstatSync(target).isSocket()).toBe(true);
    expect(lstatSync(target).mode & 0o777).toBe(0o666);
    await inOrder(planted);
    await mediator.teardown(planted);
    expect(existsSync(target)).toBe(false);
    await mediator.teardown(planted);
    expect(await settledFds(before)).toBeLessThanOrEqual(before);
  });

  test("tells of drift when its socket is gone, and plants again on the same slot", async () => {
    const target = join(folder, "drift.sock");
    const link = linkTo(target);
    const planted = await establish(link);
    unlinkSync(target);
    expect(mediator.verify(planted).state).toBe("drifted");
    const again = await establish(link, planted);
    expect(again.slot).toBe(planted.slot);
    await inOrder(again);
    await mediator.teardown(again);
    expect(existsSync(target)).toBe(false);
  });

  test("gives its slot back once, so that no two links ever share one", async () => {
    const first = await establish(linkTo(join(folder, "one.sock")));
    await mediator.teardown(first);
    await mediator.teardown(first);
    const links = await Promise.all(["two", "three"].map((name) => establish(linkTo(join(folder, `${name}.sock`)))));
    expect(links[0]!.slot).not.toBe(links[1]!.slot);
    for (const link of links) await mediator.teardown(link);
  });

  test("gives a link of another role another slot, and the target never blinks", async () => {
    const target = join(folder, "role.sock");
    const planted = await establish(linkTo(target));
    const again = await establish(linkTo(target, { interface: "org.example.Other" }), planted);
    expect(again.slot).not.toBe(planted.slot);
    expect(lstatSync(target).isSocket()).toBe(true);
    await mediator.teardown(again);
  });

  test.each(["a file", "a directory", "a link"])(
    "leaves %s at the target alone and leaves nothing behind",
    async (what) => {
      const place = mkdtempSync(join(folder, "foreign-"));
      const target = join(place, "x.sock");
      if (what === "a file") writeFileSync(target, "theirs");
      else if (what === "a directory") mkdirSync(target);
      else symlinkSync("/etc/passwd", target);
      const ino = lstatSync(target).ino;
      const before = openFds();
      await expect(establish(linkTo(target))).rejects.toThrow(`Cannot plant socket ${target} in the host: `);
      expect(lstatSync(target).ino).toBe(ino);
      expect(readdirSync(place)).toEqual(["x.sock"]);
      expect(await settledFds(before)).toBeLessThanOrEqual(before);
    },
  );

  test("says degraded while its provider is not there, and ok when it has come", async () => {
    const target = join(folder, "late.sock");
    const socket = join(folder, "late-provider.sock");
    const planted = await establish(linkTo(target, { socket }));
    expect(mediator.verify(planted)).toMatchObject({ state: "degraded" });
    const late = new FakeCompositor(socket, []);
    await inOrder(planted);
    late.stop();
    await mediator.teardown(planted);
  });
});
