/** The identity at the compositor: the conversation of context-client.ts with a fake compositor over real sockets. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import {
  type Attachment,
  attachContext,
  detach,
  stillAttached,
} from "../../../src/mediators/wayland/context-client.ts";
import { createHandler } from "../../../src/mediators/wayland/handler.ts";
import { encodeMessage } from "../../../src/protocol/wayland/wire.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { type ContextMode, FakeCompositor, type FakeGlobal } from "../../support/fake-compositor.ts";
import { IDENTITY } from "../../support/memory-session.ts";
import { openFds } from "../../support/open-fds.ts";
import { APP_TABLE } from "../../support/wayland-session.ts";
import { until } from "../../support/wayland-socket.ts";

const WITH: FakeGlobal[] = [
  [1, "wl_compositor", 5],
  [2, "wp_security_context_manager_v1", 1],
  [3, "wl_shm", 1],
];
const WITHOUT: FakeGlobal[] = [[1, "wl_compositor", 5]];
const WHO = { appId: "app", instanceId: '["app","wayland-0","/run/wayland-0"]' };

let directory: string;
let compositor: FakeCompositor | undefined;
let attachments: Attachment[] = [];
beforeEach(() => {
  directory = mkdtempSync("/tmp/pvx-wayland-");
});
afterEach(() => {
  for (const attachment of attachments) detach(attachment);
  attachments = [];
  compositor?.stop();
  compositor = undefined;
  rmSync(directory, { recursive: true });
});

const path = (): string => `${directory}/compositor`;
const endpoint = () => ({ pid: 0, path: path(), seqpacket: false });
function start(globals: FakeGlobal[], mode: ContextMode = "accept"): FakeCompositor {
  compositor = new FakeCompositor(path(), globals, mode);
  return compositor;
}
async function attached(who = WHO): Promise<Attachment> {
  const outcome = await attachContext(endpoint(), who, directory);
  if (outcome.kind !== "attached") throw new Error(JSON.stringify(outcome));
  attachments.push(outcome.attachment);
  return outcome.attachment;
}
function dialThrough(attachment: Attachment) {
  const socket = pvx.pvx_dup(attachment.socket);
  const handler = createHandler(IDENTITY, {
    provider: endpoint(),
    table: APP_TABLE,
    context: { state: "attached", socket },
  });
  const dial = handler.dial({ pid: 1, uid: 0, gid: 0 });
  handler.close();
  return dial;
}

describe("a compositor that takes security contexts", () => {
  test("is told engine, consumer and link, and sessions dialled through the socket carry them", async () => {
    const fake = start(WITH);
    const attachment = await attached();
    expect(fake.identities).toEqual([{ engine: "org.pantavisor", appId: WHO.appId, instanceId: WHO.instanceId }]);
    const dial = dialThrough(attachment);
    expect(dial.ok).toBe(true);
    await until("the session arrives with the identity", () => fake.clients.some((c) => c.identity?.appId === "app"));
    if (dial.ok) pvx.pvx_close(dial.fd);
  });
  test("sees names that are not ASCII as they are", async () => {
    const fake = start(WITH);
    await attached({ appId: "küche/…", instanceId: "日本" });
    expect(fake.identities[0]).toMatchObject({ appId: "küche/…", instanceId: "日本" });
  });
  test("gets a socket that has no name in any directory", async () => {
    start(WITH);
    await attached();
    expect(readdirSync(directory)).toEqual(["compositor"]);
  });
  test("stops listening when the link lets go, and what it accepted lives on", async () => {
    const fake = start(WITH);
    const attachment = await attached();
    const dial = dialThrough(attachment);
    const session = await until("accepted", () => fake.clients.find((c) => c.identity !== undefined));
    expect(fake.listeningContexts).toBe(1);
    detach(attachments.pop()!);
    await until("the compositor stops listening", () => fake.listeningContexts === 0);
    expect(session.socket.ended).toBeUndefined();
    if (dial.ok) pvx.pvx_close(dial.fd);
  });
  test("that dies is noticed, and dials say to try again", async () => {
    const fake = start(WITH);
    const attachment = await attached();
    expect(stillAttached(attachment)).toBe(true);
    fake.stop();
    expect(stillAttached(attachment)).toBe(false);
    expect(dialThrough(attachment)).toMatchObject({ ok: false, retry: true });
  });
  test("keeps its privileged connection to itself: it is closed once the identity is attached", async () => {
    const fake = start(WITH);
    await attached();
    await until("closed", () => fake.clients[0]?.socket.ended === "closed");
  });
});

describe("fails closed", () => {
  test("when the compositor refuses the identity", async () => {
    start(WITH, "refuse");
    expect(await attachContext(endpoint(), WHO, directory)).toEqual({
      kind: "failed",
      reason: "the compositor refused: invalid metadata (code 3)",
    });
  });
  test("when it sends fds that nobody asked for", async () => {
    const fake = start(WITH);
    const made = attachContext(endpoint(), WHO, directory);
    const client = await until("connected", () => fake.clients[0]);
    client.send(encodeMessage(9, 9), [0]);
    expect(await made).toMatchObject({ kind: "failed" });
  });
  test("when a name is too long for the protocol", async () => {
    start(WITH);
    const outcome = await attachContext(endpoint(), { ...WHO, appId: "x".repeat(4096) }, directory);
    expect(outcome).toMatchObject({ kind: "failed" });
  });
  test("when it floods", async () => {
    const fake = start(WITHOUT);
    const made = attachContext(endpoint(), WHO, directory);
    const client = await until("connected", () => fake.clients[0]);
    client.socket.deaf = true;
    for (let i = 0; i < 20; i++) client.send(encodeMessage(9, 9, "x".repeat(60_000)));
    expect(await made).toMatchObject({ kind: "failed" });
  });
  test("when the directory for the socket's moment is not there", async () => {
    start(WITH);
    const outcome = await attachContext(endpoint(), WHO, `${directory}/missing`);
    expect(outcome).toMatchObject({ kind: "failed" });
    expect(outcome.kind === "failed" && outcome.reason).toContain("ENOENT");
  });
});

describe("waits", () => {
  test("when nobody listens yet", async () => {
    expect(await attachContext(endpoint(), WHO, directory)).toMatchObject({ kind: "unreachable" });
  });
  test.each(["silent", "hang-up"] as const)("when the compositor is %s in the middle", async (mode) => {
    start(WITH, mode);
    const began = performance.now();
    expect(await attachContext(endpoint(), WHO, directory)).toMatchObject({ kind: "unreachable" });
    expect(performance.now() - began).toBeLessThan(5000);
  });
});

test("a compositor without security contexts is dialled directly", async () => {
  start(WITHOUT);
  expect(await attachContext(endpoint(), WHO, directory)).toEqual({ kind: "absent" });
});

test("no outcome leaks an fd", async () => {
  const cases: [FakeGlobal[], ContextMode][] = [
    [WITH, "accept"],
    [WITH, "refuse"],
    [WITH, "hang-up"],
    [WITHOUT, "accept"],
  ];
  const round = async () => {
    for (const [globals, mode] of cases) {
      const fake = start(globals, mode);
      const outcome = await attachContext(endpoint(), WHO, directory);
      if (outcome.kind === "attached") detach(outcome.attachment);
      await attachContext({ ...endpoint(), path: "/nowhere" }, WHO, directory);
      fake.stop();
      compositor = undefined;
    }
  };
  await round();
  const before = openFds();
  await round();
  await round();
  expect(openFds()).toBe(before);
});
