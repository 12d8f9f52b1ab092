import { describe, expect, test } from "bun:test";
import type { Link } from "../../../src/graph/link.ts";
import type { Basis, Desired, Observed, PeerView } from "../../../src/reconcile/link-state.ts";
import { diff, type Step } from "../../../src/reconcile/plan.ts";

const LINK: Link = {
  key: "k",
  type: "unix",
  name: "raw",
  consumer: "app",
  consumerPid: 10,
  provider: "backend",
  providerPid: 20,
  role: "any",
  interface: "unix",
  target: "/run/raw.sock",
  socket: "/run/s.sock",
  uid: null,
};
const up = (pid: number): PeerView => ({ up: true, id: `${pid}:1`, pid, start: "1" });
const down = (reason: string): PeerView => ({ up: false, reason });

function want(change: Partial<Desired> = {}, link: Partial<Link> = {}): Desired {
  const desired = { consumer: up(10), provider: up(20), check: { ok: true, config: { n: 1 } } as const, ...change };
  const { consumer, provider } = desired;
  const pids = { consumerPid: consumer.up ? consumer.pid : -1, providerPid: provider.up ? provider.pid : -1 };
  return { ...desired, link: { ...LINK, ...pids, ...link } };
}
const BASIS: Basis = { link: LINK, consumerId: "10:1", providerId: "20:1", config: { n: 1 } };
const NOTHING: Observed = {
  key: "k",
  state: "pending",
  reason: null,
  busy: false,
  planted: undefined,
  failed: undefined,
};
const STANDS: Observed = { ...NOTHING, state: "established", planted: { ...BASIS, drift: null, degraded: null } };

function plan(wanted: Desired | undefined, have: Observed | undefined, now = 0): Step[] {
  return diff(new Map(wanted ? [["k", wanted]] : []), new Map(have ? [["k", have]] : []), now);
}
/** The steps as a person would read them. */
function told(wanted: Desired | undefined, have: Observed | undefined, now = 0): string[] {
  return plan(wanted, have, now).map((step) => {
    const leaves = step.do === "teardown" || step.do === "rest" ? step.leaves : undefined;
    const state = leaves === undefined ? "" : ` -> ${leaves === "forget" ? leaves : leaves.state}`;
    return `${step.do}${state}: ${step.why}`;
  });
}

describe("a link that is not there", () => {
  test("is established when both peers are up", () => {
    const [step] = plan(want(), undefined);
    expect(step).toEqual({ do: "establish", key: "k", why: "both peers are up", ...BASIS });
  });
  test("waits for its consumer, then for its provider, and says for whom", () => {
    expect(told(want({ consumer: down("no app"), provider: down("no backend") }), undefined)).toEqual([
      "rest -> pending: no app",
    ]);
    expect(told(want({ provider: down("no backend") }), undefined)).toEqual(["rest -> pending: no backend"]);
  });
  test("that waits already for the same reason is left alone", () => {
    expect(told(want({ provider: down("no backend") }), { ...NOTHING, reason: "no backend" })).toEqual([]);
    expect(told(want({ provider: down("other") }), { ...NOTHING, reason: "no backend" })).toEqual([
      "rest -> pending: other",
    ]);
  });
  test("and not allowed fails, with no retry", () => {
    const refused = want({ check: { ok: false, reason: "role x is not listed" } });
    expect(told(refused, undefined)).toEqual(["rest -> failed: role x is not listed"]);
    expect(told(refused, { ...NOTHING, state: "failed", reason: "role x is not listed" })).toEqual([]);
  });
  test("at which something is under way is left alone, wanted or not", () => {
    expect(told(want(), { ...NOTHING, busy: true })).toEqual([]);
    expect(told(undefined, { ...NOTHING, busy: true })).toEqual([]);
  });
});

describe("a link that failed", () => {
  const failed: Observed = { ...NOTHING, state: "failed", reason: "ELOOP", failed: { ...BASIS, retryAt: 500 } };
  test("waits for its time", () => {
    expect(told(want(), failed, 499)).toEqual([]);
    expect(told(want(), failed, 500)).toEqual(["establish: the wait after the last failure is over"]);
  });
  test.each<[string, Desired, string]>([
    ["consumer", want({ consumer: up(11) }), "the consumer is now pid 11"],
    ["provider", want({ provider: up(21) }), "the provider is now pid 21"],
    ["role", want({}, { role: "admin" }), 'role changed from "any" to "admin"'],
    ["configuration", want({ check: { ok: true, config: { n: 2 } } }), "the configuration changed"],
  ])("is tried at once with another %s", (_, desired, why) => {
    expect(told(desired, failed, 0)).toEqual([`establish: ${why}`]);
  });
  test("is pending without its provider, whatever failed before", () => {
    expect(told(want({ provider: down("gone") }), failed, 0)).toEqual(["rest -> pending: gone"]);
  });
});

describe("a link that stands", () => {
  test("as it should is left alone", () => {
    expect(told(want(), STANDS)).toEqual([]);
  });
  test("and was pending before is established", () => {
    expect(told(want(), { ...STANDS, state: "pending" })).toEqual(["rest -> established: all is in place"]);
  });
  test("is torn down when it leaves the graph, and forgotten when nothing stands", () => {
    expect(told(undefined, STANDS)).toEqual(["teardown -> forget: the link left the graph"]);
    expect(told(undefined, NOTHING)).toEqual(["forget: the link left the graph"]);
  });
  test("is torn down when its consumer exits, and when policy refuses it", () => {
    expect(told(want({ consumer: down("app exited") }), STANDS)).toEqual(["teardown -> pending: app exited"]);
    expect(told(want({ check: { ok: false, reason: "no" } }), STANDS)).toEqual(["teardown -> failed: no"]);
  });
  test.each<[string, Desired, string]>([
    ["consumer", want({ consumer: up(11) }), "the consumer is now pid 11"],
    [
      "consumer's process under the same pid",
      want({ consumer: { ...up(10), id: "10:2" } as PeerView }),
      "the consumer is now pid 10",
    ],
    ["role", want({}, { role: "admin" }), 'role changed from "any" to "admin"'],
    ["interface", want({}, { interface: "x" }), 'interface changed from "unix" to "x"'],
    ["socket", want({}, { socket: "/b" }), 'socket changed from "/run/s.sock" to "/b"'],
    ["provider's name", want({}, { provider: "b" }), 'provider changed from "backend" to "b"'],
    ["uid", want({}, { uid: 0 }), "uid changed from null to 0"],
  ])("is replaced with another %s", (_, desired, why) => {
    expect(told(desired, STANDS)).toEqual([`replace: ${why}`]);
  });
  test("is only updated with another provider process or another configuration", () => {
    expect(told(want({ provider: up(21) }), STANDS)).toEqual(["update: the provider is now pid 21"]);
    expect(told(want({ check: { ok: true, config: { n: 2 } } }), STANDS)).toEqual([
      "update: the configuration changed",
    ]);
  });
  test("loses its provider's pid first, then rests degraded, and stays planted", () => {
    const gone = want({ provider: down("backend exited") });
    expect(told(gone, STANDS)).toEqual(["update: the provider is not up"]);
    const updated = { ...STANDS, planted: { ...STANDS.planted!, link: gone.link, providerId: "" } };
    expect(told(gone, updated)).toEqual(["rest -> degraded: backend exited"]);
    expect(told(gone, { ...updated, state: "degraded", reason: "backend exited" })).toEqual([]);
    expect(told(want({ provider: up(21) }), updated)).toEqual(["update: the provider is now pid 21"]);
  });
  test("of a device is replaced with another provider, and left as it is without one", () => {
    const device = { type: "drm" } as const;
    const stands = { ...STANDS, planted: { ...STANDS.planted!, link: { ...LINK, ...device } } };
    expect(told(want({ provider: up(21) }, device), stands)).toEqual(["replace: the provider is now pid 21"]);
    expect(told(want({ provider: down("gone") }, device), stands)).toEqual(["rest -> degraded: gone"]);
  });
  test("is torn down when its type changes: the new one is another mediator's", () => {
    expect(told(want({}, { type: "rest" }), STANDS)).toEqual([
      "teardown -> pending: the type changed from unix to rest",
    ]);
  });
  test("that drifted is replaced, or torn down while it has no provider", () => {
    const drifted = { ...STANDS, planted: { ...STANDS.planted!, drift: "the socket is gone" } };
    expect(told(want(), drifted)).toEqual(["replace: the socket is gone"]);
    expect(told(want({ provider: down("no") }), drifted)).toEqual(["teardown -> pending: the socket is gone"]);
  });
  test("that can't be used is degraded, and established again when it can", () => {
    const degraded = { ...STANDS, planted: { ...STANDS.planted!, degraded: "ECONNREFUSED" } };
    expect(told(want(), degraded)).toEqual(["rest -> degraded: ECONNREFUSED"]);
    expect(told(want(), { ...STANDS, state: "degraded", reason: "ECONNREFUSED" })).toEqual([
      "rest -> established: all is in place",
    ]);
  });
});

describe("a plan for many links", () => {
  const many = 5000;
  const desired = new Map<string, Desired>();
  const observed = new Map<string, Observed>();
  for (let i = 0; i < many; i++) {
    const link = { ...LINK, key: `k${i}`, name: `n${i}`, target: `/run/${i}.sock` };
    const config = {
      provider: { pid: 20, path: "/run/s.sock", seqpacket: false },
      identity: "none",
      allow: [{ methods: ["GET"] }],
    };
    desired.set(link.key, { ...want(), link, check: { ok: true, config: structuredClone(config) } });
    observed.set(link.key, { ...STANDS, key: link.key, planted: { ...STANDS.planted!, link, config } });
  }
  const best = (run: () => void) => {
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 5; i++) {
      const start = performance.now();
      run();
      least = Math.min(least, performance.now() - start);
    }
    return least;
  };

  test("of 5,000 takes less than 50 ms, all new, all unchanged or all gone", () => {
    expect(diff(desired, new Map(), 0)).toHaveLength(many);
    expect(diff(desired, observed, 0)).toHaveLength(0);
    expect(best(() => diff(desired, new Map(), 0))).toBeLessThan(50);
    expect(best(() => diff(desired, observed, 0))).toBeLessThan(50);
    expect(best(() => diff(new Map(), observed, 0))).toBeLessThan(50);
  });
  test("removes before it plants", () => {
    const old = new Map([...observed].slice(0, 2));
    const fresh = new Map([...desired].slice(2, 4));
    expect(diff(fresh, old, 0).map((step) => step.do)).toEqual(["teardown", "teardown", "establish", "establish"]);
    const refused = { ...want({ check: { ok: false, reason: "no" } }), link: { ...LINK, key: "k1" } };
    const mixed = new Map([...fresh, ["k1", refused] as const]);
    expect(diff(mixed, new Map([...old].slice(1)), 0).map((step) => step.do)).toEqual([
      "teardown",
      "establish",
      "establish",
    ]);
  });
});
