/**
 * A consumer that changes its directories while we plant in them, as fast as it can. The
 * rounds are bounded and so is each attacker: it runs until the test stops it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { removeSocket, verifySocket } from "../../../src/inject/socket.ts";
import { openFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { Canary, House } from "./house.ts";

const here = requireRealPart("root", "busybox");
/** Rounds of each race: enough that each attacker wins some of them on two cores. */
const ROUNDS = 200;

describe.skipIf(!here).each([
  ["a plain container", false],
  ["a user-namespaced container", true],
])("a racing consumer in %s", (_, userns) => {
  let house: House;
  const canary = new Canary();
  beforeAll(async () => {
    house = await House.build({ name: "app", userns });
    // What is opened at the first use is open when fds are counted.
    house.plant("/run/first.sock");
  });
  afterAll(async () => {
    expect(canary.changes()).toBe("");
    canary.remove();
    await house.down();
  });

  /** Plants, replaces and removes `target` while `attack` runs inside. Counts what came of it. */
  async function race(attack: readonly string[], target: string) {
    const attacker = house.container.start(["hostile", ...attack]);
    await attacker.line(/^ready$/);
    const before = openFds();
    let won = 0;
    let lost = 0;
    for (let round = 0; round < ROUNDS; round++) {
      try {
        const planted = house.plant(target);
        won++;
        try {
          const next = house.plant(target, { previous: planted });
          house.closeListening(planted);
          removeSocket(house.root, next, house.journal);
          house.closeListening(next);
        } catch {
          lost++;
          removeSocket(house.root, planted, house.journal);
          house.closeListening(planted);
        }
      } catch {
        lost++;
      }
    }
    expect(openFds()).toBeLessThanOrEqual(before);
    expect(attacker.running).toBe(true);
    await attacker.stop();
    expect(canary.changes()).toBe("");
    return { won, lost };
  }

  test("swapping the directory for a link to a host directory gets nothing out of the container", async () => {
    await house.container.sh(
      `mkdir -p /run/swap; echo precious > /run/swap/precious; ln -s ${canary.path}/nm /run/swap.link`,
    );
    const { won, lost } = await race(["swap", "/run/swap", "/run/swap.link"], "/run/swap/a.sock");
    expect(won).toBeGreaterThan(0);
    expect(lost).toBeGreaterThan(0);
    const real = (await house.container.sh("[ -L /run/swap ] && echo /run/swap.link || echo /run/swap")).trim();
    expect(readFileSync(house.container.hostPath(`${real}/precious`), "utf8")).toBe("precious\n");
    expect(house.names(real).filter((name) => name.startsWith(".pvx-"))).toEqual([]);
  }, 60_000);

  test("swapping two directories leaves no socket of ours in either", async () => {
    await house.container.sh("mkdir -p /run/two.a /run/two.b; echo precious > /run/two.b/precious");
    await race(["swap", "/run/two.a", "/run/two.b"], "/run/two.a/a.sock");
    const left = [...house.names("/run/two.a"), ...house.names("/run/two.b")];
    expect(left.filter((name) => name.startsWith(".pvx-"))).toEqual([]);
    expect(left).toContain("precious");
  }, 60_000);

  test("putting its own file under the temporary name loses it nothing", async () => {
    await house.container.sh("mkdir -p /run/take; echo precious > /run/take/precious");
    const { won } = await race(["take", "/run/take", "/run/take/precious"], "/run/take/a.sock");
    expect(won).toBeGreaterThan(0);
    const kept = house.names("/run/take").map((name) => house.container.hostPath(`/run/take/${name}`));
    expect(kept.some((path) => isPrecious(path))).toBe(true);
  }, 60_000);

  test("going after the private directory itself gains it nothing", async () => {
    await house.container.sh("mkdir -p /run/deep; echo own > /run/deep/own");
    // What it moves there in the one microsecond that Linux leaves (nook.ts) it may lose.
    await race(["deep", "/run/deep", "/run/deep/own"], "/run/deep/a.sock");
    expect(house.names("/run/deep")).toContain("own");
  }, 60_000);

  test("putting its own file at the target in between loses it nothing", async () => {
    await house.container.sh("mkdir -p /run/block; echo precious > /run/block/precious");
    const { won, lost } = await race(["block", "/run/block/a.sock", "/run/block/precious"], "/run/block/a.sock");
    expect(won).toBeGreaterThan(0);
    expect(lost).toBeGreaterThan(0);
    const kept = house.names("/run/block").map((name) => house.container.hostPath(`/run/block/${name}`));
    expect(kept.some((path) => isPrecious(path))).toBe(true);
  }, 60_000);

  test("exchanging the target with its own file loses it nothing", async () => {
    await house.container.sh("mkdir -p /run/ex; echo precious > /run/ex/precious");
    await race(["swap", "/run/ex/a.sock", "/run/ex/precious"], "/run/ex/a.sock");
    const kept = house.names("/run/ex").map((name) => house.container.hostPath(`/run/ex/${name}`));
    expect(kept.some((path) => isPrecious(path))).toBe(true);
  }, 60_000);

  test("it is planted as soon as the race ends", () => {
    const planted = house.plant("/run/after/a.sock");
    expect(verifySocket(house.root, planted)).toEqual({ state: "ok" });
  });
});

function isPrecious(path: string): boolean {
  try {
    return readFileSync(path, "utf8") === "precious\n";
  } catch {
    return false;
  }
}
