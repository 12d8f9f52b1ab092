/**
 * wayland/run.ts [--rounds N] [--seconds S] [--json]: a Wayland link side by side with no relay at all,
 * with a plain relay in C that looks at nothing (splice.c), and with waypipe.
 *
 * A real weston without a screen answers. Round trips are wl_display.sync; frames are those of a
 * wl_shm client that shares each frame's memory anew, so that an fd goes with every one. weston
 * answers at once and shows nothing, so what is left to see is the way there and back. Rounds are
 * interleaved, because the machine is shared: the median of the rounds' ratios is what counts.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { accepts, Bed, ROOT } from "../bed.ts";
import { type Bar, median, memoryOf, passes, printBars, printTable } from "../figures.ts";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
/** Before the rounds: the engine compiles what it finds hot. */
const WARM_SECONDS = 1;
const LOAD = join(ROOT, "build/bench/wayland-load");
const SPLICE = join(ROOT, "build/bench/splice");
const LOAD_MS = 60_000;

const WAYS = ["direct", "splice", "pv-xconnect", "waypipe"] as const;
type Way = (typeof WAYS)[number];
const MEASURES = ["round trips/s", "round trip p50 (us)", "round trip p99 (us)", "frames/s", "frame p50 (us)"] as const;
type Measure = (typeof MEASURES)[number];
type Round = Record<Way, Record<Measure, number>>;

const say = (text: string) => (flags.json ? undefined : console.log(text));

async function load(
  bed: Bed,
  mode: "sync" | "frames",
  socket: string,
  seconds: number,
): Promise<Record<string, number>> {
  const done = await bed.start([LOAD, mode, socket, String(seconds)]).finished(LOAD_MS);
  if (done.code !== 0) throw new Error(`Cannot measure ${mode} through ${socket}: ${done.stderr}`);
  return JSON.parse(done.stdout) as Record<string, number>;
}

async function measure(bed: Bed, socket: string): Promise<Record<Measure, number>> {
  const sync = await load(bed, "sync", socket, SECONDS);
  const frames = await load(bed, "frames", socket, SECONDS);
  return {
    "round trips/s": sync["per_second"] ?? Number.NaN,
    "round trip p50 (us)": sync["p50_us"] ?? Number.NaN,
    "round trip p99 (us)": sync["p99_us"] ?? Number.NaN,
    "frames/s": frames["per_second"] ?? Number.NaN,
    "frame p50 (us)": frames["p50_us"] ?? Number.NaN,
  };
}

async function ready(what: string, socket: string): Promise<string> {
  if (!(await accepts(socket))) throw new Error(`Cannot start the bench: ${what} does not accept at ${socket}`);
  return socket;
}

/** weston, and the three ways to it. */
async function places(bed: Bed): Promise<{ sockets: Record<Way, string>; daemonPid: number }> {
  const runtime = bed.path("runtime");
  mkdirSync(runtime, { mode: 0o700 });
  const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: runtime, XDG_RUNTIME_DIR: runtime };
  bed.start(["weston", "--backend=headless-backend.so", "--socket=direct", "--idle-time=0", "--no-config"], env);
  const direct = await ready("weston", join(runtime, "direct"));
  const splice = bed.path("splice.sock");
  await bed.start([SPLICE, splice, direct]).line(/listening/);
  const target = bed.path("pv.sock");
  const daemon = await bed.daemon([{ name: "wayland-0", type: "wayland", socket: direct, target }]);
  const channel = bed.path("waypipe.sock");
  const options = ["--compress", "none", "--no-gpu", "--socket", channel];
  bed.start(["waypipe", ...options, "client"], { ...env, WAYLAND_DISPLAY: direct });
  await ready("waypipe client", channel);
  // Its command ends with our end of its input, which it inherits; one that waypipe left behind would keep our pipes open.
  bed.start(["waypipe", ...options, "--display", "waypipe", "server", "--", "cat"], env);
  const waypipe = await ready("waypipe server", join(runtime, "waypipe"));
  return { sockets: { direct, splice, "pv-xconnect": target, waypipe }, daemonPid: daemon.pid };
}

/** Median over the rounds of one way's figure by another's in the same round. */
function ratio(rounds: readonly Round[], measure: Measure, way: Way, by: Way): number {
  return median(rounds.map((round) => round[way][measure] / round[by][measure]));
}

function barsOf(rounds: readonly Round[]): Bar[] {
  const bar = (what: string, measure: Measure, by: Way, least: number): Bar => ({
    what,
    measured: ratio(rounds, measure, "pv-xconnect", by),
    bar: least,
    kind: "least",
    unit: "x",
  });
  return [
    bar("round trips/s, by direct", "round trips/s", "direct", 0.45),
    bar("round trips/s, by a plain splice in C", "round trips/s", "splice", 0.9),
    bar("frames/s, by a plain splice in C", "frames/s", "splice", 0.9),
    bar("frames/s, by waypipe", "frames/s", "waypipe", 2),
  ];
}

const bed = new Bed();
try {
  const { sockets, daemonPid } = await places(bed);
  for (const way of WAYS)
    for (const mode of ["sync", "frames"] as const) await load(bed, mode, sockets[way], WARM_SECONDS);
  const rounds: Round[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const figures = {} as Round;
    for (const way of WAYS) figures[way] = await measure(bed, sockets[way]);
    rounds.push(figures);
    say(
      `  round ${round}/${ROUNDS}: ${WAYS.map((way) => `${way} ${figures[way]["round trips/s"].toFixed(0)}/s`).join(", ")}`,
    );
  }
  const bars = barsOf(rounds);
  const memory = memoryOf(daemonPid);
  if (flags.json) console.log(JSON.stringify({ bench: "wayland", rounds, bars, memory, passed: bars.every(passes) }));
  else {
    const of = (way: Way, m: Measure) => median(rounds.map((r) => r[way][m]));
    const shown = (value: number) => (value >= 1000 ? value.toFixed(0) : value.toFixed(2));
    console.log(`\nMedians of ${ROUNDS} rounds of ${SECONDS} s each, and the rounds' median ratios of pv-xconnect:\n`);
    printTable([
      ["", ...WAYS, "by direct", "by splice"],
      ...MEASURES.map((m) => [
        m,
        ...WAYS.map((way) => shown(of(way, m))),
        `${ratio(rounds, m, "pv-xconnect", "direct").toFixed(2)}x`,
        `${ratio(rounds, m, "pv-xconnect", "splice").toFixed(2)}x`,
      ]),
    ]);
    console.log(`\n  daemon afterwards: ${(memory.anonymousKb / 1024).toFixed(1)} MB anonymous memory\n`);
    printBars(bars);
  }
} finally {
  await bed.end();
}
