/**
 * sway as an ordinary user offers everything that an application must not have to everybody.
 * Its own tools are the ones to be refused, in words that a person understands, and to work
 * where a role says so.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { type Compositor, clientEnv, runClient, startSway, workFolder } from "../../support/wayland-compositors.ts";
import { ServedLink } from "../../support/wayland-link.ts";
import { until } from "../../support/wayland-socket.ts";

const ready = requireRealPart("root", "sway", "wayland-info", "grim", "wtype", "wl-copy", "wlr-randr", "foot");

const TYPING = { globals: ["zwp_virtual_keyboard_manager_v1<=1"] };
const CLIPBOARD = { globals: ["zwlr_data_control_manager_v1<=2"] };
const DISPLAYS = { profile: "shell" };
const CAPTURE = { profile: "capture" };

let sway: Compositor;
let work: string;
let app: ServedLink;
const links: ServedLink[] = [];
const programs: Program[] = [];
beforeAll(async () => {
  if (!ready) return;
  work = workFolder();
  sway = await startSway();
  app = await ServedLink.start(work, "app", sway.socket);
});
afterEach(async () => {
  for (const program of programs.splice(0)) await program.stop();
  for (const link of links.splice(0)) await link.stop();
});
afterAll(async () => {
  if (!ready) return;
  await app.stop();
  await sway.stop();
  rmSync(work, { recursive: true });
});

async function served(role: unknown): Promise<ServedLink> {
  const link = await ServedLink.start(work, `link-${links.length}`, sway.socket, role);
  links.push(link);
  return link;
}
function started(socket: string, argv: readonly string[], env: Record<string, string> = {}): Program {
  const program = new Program(argv, { env: { ...clientEnv(work, socket), ...env }, cwd: work });
  programs.push(program);
  return program;
}
/** A tool that has five seconds; what it said and how it ended. */
const tool = (link: ServedLink, ...argv: string[]) => runClient(work, link.path, ["timeout", "5", ...argv]);
/** The windows that sway has, as it tells them. */
async function windows(): Promise<string> {
  const ipc = readdirSync(sway.directory).find((name) => name.startsWith("sway-ipc"))!;
  const done = await runClient(work, sway.socket, ["swaymsg", "-s", join(sway.directory, ipc), "-t", "get_tree"]);
  return done.stdout;
}
/** A terminal that waits for a line and keeps it; resolves when sway has its window (a new one gets the focus). */
async function terminal(link: ServedLink, file: string): Promise<Program> {
  const program = started(
    link.path,
    ["foot", "--app-id", file, "sh", "-c", `read -r line; echo "got $line" > ${work}/out/${file}`],
    { WAYLAND_DEBUG: "1" },
  );
  await until(
    "the terminal is there",
    async () => {
      if (!program.running) throw new Error(program.stderr.slice(-20).join("\n"));
      return (await windows()).includes(`"app_id": "${file}"`) || undefined;
    },
    10_000,
  );
  return program;
}
const kept = (file: string) =>
  until(
    "the line is kept",
    () => {
      const path = `${work}/out/${file}`;
      return existsSync(path) && readFileSync(path, "utf8").includes("\n")
        ? readFileSync(path, "utf8").trim()
        : undefined;
    },
    10_000,
  );

describe.skipIf(!ready)("an application at sway", () => {
  test("sees seventeen of its thirty-eight globals", async () => {
    const count = async (socket: string) =>
      [...(await runClient(work, socket, ["wayland-info"])).stdout.matchAll(/^interface:/gm)].length;
    expect(await count(sway.socket)).toBe(38);
    expect(await count(app.path)).toBe(17);
  });
  test.each([
    [
      "take a picture of the screen",
      ["grim", "out/forbidden.png"],
      "compositor doesn't support wlr-screencopy-unstable-v1",
    ],
    ["type for others", ["wtype", "rm -rf"], "Compositor does not support the virtual keyboard protocol"],
    [
      "watch the clipboard",
      ["wl-paste", "--watch", "cat"],
      "Watch mode requires a compositor that supports wlroots data-control protocol",
    ],
    ["rearrange the displays", ["wlr-randr"], "compositor doesn't support wlr-output-management-unstable-v1"],
  ])("can't %s, and its tool says what is missing", async (_what, argv, words) => {
    const done = await tool(app, ...argv);
    expect(done.stderr).toContain(words);
    expect(done.code).toBe(1);
    expect(done.stdout).toBe("");
    expect(existsSync(`${work}/out/forbidden.png`)).toBe(false);
  });
  test("can't read another application's clipboard unasked", async () => {
    const link = await served(CLIPBOARD);
    await tool(link, "wl-copy", "a secret of another application");
    const done = await tool(app, "wl-paste");
    expect(`${done.stdout}${done.stderr}`).not.toContain("secret");
    expect((await tool(link, "wl-paste")).stdout).toBe("a secret of another application");
  });
  test("is told of in the audit, once a session, with all that was hidden from it", async () => {
    const before = app.program.events("denied").length;
    await tool(app, "wlr-randr");
    await until("the record comes", () => app.program.events("denied").length > before);
    const { record } = app.program
      .events<{ record: { action: string; asked: { globals: string; count: number } } }>("denied")
      .at(-1)!;
    expect(record.action).toBe("wayland.hide");
    expect(record.asked.count).toBe(21);
    for (const name of [
      "zwlr_screencopy_manager_v1 v3",
      "zwp_virtual_keyboard_manager_v1 v1",
      "zwlr_data_control_manager_v1 v2",
    ])
      expect(record.asked.globals).toContain(name);
  });
  test("can be a terminal: it draws, and gets the keyboard's map and keys", async () => {
    const program = await terminal(app, "foot-app");
    const typist = await served(TYPING);
    // The pause: a keyboard is announced with the first virtual one, and a client needs a moment to ask for it.
    const typed = await tool(typist, "wtype", "-s", "500", "-d", "20", "hello Wayland", "-k", "Return");
    expect(typed.stderr).toBe("");
    expect(await kept("foot-app")).toBe("got hello Wayland");
    // The map of each keyboard comes as an fd: the key codes would mean nothing without it.
    expect(program.stderr.join("\n")).toMatch(/wl_keyboard@\d+\.keymap\(1, fd \d+, \d+\)/);
    expect((await typist.counters())["fds"]).toBeGreaterThan(0);
  });
});

describe.skipIf(!ready)("a role that may", () => {
  test("take pictures gets the screen as it is, and still can't type", async () => {
    const link = await served(CAPTURE);
    const done = await tool(link, "grim", "-t", "ppm", "out/screen.ppm");
    expect(done.stderr).toBe("");
    const picture = readFileSync(`${work}/out/screen.ppm`);
    expect(picture.toString("latin1", 0, 15)).toBe("P6\n640 480\n255\n");
    // The background of the configuration, from the first pixel to the last.
    expect([...picture.subarray(15, 18)]).toEqual([0x33, 0x66, 0x99]);
    expect([...picture.subarray(-3)]).toEqual([0x33, 0x66, 0x99]);
    expect((await tool(link, "wtype", "x")).stderr).toContain("does not support the virtual keyboard");
  });
  test("take pictures sees another application's window", async () => {
    await terminal(app, "foot-seen");
    const link = await served(CAPTURE);
    const shot = async () => {
      await tool(link, "grim", "-t", "ppm", "out/window.ppm");
      return readFileSync(`${work}/out/window.ppm`).subarray(15);
    };
    await until("the window covers the background", async () => {
      const pixels = await shot();
      const centre = 3 * (240 * 640 + 320);
      return pixels[centre] !== 0x33 || undefined;
    });
  });
  test("arrange displays is told of them", async () => {
    const done = await tool(await served(DISPLAYS), "wlr-randr");
    expect(done.stdout).toContain('HEADLESS-1 "Headless output 1"');
  });
  test("watch the clipboard sees what is copied", async () => {
    const link = await served(CLIPBOARD);
    const watcher = started(link.path, ["wl-paste", "--watch", "cat"]);
    await Bun.sleep(200);
    await tool(link, "wl-copy", "seen at once\n");
    await watcher.line(/seen at once/);
  });
});
