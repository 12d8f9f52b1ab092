import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { probeDevice } from "../../../src/inject/device-probe.ts";
import { type NodeRequest, type PlantedNode, plantNode, removeNode, verifyNode } from "../../../src/inject/devnode.ts";
import { Journal } from "../../../src/inject/journal.ts";
import { recover, sweep } from "../../../src/inject/recover.ts";
import { splitPath } from "../../../src/inject/settle.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { USERNS_BASE } from "../../support/containers.ts";
import { openFds } from "../../support/open-fds.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { Canary, House } from "./house.ts";

const here = requireRealPart("root", "busybox");
/** Rounds of each race, as the issue asks. */
const ROUNDS = 2000;

/** Kind of container, whether its ids are shifted, where to plant (a /run is mounted nodev), and how that must go. */
describe.skipIf(!here).each([
  ["a plain container", false, "/dev/dri", "node"],
  ["a plain container on a file system without devices", false, "/run/dri", "mount"],
  ["a user-namespaced container", true, "/dev/dri", "mount"],
] as const)("a device in %s", (_, userns, place, how) => {
  let house: House;
  const canary = new Canary();
  const base = userns ? USERNS_BASE : 0;
  const card = `${place}/card0`;
  const spec = { major: 1, minor: 3, mode: 0o640, uid: base + 7, gid: base + 44 };
  beforeAll(async () => {
    house = await House.build({ name: "app", userns });
  });
  afterEach(async () => {
    // So that one failure stays one.
    for (const { id } of house.journal.entries()) house.journal.removed(id);
    await house.container
      .sh(`for f in $(find ${place} -type c); do umount $f; done; rm -rf ${place}; mkdir -p ${place}`)
      .catch(() => {});
  });
  afterAll(async () => {
    expect(canary.changes()).toBe("");
    canary.remove();
    await house.down();
  });

  const plant = (more: Partial<NodeRequest> = {}): PlantedNode =>
    plantNode({ root: house.root, target: card, spec, journal: house.journal, ...more });
  const remove = (planted: PlantedNode) => removeNode(house.root, planted, house.journal);
  const listing = (path = place) => house.container.sh(`ls -ln ${path} | sed 1d`);
  const mounts = () =>
    readFileSync(`/proc/${house.container.pid}/mountinfo`, "latin1")
      .split("\n")
      .filter((line) => line.includes("/node ")).length;
  const refusal = (more: Partial<NodeRequest> = {}): string => {
    try {
      plant(more);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error("it was planted");
  };

  test("stands there with its numbers, mode and owner, can be opened, and goes without a trace", async () => {
    const planted = plant();
    expect(planted.how).toBe(how);
    expect(await listing()).toMatch(/^crw-r----- +1 7 +44 +1, +3 .* card0$/);
    await house.container.sh(`echo x > ${card}`);
    expect(verifyNode(house.root, planted)).toEqual({ state: "ok" });
    expect(mounts()).toBe(how === "mount" ? 1 : 0);
    expect(remove(planted)).toBeUndefined();
    expect(await listing()).toBe("");
    expect(mounts()).toBe(0);
    expect(house.journal.entries()).toEqual([]);
  });

  test("is really opened by an ordinary user of the group, and by no other", async () => {
    const planted = plant({ spec: { ...spec, mode: 0o060 } });
    await house.container.sh(`true < ${card}`, { uid: 1000, gid: 44 });
    await expect(house.container.sh(`true < ${card}`, { uid: 1000, gid: 1000 })).rejects.toThrow(
      /[Pp]ermission denied/,
    );
    remove(planted);
  });

  test("is probed as the consumer would open it", () => {
    const planted = plant();
    const { directory, name } = splitPath(card);
    const opened = house.root.openDirectory(directory, false);
    const ask = (numbers: string) => probeDevice(house.container.pid, { directory: opened, name, numbers, open: true });
    expect(ask("1:3")).toEqual({ ok: true });
    remove(planted);
    // No driver has this number: local and experimental use (admin-guide/devices.txt).
    const nobodys = plant({ spec: { ...spec, major: 60, minor: 77 } });
    expect(ask("60:77")).toMatchObject({
      ok: false,
      reason: expect.stringMatching(/no driver answers for 60:77: open: E(NXIO|NODEV)/),
    });
    remove(nobodys);
    pvx.pvx_close(opened);
  });

  test("never takes the place of something else", async () => {
    const obstacles: [string, RegExp][] = [
      [`echo precious > ${card}`, /a regular file stands there$/],
      [`mkdir ${card}`, /a directory stands there$/],
      [`ln -s /dev/null ${card}`, /a symbolic link stands there$/],
      [`ln -s nowhere ${card}`, /a symbolic link stands there$/],
      [`mkfifo ${card}`, /a fifo stands there$/],
      ...(how === "node"
        ? [[`mknod ${card} c 1 3`, /a character device \(1:3\) that is not ours stands there$/] as [string, RegExp]]
        : []),
    ];
    for (const [make, reason] of obstacles) {
      await house.container.sh(make);
      const before = await listing();
      expect(refusal()).toMatch(reason);
      expect(refusal().startsWith(`Cannot plant device ${card} in consumer "app" (pid ${house.container.pid}): `)).toBe(
        true,
      );
      expect(await listing()).toBe(before);
      await house.container.sh(`rm -r ${card}`);
    }
    expect(house.journal.entries()).toEqual([]);
  });

  test("makes the directories on its way, owned by the container's root", async () => {
    const planted = plant({ target: `${place}/a/b/event0` });
    expect(await house.container.sh(`stat -c '%a %u:%g' ${place}/a/b`)).toBe("755 0:0");
    remove(planted);
    await house.container.sh(`rm -r ${place}/a`);
  });

  test("is replaced by another one without the target being absent", async () => {
    const first = plant();
    const watcher = house.container.start(["sh", "-c", `while [ -c ${card} ]; do echo; done >/dev/null; echo absent`]);
    const second = plant({ spec: { ...spec, minor: 5 }, previous: first });
    expect(await listing()).toContain("1,   5");
    for (let i = 0, node = second; i < 50; i++) {
      const next = plant({ spec: { ...spec, minor: i % 2 ? 5 : 3 }, previous: node });
      node = next;
      if (i === 49) {
        expect(watcher.stdout).toEqual([]);
        remove(node);
      }
    }
    await watcher.line(/^absent$/);
    expect(mounts()).toBe(0);
    expect(await listing()).toBe("");
  });

  test("that something else has replaced has drifted, and is not removed", async () => {
    const planted = plant();
    // From outside: the container itself can't unlink what is a mount in its own namespace.
    if (how === "mount") await house.container.sh(`umount ${card}; rm ${card}; echo mine > ${card}`);
    else await house.container.sh(`rm ${card}; echo mine > ${card}`);
    expect(verifyNode(house.root, planted)).toMatchObject({ state: "drifted" });
    expect(remove(planted)).toBeUndefined();
    expect(await house.container.sh(`cat ${card}; rm ${card}`)).toBe("mine");
  });

  test("that another link keeps is shared, or in the way when it is another device", async () => {
    const owner = plant();
    const sharedBy = (id: number) => id === owner.journalId;
    const guest = plant({ sharedBy });
    expect(guest.shared).toBe(true);
    expect(remove(guest)).toBeUndefined();
    expect(verifyNode(house.root, owner)).toEqual({ state: "ok" });
    expect(refusal({ sharedBy, spec: { ...spec, minor: 5 } })).toMatch(/another link has planted 1:3 there$/);
    remove(owner);
  });

  describe("after a daemon that was killed", () => {
    const journals: Journal[] = [];
    const states: string[] = [];
    /** The journal of a daemon that was killed, and `restarted()`: what its successor reads. */
    const killed = () => {
      const state = mkdtempSync(join(tmpdir(), "pvx-state-"));
      states.push(state);
      const open = () => {
        const journal = new Journal(state, "boot");
        journals.push(journal);
        return journal;
      };
      return { journal: open(), restarted: open };
    };
    afterAll(() => {
      for (const journal of journals) journal.close();
      for (const state of states) rmSync(state, { recursive: true });
    });

    test("it is taken over as it stands", () => {
      const before = killed();
      const planted = plant({ journal: before.journal });
      const journal = before.restarted();
      expect(recover(journal).standing.map((entry) => entry.path)).toContain(card);
      const again = plant({ journal });
      expect([again.dev, again.ino, again.how]).toEqual([planted.dev, planted.ino, how]);
      // A link has it: the sweep leaves it alone.
      expect(sweep(journal, () => false)).toEqual([]);
      expect(verifyNode(house.root, again)).toEqual({ state: "ok" });
      expect(removeNode(house.root, again, journal)).toBeUndefined();
      expect(mounts()).toBe(0);
    });

    test("another device takes its place", async () => {
      const before = killed();
      plant({ journal: before.journal });
      const journal = before.restarted();
      recover(journal);
      const again = plant({ journal, spec: { ...spec, minor: 5 } });
      expect(await listing()).toContain("1,   5");
      expect(sweep(journal, () => false)).toEqual([]);
      expect(await listing()).toContain("1,   5");
      removeNode(house.root, again, journal);
      expect(mounts()).toBe(0);
    });

    test("it is removed when nobody wants it any more", async () => {
      const before = killed();
      plant({ journal: before.journal });
      const journal = before.restarted();
      recover(journal);
      expect(sweep(journal, () => false)).toEqual([]);
      expect(await listing()).toBe("");
      expect(mounts()).toBe(0);
      expect(journal.entries()).toEqual([]);
    });

    test("what stood under its temporary name only is removed too", async () => {
      const before = killed();
      const temporary = ".pvx-0123456789abcdef";
      const { pid, startTime, who } = house.root;
      before.journal.intend({ kind: how, pid, startTime, who, path: card, temporary });
      if (how === "node") await house.container.sh(`mknod ${place}/${temporary} c 1 3`);
      else await house.container.sh(`touch ${place}/${temporary}; mount -o bind /dev/null ${place}/${temporary}`);
      expect(recover(before.restarted()).temporaries).toBe(1);
      expect(await house.container.sh(`ls -A ${place}`)).toBe("");
    });
  });

  /** Plants and removes while `attack` runs inside. */
  async function race(attack: readonly string[], directory: string) {
    const attacker = house.container.start(attack);
    await attacker.line(/^ready$/);
    const before = openFds();
    const reasons = new Set<string>();
    let [won, lost] = [0, 0];
    for (let round = 0; round < ROUNDS; round++) {
      try {
        // A name of its own each time: a node whose directory was moved away stays there, lost to both.
        const planted = plant({ target: `${directory}/card${round}` });
        won++;
        removeNode(house.root, planted, house.journal);
      } catch (error) {
        lost++;
        reasons.add((error as Error).message.replace(/\.pvx-[0-9a-f]{16}/g, "TEMP").replaceAll(`card${round}`, "CARD"));
      }
      expect(canary.changes()).toBe("");
    }
    expect(attacker.running).toBe(true);
    await attacker.stop();
    expect(openFds()).toBeLessThanOrEqual(before);
    if (process.env["SHOW"]) console.log(attack.join(" "), { won, lost }, [...reasons]);
    return { won, lost };
  }

  test(`a consumer that swaps the directory for a link to the host, ${ROUNDS} rounds: nothing outside is touched`, async () => {
    await house.container.sh(`mkdir -p ${place}/swap; ln -s ${canary.path}/nm ${place}/swap.link`);
    const { won, lost } = await race(["hostile", "swap", `${place}/swap`, `${place}/swap.link`], `${place}/swap`);
    expect(won).toBeGreaterThan(0);
    expect(lost).toBeGreaterThan(0);
  }, 120_000);

  test(`a consumer that mounts over the whole place and away again, ${ROUNDS} rounds: nothing outside is touched`, async () => {
    const top = place.slice(0, place.lastIndexOf("/"));
    const storm = `echo ready; while true; do mount -t tmpfs none ${top}; umount ${top}; done 2>/dev/null`;
    const { won } = await race(["sh", "-c", storm], place);
    expect(won).toBeGreaterThan(0);
    await house.container.sh(`while umount ${top} 2>/dev/null; do :; done; true`);
  }, 120_000);
});
