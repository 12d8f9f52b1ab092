import { beforeEach, describe, expect, test } from "bun:test";
import { mergePolicyFiles } from "../../../src/policy/merge.ts";
import { NO_POLICY, type Policy, parsePolicyFile } from "../../../src/policy/schema.ts";
import { Controller } from "../../../src/reconcile/controller.ts";
import { ESTABLISH_DEADLINE_MS, PARALLEL } from "../../../src/reconcile/operations.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { MemoryMediator } from "../../support/memory-mediator.ts";
import { MemoryPeers } from "../../support/memory-peers.ts";
import { entry, MemorySource } from "../../support/memory-source.ts";

let clock: FakeClock;
let source: MemorySource;
let watch: MemoryPeers;
let unix: MemoryMediator;
let logged: string[];
let controller: Controller;

beforeEach(() => {
  clock = new FakeClock();
  source = new MemorySource();
  watch = new MemoryPeers();
  unix = new MemoryMediator();
  logged = [];
  watch.run(10);
  watch.run(20);
});
function start(policy: Policy = NO_POLICY, mediators = [unix]): void {
  controller = new Controller({
    source,
    mediators: new Map(mediators.map((mediator) => [mediator.type, mediator])),
    watch,
    policy,
    clock,
    random: () => 0,
    intervalMs: 5000,
    log: { log: (level, src, message) => void (level !== "debug" && logged.push(`${level} ${src}: ${message}`)) },
  });
  controller.start();
}
/** The links as `consumer/name state: reason`. */
function states(): string[] {
  return controller
    .status()
    .map((link) => `${link.consumer}/${link.name} ${link.state}${link.reason === null ? "" : `: ${link.reason}`}`);
}
function policyOf(services: unknown): Policy {
  const parsed = parsePolicyFile(JSON.stringify({ "#spec": "xconnect-policy@1", services }), "p.json");
  return mergePolicyFiles([{ fileName: "p.json", parsed }], new Map()).policy;
}
const LINK = () => entry("app", 10, "backend", 20);

describe("the controller", () => {
  test("establishes what the graph names, and says so once", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    expect(states()).toEqual(["app/raw established"]);
    expect(unix.takeCalls()).toEqual(["establish app/raw"]);
    await clock.advance(60_000);
    expect(unix.takeCalls()).toEqual([]);
    expect(logged).toEqual(["info reconcile: Link established"]);
  });

  test("acts on a graph later that it could not act on at once", async () => {
    source.setEntries([LINK()]);
    const { nowTicks } = watch;
    watch.nowTicks = () => {
      throw new Error("open: EMFILE");
    };
    start();
    await clock.advance(0);
    expect(states()).toEqual([]);
    expect(logged).toEqual([expect.stringContaining("Cannot act on the graph: Error: open: EMFILE")]);
    watch.nowTicks = nowTicks;
    await clock.advance(5000);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("shows a link as establishing while it is being planted", async () => {
    const gate = Promise.withResolvers<void>();
    unix.gate = () => gate.promise;
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    expect(states()).toEqual(["app/raw establishing"]);
    gate.resolve();
    await clock.advance(0);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("keeps the last good graph through every failure, and logs each trouble once", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    source.fail("cut", "Cannot read the graph: cut");
    await clock.advance(60_000);
    source.fail("timeout", "Cannot read the graph: timeout");
    await clock.advance(60_000);
    expect(controller.sourceStatus()).toMatchObject({ trouble: "Cannot read the graph: timeout", seen: true });
    source.setEntries([LINK()]);
    await clock.advance(10_000);
    expect(unix.takeCalls()).toEqual(["establish app/raw"]);
    expect(logged).toEqual([
      "info reconcile: Link established",
      "warn graph: Cannot read the graph: cut",
      "warn graph: Cannot read the graph: timeout",
      "info graph: The graph is read again from memory",
    ]);
  });

  test("asks often for a source that is not there yet", async () => {
    start();
    await clock.advance(3);
    expect(source.asked).toBe(3);
    source.setEntries([LINK()]);
    await clock.advance(4);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("starts asking often again when the trouble changes, but not for ever", async () => {
    start();
    await clock.advance(1000);
    source.fail("not-ready", "State not loaded yet");
    const late = source.asked;
    await clock.advance(250 + 7);
    expect(source.asked - late).toBeGreaterThanOrEqual(4);
    for (let i = 0; i < 200; i++) {
      source.fail(i % 2 === 0 ? "absent" : "closed", `${i}`);
      await clock.advance(20);
    }
    const before = source.asked;
    await clock.advance(1000);
    expect(source.asked - before).toBeLessThanOrEqual(4);
  });

  test("asks once more after an answer that was on its way when something happened", async () => {
    const gate = Promise.withResolvers<void>();
    source.gate = () => gate.promise;
    source.setEntries([]);
    start();
    await clock.advance(0);
    source.changed?.();
    source.changed?.();
    await clock.advance(10);
    expect(source.asked).toBe(1);
    gate.resolve();
    await clock.advance(0);
    expect(source.asked).toBe(2);
    await clock.advance(1000);
    expect(source.asked).toBe(2);
  });

  test("takes down what leaves the graph, and an empty graph is a graph", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    source.setEntries([]);
    await clock.advance(5000);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "teardown app/raw"]);
    expect(states()).toEqual([]);
    expect(unix.standing.size).toBe(0);
  });

  test("asks at once when the source says that it changed", async () => {
    source.setEntries([]);
    start();
    await clock.advance(0);
    source.setEntries([LINK()]);
    source.changed?.();
    await clock.advance(0);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("logs each skipped entry once, and again when it comes back", async () => {
    source.setEntries([{ activatable: true }, LINK(), { ...LINK(), name: 5 }]);
    start();
    await clock.advance(20_000);
    const skips = () => logged.filter((line) => line.includes("skipped"));
    expect(skips()).toEqual([
      'info graph: Entry skipped: /0: has no type: an entry of another kind with the keys "activatable"',
      "warn graph: Entry skipped: /2/name: is 5, expected a name of 1 to 4096 characters without NUL",
    ]);
    source.setEntries([LINK()]);
    await clock.advance(5000);
    source.setEntries([{ activatable: true }, LINK()]);
    await clock.advance(5000);
    expect(skips()).toHaveLength(3);
  });
});

describe("a consumer", () => {
  test("that exits is taken down at once, its new pid is planted within 25 ms of being in the graph", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(3000);
    watch.kill(10);
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "teardown app/raw"]);
    expect(states()).toEqual(['app/raw pending: The consumer "app" is not up: pid 10 has exited']);
    // The dead pid lingers in the graph for seconds. Its exit is one line in the log.
    await clock.advance(4000);
    expect(logged.filter((line) => line.includes("pending"))).toHaveLength(1);
    expect(unix.takeCalls()).toEqual([]);
    watch.run(11);
    source.setEntries([entry("app", 11, "backend", 20)]);
    await clock.advance(25);
    expect(unix.takeCalls()).toEqual(["establish app/raw"]);
    expect([...unix.standing][0]?.link).toMatchObject({ consumerPid: 11, consumerStart: "1005" });
  });

  test("whose exit nobody noticed is replaced when the graph has its new pid", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    watch.run(11);
    source.setEntries([entry("app", 11, "backend", 20)]);
    await clock.advance(5000);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "replace app/raw"]);
    expect(unix.standing.size).toBe(1);
  });

  test("whose pid is a stranger's by now gets nothing planted", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    watch.kill(10);
    watch.run(10);
    await clock.advance(20_000);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "teardown app/raw"]);
    expect(states()[0]).toContain("another process by now");
  });

  test("that was a container never becomes the host", async () => {
    source.setEntries([entry("app", -1, "backend", 20)]);
    start();
    await clock.advance(0);
    source.setEntries([entry("app", 0, "backend", 20)]);
    await clock.advance(20_000);
    expect(unix.takeCalls()).toEqual([]);
    expect(states()).toEqual([
      'app/raw pending: The consumer "app" is not up: the graph gives pid 0, which is the host, for a container',
    ]);
  });

  test("is asked for more often as soon as somebody waits for it", async () => {
    unix.refuses = () => "no";
    source.setEntries([entry("app", -1, "backend", 20)]);
    start();
    await clock.advance(100);
    const before = source.asked;
    // Nobody waits for the peers of a link that is refused.
    await clock.advance(4000);
    expect(source.asked).toBe(before);
    unix.refuses = () => undefined;
    controller.setPolicy(NO_POLICY);
    await clock.advance(250);
    expect(source.asked).toBe(before + 1);
  });

  test("on the host from the start is served", async () => {
    source.setEntries([entry("app", 0, "_pv_", 0)]);
    start();
    await clock.advance(0);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("that was never up is asked for four times a second, for five minutes", async () => {
    source.setEntries([entry("app", -1, "backend", 20)]);
    start();
    await clock.advance(0);
    const before = source.asked;
    await clock.advance(10_000);
    expect(source.asked - before).toBe(40);
    await clock.advance(300_000);
    const later = source.asked;
    await clock.advance(10_000);
    expect(source.asked - later).toBe(2);
  });
});

describe("a provider", () => {
  test("that exits leaves the consumer's socket in place, degraded, without a pid to dial", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    watch.kill(20);
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "update app/raw"]);
    expect(states()[0]).toStartWith("app/raw degraded: The provider");
    expect([...unix.standing][0]?.config.providerPid).toBe(-1);
    await clock.advance(2000);
    watch.run(21);
    source.setEntries([entry("app", 10, "backend", 21)]);
    await clock.advance(25);
    expect(unix.takeCalls()).toEqual(["update app/raw"]);
    expect([...unix.standing][0]?.config.providerPid).toBe(21);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("that was a container never becomes the host", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    source.setEntries([entry("app", 10, "backend", 0)]);
    await clock.advance(5000);
    expect(states()).toEqual([
      'app/raw degraded: The provider "backend" is not up: the graph gives pid 0, which is the host, for a container',
    ]);
    expect([...unix.standing][0]?.config.providerPid).toBe(-1);
  });

  test("that is not up yet keeps the link pending", async () => {
    source.setEntries([entry("app", 10, "backend", -1)]);
    start();
    await clock.advance(1000);
    expect(states()).toEqual(['app/raw pending: The provider "backend" is not up']);
  });
});

describe("a link that can't be planted", () => {
  test("is tried again after 0.2, 0.4, 0.8 s, and logged once", async () => {
    unix.fails = () => "Cannot plant: ELOOP";
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    const times: number[] = [];
    for (let ms = 0; ms < 4000; ms += 20) {
      if (unix.takeCalls().length > 0) times.push(ms);
      await clock.advance(20);
    }
    expect(times).toEqual([0, 200, 600, 1400, 3000]);
    expect(states()).toEqual(["app/raw failed: Cannot plant: ELOOP"]);
    expect(controller.status()[0]?.retry_in_ms).toBe(2200);
    expect(logged).toEqual(["warn reconcile: Link failed: Cannot plant: ELOOP"]);
    unix.fails = () => undefined;
    await clock.advance(10_000);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("is tried at once when the graph or a peer changes, and its wait starts over", async () => {
    unix.fails = () => "no";
    source.setEntries([LINK()]);
    start();
    await clock.advance(7000);
    unix.takeCalls();
    source.setEntries([entry("app", 10, "backend", 20, { role: "admin" })]);
    source.changed?.();
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual(["establish app/raw"]);
    expect(controller.status()[0]?.retry_in_ms).toBe(200);
  });

  test("does not touch another", async () => {
    unix.fails = (link) => (link.consumer === "app" ? "no" : undefined);
    source.setEntries([LINK(), entry("other", 20, "backend", 20)]);
    start();
    await clock.advance(0);
    expect(states()).toEqual(["app/raw failed: no", "other/raw established"]);
  });

  test("and never ends is failed after its deadline, blocks only itself, and is taken when it ends after all", async () => {
    const gate = Promise.withResolvers<void>();
    unix.gate = (link) => (link.consumer === "app" ? gate.promise : Promise.resolve());
    source.setEntries([LINK(), entry("other", 20, "backend", 20)]);
    start();
    await clock.advance(ESTABLISH_DEADLINE_MS + 5000);
    expect(states()[0]).toStartWith("app/raw failed: Planting has not ended within 10 s");
    expect(states()[1]).toBe("other/raw established");
    expect(unix.takeCalls()).toHaveLength(2);
    gate.resolve();
    await clock.advance(0);
    expect(states()[0]).toBe("app/raw established");
  });

  test("and hangs, as many of them as may be worked on at once, lets the others through after the deadline", async () => {
    unix.gate = (link) => (link.consumer === "app" ? new Promise(() => {}) : Promise.resolve());
    const hanging = Array.from({ length: PARALLEL }, (_, i) =>
      entry("app", 10, "backend", 20, { target: `/run/${i}` }),
    );
    source.setEntries([...hanging, entry("other", 20, "backend", 20)]);
    start();
    await clock.advance(ESTABLISH_DEADLINE_MS - 1);
    expect(states().at(-1)).toBe("other/raw establishing");
    await clock.advance(1);
    expect(states().at(-1)).toBe("other/raw established");
  });

  test("in the place of one that leaves the graph waits for its removal", async () => {
    const gate = Promise.withResolvers<void>();
    unix.teardownGate = () => gate.promise;
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    source.setEntries([entry("app", 10, "backend", 20, { name: "renamed" })]);
    source.changed?.();
    await clock.advance(10);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "teardown app/raw"]);
    gate.resolve();
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual(["establish app/renamed"]);
    expect(states()).toEqual(["app/renamed established"]);
  });

  test("twice, with what stood before, leaves nothing of either", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.fails = () => "no";
    source.setEntries([entry("app", 10, "backend", 20, { role: "admin" })]);
    await clock.advance(5000);
    expect(unix.standing.size).toBe(0);
    expect(unix.takeCalls().slice(0, 3)).toEqual(["establish app/raw", "replace app/raw", "teardown app/raw"]);
    expect(states()).toEqual(["app/raw failed: no"]);
  });
});

describe("what stands", () => {
  test("and drifted is planted again at the next interval", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.verdict = (planted) => (planted.id === 1 ? { state: "drifted", reason: "it is gone" } : { state: "ok" });
    await clock.advance(5000);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "replace app/raw"]);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("and can't be used is degraded, at once when the data plane says so", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.verdict = () => ({ state: "degraded", reason: "ECONNREFUSED" });
    controller.recheck(controller.status()[0]!.key);
    expect(states()).toEqual(["app/raw degraded: ECONNREFUSED"]);
    unix.verdict = () => ({ state: "ok" });
    await clock.advance(5000);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("and whose mediator throws in verify is planted again, not the end of the daemon", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.verdict = (planted) => {
      if (planted.id === 1) throw new Error("EIO");
      return { state: "ok" };
    };
    await clock.advance(5000);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "replace app/raw"]);
  });
});

describe("policy", () => {
  test("that changes is applied to a standing link, without planting it anew", async () => {
    const any = { raw: { type: "unix", roles: { any: {} } } };
    source.setEntries([LINK()]);
    start(policyOf(any));
    await clock.advance(0);
    controller.setPolicy(policyOf({ raw: { type: "unix", identity: "greeting", roles: { any: {} } } }));
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "update app/raw"]);
    controller.setPolicy(policyOf({ raw: { type: "unix", identity: "greeting", roles: { any: {} } } }));
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual([]);
  });

  test("that refuses takes a standing link down, and gives it back when it allows again", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.refuses = () => "role any is not listed";
    controller.setPolicy(NO_POLICY);
    await clock.advance(20_000);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "teardown app/raw"]);
    expect(states()).toEqual(["app/raw failed: role any is not listed"]);
    expect(controller.status()[0]?.retry_in_ms).toBeNull();
    unix.refuses = () => undefined;
    controller.setPolicy(NO_POLICY);
    await clock.advance(0);
    expect(states()).toEqual(["app/raw established"]);
  });

  test("of a broken file without a good version refuses its services, and only those", async () => {
    source.setEntries([LINK(), entry("app", 10, "backend", 20, { name: "free", target: "/run/free" })]);
    start(policyOf({ raw: 5 }));
    await clock.advance(0);
    expect(states()).toEqual([
      'app/raw failed: Cannot tell what policy allows on service "raw": p.json: /services/raw: is 5, expected an object',
      "app/free established",
    ]);
  });

  test("whose update throws takes the link down rather than leaving it on the old terms", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.updateFails = "EPIPE";
    controller.setPolicy(policyOf({ raw: { type: "unix", roles: { any: {} } } }));
    await clock.advance(0);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "update app/raw", "teardown app/raw"]);
    expect(states()[0]).toStartWith("app/raw failed: Cannot change the configuration");
    await clock.advance(200);
    expect(states()).toEqual(["app/raw established"]);
  });
});

describe("many links", () => {
  test("are worked on so many at a time", async () => {
    const gates: (() => void)[] = [];
    unix.gate = () => new Promise((resolve) => gates.push(resolve));
    source.setEntries(Array.from({ length: 100 }, (_, i) => entry("app", 10, "backend", 20, { target: `/run/${i}` })));
    start();
    await clock.advance(0);
    expect(unix.atWork).toBe(PARALLEL);
    while (gates.length > 0) {
      for (const open of gates.splice(0)) open();
      await clock.advance(0);
    }
    expect(unix.mostAtWork).toBe(PARALLEL);
    expect(states().filter((state) => state.endsWith("established"))).toHaveLength(100);
  });

  test("that all fail, 5,000 of them, are retried without hurting the loop", async () => {
    unix.fails = () => "no";
    source.setEntries(Array.from({ length: 5000 }, (_, i) => entry("app", 10, "backend", 20, { target: `/run/${i}` })));
    const begin = performance.now();
    start();
    await clock.advance(10_000);
    expect(unix.calls.length).toBeGreaterThan(5 * 5000);
    expect(performance.now() - begin).toBeLessThan(5000);
  });
});

describe("the end", () => {
  test("takes everything down and asks no more", async () => {
    source.setEntries([LINK(), entry("other", 20, "backend", 20)]);
    start();
    await clock.advance(0);
    const stopping = controller.stop(1000);
    await clock.advance(0);
    expect(await stopping).toBe(true);
    expect(unix.standing.size).toBe(0);
    expect(watch.held).toBe(0);
    expect(source.closed).toBe(true);
    const asked = source.asked;
    await clock.advance(60_000);
    expect(source.asked).toBe(asked);
    expect(clock.armed).toBe(0);
  });

  test("also takes down what is still being planted", async () => {
    const gate = Promise.withResolvers<void>();
    unix.gate = () => gate.promise;
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    const stopping = controller.stop(1000);
    gate.resolve();
    await clock.advance(0);
    expect(await stopping).toBe(true);
    expect(unix.takeCalls()).toEqual(["establish app/raw", "teardown app/raw"]);
    expect(unix.standing.size).toBe(0);
  });

  test("waits no longer than it is told for a mediator that hangs", async () => {
    source.setEntries([LINK()]);
    start();
    await clock.advance(0);
    unix.teardownGate = () => new Promise(() => {});
    const stopping = controller.stop(700);
    await clock.advance(700);
    expect(await stopping).toBe(false);
  });
});

describe("once", () => {
  test("settles when the first graph has been worked through, whatever came of it", async () => {
    unix.fails = (link) => (link.consumer === "bad" ? "no" : undefined);
    start();
    const settling = controller.settle(10_000);
    await clock.advance(100);
    source.setEntries([LINK(), entry("bad", 20, "backend", 20), entry("late", -1, "backend", 20)]);
    await clock.advance(300);
    expect(await settling).toBe(true);
    expect(states()).toEqual([
      "app/raw established",
      "bad/raw failed: no",
      'late/raw pending: The consumer "late" is not up',
    ]);
  });

  test("gives up when there is no graph within its time", async () => {
    start();
    const settling = controller.settle(10_000);
    await clock.advance(10_000);
    expect(await settling).toBe(false);
    expect(controller.sourceStatus().trouble).toBe("no graph yet");
  });
});
