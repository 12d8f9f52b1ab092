import { describe, expect, test } from "bun:test";
import { disbelief } from "../../../src/reconcile/belief.ts";
import { MAX_PEERS, Peers } from "../../../src/reconcile/peers.ts";
import { MemoryPeers } from "../../support/memory-peers.ts";

describe("a process is the container", () => {
  const doubt = (name: string, cgroups: string[], own = ["/"], startTicks = 5, namedAt = 10) =>
    disbelief(name, { pid: 7, startTicks, cgroups }, own, namedAt);

  test.each([
    ["app", ["/lxc/app"]],
    ["app", ["/lxc/app-1"]],
    ["app", ["/lxc/app-12/init.scope/x"]],
    ["app", ["/docker/0123/lxc/app"]],
    ["app", ["/a", "/lxc/app", "/"]],
    ["app-1", ["/lxc/app-1"]],
    ["app", ["/lxc/app/lxc/other"]],
  ])("%p with the cgroups %j", (name, cgroups) => {
    expect(doubt(name, cgroups)).toBeUndefined();
  });
  test.each([
    ["app", ["/lxc/other"], "other"],
    ["app", ["/lxc/app2"], "app2"],
    ["app", ["/lxc/app-x"], "app-x"],
    ["app", ["/lxc/app-"], "app-"],
    ["app", ["/lxc/app-1a"], "app-1a"],
    ["other", ["/lxc/app/lxc/other"], "app"],
    ["app", ["/lxc/app", "/lxc/other"], "other"],
    ["a/b", ["/lxc/a/b"], "a"],
  ])("but not %p with the cgroups %j", (name, cgroups, found) => {
    expect(doubt(name, cgroups)).toBe(`pid 7 is a process of the container "${found}"`);
  });
  test("where the daemon itself runs inside of a container, counted from what both share", () => {
    expect(doubt("app", ["/lxc/outer/lxc/app"], ["/lxc/outer"])).toBeUndefined();
    expect(doubt("app", ["/lxc/outer/lxc/app"], ["/lxc/outer/pv"])).toBeUndefined();
    expect(doubt("app", ["/lxc/outer/work"], ["/lxc/outer/pv"])).toBeUndefined();
    expect(doubt("outer", ["/lxc/outer/lxc/app"], ["/lxc/outer"])).toBe('pid 7 is a process of the container "app"');
  });
  test("without an lxc cgroup by its start alone: not after the graph named it", () => {
    expect(doubt("app", ["/user.slice"], ["/"], 10, 10)).toBeUndefined();
    expect(doubt("app", ["/user.slice"], ["/"], 11, 10)).toContain("another process by now");
    expect(doubt("app", ["/lxc.payload.app", "/lxcx/app"], ["/"], 9, 10)).toBeUndefined();
  });
  test("with its own lxc cgroup whenever it started", () => {
    expect(doubt("app", ["/lxc/app"], ["/"], 99, 10)).toBeUndefined();
  });
});

function started(): { watch: MemoryPeers; peers: Peers; exits: () => number } {
  const watch = new MemoryPeers();
  let exits = 0;
  const peers = new Peers(watch, () => exits++);
  return { watch, peers, exits: () => exits };
}
const said = (peers: Peers, name: string, pid: number) => {
  const view = peers.view("consumer", name, pid);
  return view.up ? `up ${view.id}` : view.reason;
};

describe("peers", () => {
  test("are the host for pid 0, and not up for a negative one", () => {
    const { peers } = started();
    expect(said(peers, "app", 0)).toBe("up host");
    expect(said(peers, "app", -1)).toBe('The consumer "app" is not up');
  });

  test("are believed while their process lives, and not before the graph names them", () => {
    const { watch, peers, exits } = started();
    watch.run(7, "/lxc/app");
    expect(said(peers, "app", 7)).toBe('The consumer "app" is not up: pid 7 is not in the graph');
    peers.setGraph([["app", 7]]);
    expect(said(peers, "app", 7)).toBe("up 7:1001");
    expect(exits()).toBe(0);
    watch.kill(7);
    expect(exits()).toBe(1);
    expect(said(peers, "app", 7)).toBe('The consumer "app" is not up: pid 7 has exited');
  });

  test("that died stay not up while the graph still says their pid, also when a stranger has it", () => {
    const { watch, peers } = started();
    watch.run(7);
    peers.setGraph([["app", 7]]);
    watch.kill(7);
    peers.refresh();
    expect(said(peers, "app", 7)).toBe('The consumer "app" is not up: pid 7 has exited');
    watch.run(7);
    peers.refresh();
    expect(said(peers, "app", 7)).toContain("another process by now");
    peers.setGraph([["app", 7]]);
    expect(said(peers, "app", 7)).toContain("another process by now");
    expect(watch.held).toBe(0);
  });

  test("are a stranger from the start when another container has the pid", () => {
    const { watch, peers } = started();
    watch.run(7, "/lxc/other");
    peers.setGraph([["app", 7]]);
    expect(said(peers, "app", 7)).toBe('The consumer "app" is not up: pid 7 is a process of the container "other"');
    expect(watch.held).toBe(0);
  });

  test("with the same pid again are believed once their cgroup proves them", () => {
    const { watch, peers } = started();
    watch.run(7, "/lxc/app");
    peers.setGraph([["app", 7]]);
    watch.kill(7);
    watch.run(7, "/lxc/app-1");
    const before = peers.version;
    peers.refresh();
    expect(said(peers, "app", 7)).toBe("up 7:1003");
    expect(peers.version).toBeGreaterThan(before);
  });

  test("are found dead by looking when no notice came", () => {
    const { watch, peers, exits } = started();
    watch.silent = true;
    watch.run(7);
    peers.setGraph([["app", 7]]);
    watch.kill(7);
    peers.refresh();
    expect(said(peers, "app", 7)).not.toStartWith("up");
    expect(exits()).toBe(0);
  });

  test("share one handle under several names, each judged for itself, and give it back", () => {
    const { watch, peers } = started();
    watch.run(7, "/lxc/app");
    peers.setGraph([
      ["app", 7],
      ["backend", 7],
      ["app", 7],
    ]);
    expect(watch.opened).toBe(1);
    expect(said(peers, "app", 7)).toBe("up 7:1001");
    expect(said(peers, "backend", 7)).toContain('container "app"');
    peers.setGraph([["app", 8]]);
    expect(watch.held).toBe(0);
    peers.setGraph([["app", 7]]);
    peers.close();
    expect(watch.held).toBe(0);
  });

  test("change their version only when what is believed changes", () => {
    const { watch, peers } = started();
    watch.run(7);
    peers.setGraph([
      ["app", 7],
      ["gone", 99],
    ]);
    const version = peers.version;
    peers.refresh();
    peers.setGraph([
      ["app", 7],
      ["gone", 99],
    ]);
    expect(peers.version).toBe(version);
  });

  test("beyond the cap are not up, and say so", () => {
    const { watch, peers } = started();
    const pairs: [string, number][] = [];
    for (let pid = 1; pid <= MAX_PEERS + 1; pid++) {
      watch.run(pid);
      pairs.push([`c${pid}`, pid]);
    }
    peers.setGraph(pairs);
    expect(said(peers, "c1", 1)).toStartWith("up");
    expect(said(peers, `c${MAX_PEERS + 1}`, MAX_PEERS + 1)).toContain(`is not watched, ${MAX_PEERS} others are`);
  });

  test("10,000 dead ones are looked at again in turns, not all at each answer", () => {
    const { watch, peers } = started();
    peers.setGraph(Array.from({ length: 10_000 }, (_, i) => [`c${i}`, i + 1] as const));
    watch.run(300);
    const start = performance.now();
    peers.refresh();
    expect(performance.now() - start).toBeLessThan(20);
    // Looked at before anybody else's second turn; its start is after the naming, so it stays doubted.
    peers.refresh();
    expect(said(peers, "c299", 300)).toContain("another process by now");
  });
});
