import { afterEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../../src/inject/journal.ts";
import { recover, sweep } from "../../../src/inject/recover.ts";
import { ContainerRoot } from "../../../src/inject/root.ts";
import { plantSocket, verifySocket } from "../../../src/inject/socket.ts";
import { ProcessHandle } from "../../../src/sys/process.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { type Container, startContainer } from "../../support/containers.ts";
import { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";

const here = requireRealPart("root", "busybox");
const TARGET = "/run/pv/a.sock";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

function stateDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "pvx-state-"));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
async function consumer(userns = false): Promise<Container> {
  const container = await startContainer({ name: "app", userns });
  cleanups.push(() => container.stop());
  return container;
}
function journalOf(state: string, boot = "boot"): Journal {
  const journal = new Journal(state, boot);
  cleanups.push(() => journal.close());
  return journal;
}
const planter = (state: string, pid: number, when: string, target = TARGET) =>
  new Program([process.execPath, join(import.meta.dir, "killed-planter.ts"), state, String(pid), when, target]);

/** Runs a planter that dies at `when`, or is killed once its socket stands. */
async function killedAt(state: string, pid: number, when: string, target = TARGET): Promise<void> {
  const program = planter(state, pid, when, target);
  if (when === "never") {
    await program.line(/^standing$/);
    program.signal("SIGKILL");
  }
  const { stdout } = await program.finished();
  expect(stdout).toBe(when === "never" ? "standing" : "");
}
const namesIn = (container: Container): string[] => readdirSync(container.hostPath("/run/pv")).sort();

/** Every point at which a line is written, and both sides of it. */
const MOMENTS = [
  "intent",
  "bound",
  "planted",
  "intent:2",
  "bound:2",
  "planted:2",
  "hidden",
  "settled",
  "hidden:2",
  "settled:2",
];

describe.skipIf(!here)("a daemon killed while it plants", () => {
  test.each(MOMENTS)("at %s: the next start leaves no temporary name and removes what nobody wants", async (when) => {
    const container = await consumer(when.length % 2 === 0);
    const state = stateDirectory();
    await killedAt(state, container.pid, when);
    const journal = journalOf(state);
    const recovered = recover(journal);
    expect(recovered.troubles).toEqual([]);
    expect(namesIn(container).filter((name) => name !== "a.sock")).toEqual([]);
    expect(sweep(journal, () => false)).toEqual([]);
    expect(namesIn(container)).toEqual([]);
    expect(journal.entries()).toEqual([]);
  });

  test.each(MOMENTS)(
    "at %s: a link that is still wanted is planted again, in place of what stood there",
    async (when) => {
      const container = await consumer();
      const state = stateDirectory();
      await killedAt(state, container.pid, when);
      const journal = journalOf(state);
      recover(journal);
      const handle = new ProcessHandle(container.pid);
      const root = ContainerRoot.of(handle, 'consumer "app"');
      const stood = namesIn(container).includes("a.sock");
      const watch = stood
        ? container.start(["sh", "-c", `echo ready; while [ -S ${TARGET} ]; do :; done; echo blinked`])
        : undefined;
      await watch?.line(/^ready$/);
      const planted = plantSocket({ root, target: TARGET, seqpacket: false, journal });
      expect(verifySocket(root, planted)).toEqual({ state: "ok" });
      // What is wanted again is this run's: the sweep has nothing to do with it.
      expect(sweep(journal, () => false)).toEqual([]);
      expect(verifySocket(root, planted)).toEqual({ state: "ok" });
      expect(namesIn(container)).toEqual(["a.sock"]);
      if (watch !== undefined) {
        expect(watch.stdout).toEqual(["ready"]);
        await watch.stop();
      }
      pvx.pvx_close(planted.listenFd);
      root.close();
      handle.close();
    },
  );

  test("the sweep keeps what is wanted", async () => {
    const container = await consumer();
    const state = stateDirectory();
    await killedAt(state, container.pid, "never");
    const journal = journalOf(state);
    expect(recover(journal).standing.map((entry) => entry.path)).toEqual([TARGET]);
    sweep(journal, (entry) => entry.path === TARGET);
    expect(namesIn(container)).toEqual(["a.sock"]);
    sweep(journal, () => false);
    expect(namesIn(container)).toEqual([]);
  });

  test("what the consumer put there since is not touched", async () => {
    const container = await consumer();
    const state = stateDirectory();
    await killedAt(state, container.pid, "never");
    await container.sh(`rm ${TARGET}; echo theirs > ${TARGET}`);
    const journal = journalOf(state);
    recover(journal);
    expect(sweep(journal, () => false)).toEqual([]);
    expect(readFileSync(container.hostPath(TARGET), "utf8")).toBe("theirs\n");
  });

  test("a container that has ended took it along, also when its pid is somebody else's by now", async () => {
    const container = await consumer();
    // Start times count in hundredths of a second.
    await Bun.sleep(30);
    const other = await consumer();
    const state = stateDirectory();
    await killedAt(state, container.pid, "never");
    // The other container has the same path, and gets the first one's number.
    await other.sh(`mkdir -p /run/pv; echo theirs > ${TARGET}`);
    const text = readFileSync(`${state}/planted.ndjson`, "utf8");
    writeFileSync(`${state}/planted.ndjson`, text.replaceAll(`"pid":${container.pid}`, `"pid":${other.pid}`));
    const journal = journalOf(state);
    expect(recover(journal)).toMatchObject({ forgotten: 1, standing: [], troubles: [] });
    expect(readFileSync(other.hostPath(TARGET), "utf8")).toBe("theirs\n");
    expect(journal.entries()).toEqual([]);
  });

  test("on the host as well, where the record stays good", async () => {
    const directory = mkdtempSync(join(tmpdir(), "pvx-host-"));
    cleanups.push(() => rmSync(directory, { recursive: true }));
    const state = stateDirectory();
    await killedAt(state, 0, "planted:2", join(directory, "a.sock"));
    expect(readdirSync(directory).length).toBe(2);
    const journal = journalOf(state);
    expect(recover(journal).temporaries).toBe(1);
    expect(readdirSync(directory)).toEqual(["a.sock"]);
    sweep(journal, () => false);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a live server that took the host path over is left alone", async () => {
    const directory = mkdtempSync(join(tmpdir(), "pvx-host-"));
    cleanups.push(() => rmSync(directory, { recursive: true }));
    const state = stateDirectory();
    const path = join(directory, "a.sock");
    await killedAt(state, 0, "never", path);
    rmSync(path);
    const server = Bun.listen({ unix: path, socket: { data() {} } });
    cleanups.push(() => server.stop());
    const { ino } = lstatSync(path);
    const journal = journalOf(state);
    recover(journal);
    sweep(journal, () => false);
    expect(lstatSync(path).ino).toBe(ino);
  });
});

describe("the journal's file", () => {
  const entry = {
    kind: "socket",
    pid: 0,
    startTime: "",
    who: "the host",
    path: "/run/x",
    temporary: ".pvx-0123456789abcdef",
  } as const;
  const object = { dev: "0:5", ino: "18446744073709551615", born: "1700000000.5" };

  test("keeps what it was told over a restart, 0600 and with nothing else beside it", () => {
    const state = stateDirectory();
    const journal = new Journal(state, "boot");
    const first = journal.intend({ ...entry, detail: { mount: "7" } });
    journal.planted(first, object);
    journal.removed(journal.intend({ ...entry, path: "/run/y" }));
    journal.close();
    expect(statSync(`${state}/planted.ndjson`).mode & 0o7777).toBe(0o600);
    expect(readdirSync(state)).toEqual(["planted.ndjson"]);
    const next = journalOf(state);
    expect(next.troubles).toEqual([]);
    expect(next.entries()).toEqual([{ ...entry, id: first, detail: { mount: "7" }, object, earlier: true }]);
    expect(next.intend(entry)).toBeGreaterThan(first);
  });

  test("a last line that was cut short is dropped, with a word", () => {
    const state = stateDirectory();
    const journal = new Journal(state, "boot");
    journal.planted(journal.intend(entry), object);
    journal.close();
    appendFileSync(`${state}/planted.ndjson`, '{"op":"removed","i');
    const next = journalOf(state);
    expect(next.troubles).toEqual([{ line: 4, reason: "cut short" }]);
    expect(next.entries().length).toBe(1);
    next.close();
    expect(journalOf(state).troubles).toEqual([]);
  });

  test("lines that say what ours never do are dropped, each with its reason, and the rest counts", () => {
    const state = stateDirectory();
    const head = '{"op":"journal","version":1,"boot":"boot"}';
    const good = JSON.stringify({ op: "intent", id: 1, ...entry });
    const bad = [
      "\0\0\0",
      '{"op":"other"}',
      JSON.stringify({ op: "intent", id: 2, ...entry, temporary: "precious" }),
      JSON.stringify({ op: "intent", id: 3, ...entry, temporary: ".pvx-0123456789abcdef/../x" }),
      JSON.stringify({ op: "intent", id: 4, ...entry, path: "relative" }),
      JSON.stringify({ op: "intent", id: -4, ...entry }),
      JSON.stringify({ op: "planted", id: 1, dev: "x", ino: "1", born: "" }),
      "null",
    ];
    writeFileSync(`${state}/planted.ndjson`, `${[head, ...bad, good].join("\n")}\n`);
    const journal = journalOf(state);
    expect(journal.troubles.map((trouble) => trouble.line)).toEqual(bad.map((_, i) => i + 2));
    expect(journal.entries().map((e) => e.id)).toEqual([1]);
  });

  test("what an earlier boot planted is forgotten", () => {
    const state = stateDirectory();
    const journal = new Journal(state, "before");
    journal.planted(journal.intend(entry), object);
    journal.close();
    expect(journalOf(state, "after").entries()).toEqual([]);
  });

  test("a link, or a file with a second name, in its place is not read", () => {
    const state = stateDirectory();
    const elsewhere = join(stateDirectory(), "precious");
    writeFileSync(elsewhere, "precious");
    Bun.spawnSync(["ln", "-s", elsewhere, `${state}/planted.ndjson`]);
    expect(() => new Journal(state, "boot")).toThrow("ELOOP");
    rmSync(`${state}/planted.ndjson`);
    Bun.spawnSync(["ln", elsewhere, `${state}/planted.ndjson`]);
    expect(() => new Journal(state, "boot")).toThrow("one name");
    expect(readFileSync(elsewhere, "utf8")).toBe("precious");
  });

  test("100,000 changes leave it small", () => {
    const state = stateDirectory();
    const journal = journalOf(state);
    const kept = journal.intend({ ...entry, path: "/run/kept" });
    for (let i = 0; i < 50_000; i++) journal.removed(journal.intend(entry));
    expect(statSync(`${state}/planted.ndjson`).size).toBeLessThan(5 * 1024 * 1024);
    journal.close();
    expect(
      journalOf(state)
        .entries()
        .map((e) => e.id),
    ).toEqual([kept]);
  });

  test("a container that ended takes all of its records along", () => {
    const journal = journalOf(stateDirectory());
    for (const path of ["/a", "/b", "/b"]) journal.intend({ ...entry, pid: 5, startTime: "7", path });
    const other = journal.intend({ ...entry, pid: 5, startTime: "8" });
    journal.ended(5, "7");
    expect(journal.entries().map((e) => e.id)).toEqual([other]);
  });
});
