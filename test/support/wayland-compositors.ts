/** Real compositors without a screen: weston (as we are) and sway (as an ordinary user, as it insists). */
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Finished, Program, run } from "./program.ts";

/** Any uid that is not root's: sway refuses to run as root. */
const ORDINARY = 1000;
const START_MS = 10_000;

export interface Compositor {
  /** XDG_RUNTIME_DIR: the sockets are in it. */
  readonly directory: string;
  readonly socket: string;
  readonly program: Program;
  stop(): Promise<void>;
}

/** Environment of a client of `socket`: nothing of ours but PATH. */
export function clientEnv(directory: string, socket: string): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "/usr/bin:/bin",
    HOME: directory,
    LANG: "C.UTF-8",
    XDG_RUNTIME_DIR: directory,
    WAYLAND_DISPLAY: socket,
  };
}

/** Runs a client to its end. */
export const runClient = (directory: string, socket: string, argv: readonly string[], ms?: number): Promise<Finished> =>
  run(argv, { env: clientEnv(directory, socket), cwd: directory, ...(ms === undefined ? {} : { ms }) });

/** Waits until a client gets an answer. A socket's name alone appears before anybody listens. */
async function answers(directory: string, socket: string, program: Program): Promise<void> {
  const end = performance.now() + START_MS;
  while (performance.now() < end && program.running) {
    const done = await runClient(directory, socket, ["wayland-info"]);
    if (done.stdout.includes("wl_compositor")) return;
    await Bun.sleep(50);
  }
  await program.stop();
  throw new Error(`Cannot start ${program.argv.join(" ")}: ${program.stderr.slice(-10).join("\n")}`);
}

async function started(directory: string, socket: string, program: Program): Promise<Compositor> {
  await answers(directory, socket, program);
  const stop = async () => {
    await program.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  return { directory, socket, program, stop };
}

export async function startWeston(): Promise<Compositor> {
  const directory = mkdtempSync("/tmp/pvx-weston-");
  const socket = join(directory, "wayland-real");
  const argv = ["weston", "--backend=headless-backend.so", "--socket=wayland-real", "--idle-time=0", "--no-config"];
  return started(directory, socket, new Program(argv, { env: clientEnv(directory, ""), cwd: directory }));
}

/** Screen of 640x480 in #336699, one seat, a pointer and a keyboard as soon as somebody makes virtual ones. */
export async function startSway(): Promise<Compositor> {
  const directory = mkdtempSync("/tmp/pvx-sway-");
  chownSync(directory, ORDINARY, ORDINARY);
  writeFileSync(
    join(directory, "config"),
    [
      "output HEADLESS-1 resolution 640x480",
      "output * bg #336699 solid_color",
      "default_border none",
      "xwayland disable",
    ].join("\n"),
  );
  const env = {
    ...clientEnv(directory, ""),
    WLR_BACKENDS: "headless",
    WLR_RENDERER: "pixman",
    WLR_LIBINPUT_NO_DEVICES: "1",
  };
  const uid = String(ORDINARY);
  const argv = [
    "setpriv",
    "--reuid",
    uid,
    "--regid",
    uid,
    "--clear-groups",
    "sway",
    "--config",
    join(directory, "config"),
  ];
  return started(directory, join(directory, "wayland-1"), new Program(argv, { env, cwd: directory }));
}

/** A folder for what clients leave, away from the compositors' own. */
export function workFolder(): string {
  const directory = mkdtempSync("/tmp/pvx-wayland-");
  mkdirSync(join(directory, "out"));
  return directory;
}
