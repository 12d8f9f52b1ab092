/** What a container that changes its directory all the time can make us do. */
import { expect, test } from "bun:test";
import { RootWatch } from "../../../src/inject/root-watch.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { House } from "./house.ts";

test.skipIf(!requireRealPart("root", "busybox"))(
  "a directory that changes all the time costs a small share of the time, and its last change is told",
  async () => {
    const house = await House.build({ name: "app" });
    await house.container.sh("mkdir /run/d; : > /run/d/a; : > /run/d/b");
    let told = 0;
    const watch = new RootWatch(house.root, () => {
      told++;
      // What there is to look at can be much.
      Bun.sleepSync(100);
    });
    watch.follow(["/run/d"]);
    const hostile = house.container.start(["hostile", "swap", "/run/d/a", "/run/d/b"]);
    await hostile.line(/^ready$/);
    await Bun.sleep(4_000);
    await hostile.stop();
    expect(told).toBeGreaterThan(0);
    expect(told).toBeLessThanOrEqual(3);
    // What is left of it.
    await Bun.sleep(2_500);
    const before = told;
    await house.container.sh(": > /run/d/c");
    const end = performance.now() + 5_000;
    while (told === before && performance.now() < end) await Bun.sleep(20);
    expect(told).toBe(before + 1);
    watch.close();
    await house.down();
  },
  30_000,
);
