/** Real clients at a real weston, through a link. What must show is output and life: several of these exit 0 on failure. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { Program } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { type Compositor, clientEnv, runClient, startWeston, workFolder } from "../../support/wayland-compositors.ts";
import { ServedLink } from "../../support/wayland-link.ts";
import { until } from "../../support/wayland-socket.ts";

const ready = requireRealPart("weston", "weston-simple-shm", "wayland-info", "socat");

let weston: Compositor;
let work: string;
const links: ServedLink[] = [];
const programs: Program[] = [];
beforeAll(async () => {
  if (!ready) return;
  work = workFolder();
  weston = await startWeston();
});
afterEach(async () => {
  for (const program of programs.splice(0)) await program.stop();
  for (const link of links.splice(0)) await link.stop();
});
afterAll(async () => {
  if (!ready) return;
  await weston.stop();
  rmSync(work, { recursive: true });
});

async function served(role?: unknown): Promise<ServedLink> {
  const link = await ServedLink.start(work, `link-${links.length}`, weston.socket, role);
  links.push(link);
  return link;
}
function started(socket: string, argv: readonly string[], env: Record<string, string> = {}): Program {
  const program = new Program(argv, { env: { ...clientEnv(work, socket), ...env }, cwd: work });
  programs.push(program);
  return program;
}
async function shownTo(socket: string): Promise<string[]> {
  const { stdout } = await runClient(work, socket, ["wayland-info"]);
  return [...stdout.matchAll(/interface: '(\w+)', +version: +(\d+)/g)].map((m) => `${m[1]} v${m[2]}`).sort();
}
/** Frames that the compositor says it has shown, in the client's own protocol trace. */
const frames = (program: Program): number => program.stderr.filter((line) => /wl_callback@\d+\.done/.test(line)).length;

describe.skipIf(!ready)("weston through a link", () => {
  test("shows wayland-info the profile of an application and nothing else", async () => {
    const all = await shownTo(weston.socket);
    expect(all).toContain("weston_desktop_shell v1");
    expect(all).toContain("weston_screenshooter v1");
    const link = await served();
    expect(await shownTo(link.path)).toEqual(
      all.filter((line) =>
        /^(wl_(compositor|subcompositor|shm|output|data_device_manager)|xdg_wm_base|wp_(viewporter|presentation)|zxdg_output_manager_v1|zwp_(relative_pointer_manager|pointer_constraints|text_input_manager)_v1) /.test(
          line,
        ),
      ),
    );
  });
  test("shows each profile and list what it says", async () => {
    const hidden = [
      "weston_desktop_shell v1",
      "weston_screenshooter v1",
      "zwp_input_panel_v1 v1",
      "zwp_input_timestamps_manager_v1 v1",
    ];
    const visible = async (role: unknown) => {
      const shown = await shownTo((await served(role)).path);
      return hidden.filter((line) => shown.includes(line));
    };
    expect(await visible({ profile: "app" })).toEqual([]);
    expect(await visible({ profile: "shell" })).toEqual(["weston_desktop_shell v1"]);
    expect(await visible({ profile: "capture" })).toEqual(["weston_screenshooter v1"]);
    expect(await visible({ profile: "kiosk" })).toEqual(["zwp_input_timestamps_manager_v1 v1"]);
    expect(await visible({ globals: ["zwp_input_panel_v1<=1"] })).toEqual(["zwp_input_panel_v1 v1"]);
    const own = await served({ profile: "none", globals: ["wl_compositor<=2", "wl_shm<=1"] });
    expect(await shownTo(own.path)).toEqual(["wl_compositor v2", "wl_shm v1"]);
  });
  test("lets weston-simple-shm draw frame after frame from memory that it shares", async () => {
    const link = await served();
    const program = started(link.path, ["weston-simple-shm"], { WAYLAND_DEBUG: "1" });
    await until("thirty frames are shown", () => frames(program) >= 30, 10_000);
    expect(program.running).toBe(true);
    expect(program.stderr.join("\n")).not.toContain("error");
    const { fds } = await link.counters();
    expect(fds).toBeGreaterThan(0);
    const bound = await link.program.event<{ record: { interfaces: [string, number][] } }>("report");
    expect(bound.record.interfaces.map(([name]) => name)).toEqual(["wl_compositor", "wl_shm", "xdg_wm_base"]);
  });
  test("would not: a relay that loses fds is noticed by the same client", async () => {
    const lossy = `${work}/lossy`;
    started("", ["socat", `UNIX-LISTEN:${lossy},fork`, `UNIX-CONNECT:${weston.socket}`]);
    await until(
      "socat serves it, protocol and all",
      async () => (await shownTo(lossy)).length > 10 || undefined,
      10_000,
    );
    const program = started(lossy, ["weston-simple-shm"], { WAYLAND_DEBUG: "1" });
    await program.line(/invalid arguments for wl_shm/, { stream: "stderr" });
    await until("it has died", () => !program.running);
    // Two answers to wl_display.sync, and never a frame.
    expect(frames(program)).toBeLessThanOrEqual(2);
  });
  test("survives clients that are killed in the middle, again and again", async () => {
    const link = await served();
    for (let i = 0; i < 10; i++) {
      const program = started(link.path, ["weston-simple-shm"]);
      await Bun.sleep(30 * i);
      program.signal("SIGKILL");
      await program.stop();
    }
    await until("all sessions are gone", async () => (await link.counters())["sessions"] === 0 || undefined);
    expect((await shownTo(link.path)).length).toBeGreaterThan(5);
    expect(weston.program.running).toBe(true);
  });
});
