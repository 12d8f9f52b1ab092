/**
 * run.ts [--rounds N] [--seconds S] [--json]: a raw unix link side by side with no relay at all and with socat.
 *
 * All in one run and interleaved (direct, pv-xconnect, socat, direct, ...), because the machine is
 * shared and noisy: a figure alone says little, the median of the rounds' ratios says something.
 * Exits 0 whether the bars are met or not: a bench informs, tests judge.
 */
import { parseArgs } from "node:util";
import { Bed } from "./bed.ts";
import { type Bar, type Memory, median, memoryOf, passes, printBars, printTable } from "./figures.ts";
import { measureHealing } from "./heal.ts";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const CONNECTIONS = 64;
const CONNECTING_THREADS = 4;
const IDLE_SESSIONS = 1000;
const NEVER_READERS = 8;
const STARTS = 5;
/** Time for buffers to fill or for garbage to be seen before memory is read. */
const SETTLE_MS = 2000;

const WAYS = ["direct", "pv-xconnect", "socat"] as const;
type Way = (typeof WAYS)[number];
const MEASURES = ["rtt p50 (us)", "rtt p99 (us)", "messages/s", "stream GB/s", "connections/s"] as const;
type Measure = (typeof MEASURES)[number];
type Round = Record<Way, Record<Measure, number>>;

const say = (text: string) => (flags.json ? undefined : console.log(text));

async function measureRounds(bed: Bed): Promise<Round[]> {
  const echo = await bed.serve("echo");
  const sink = await bed.serve("sink");
  const at: Record<Way, { echo: string; sink: string }> = {
    direct: { echo, sink },
    "pv-xconnect": { echo: bed.path("pv-echo.sock"), sink: bed.path("pv-sink.sock") },
    socat: { echo: bed.path("socat-echo.sock"), sink: bed.path("socat-sink.sock") },
  };
  const daemon = await bed.daemon([
    { name: "echo", socket: echo, target: at["pv-xconnect"].echo },
    { name: "sink", socket: sink, target: at["pv-xconnect"].sink },
  ]);
  await bed.socat(at.socat.echo, echo);
  await bed.socat(at.socat.sink, sink);
  const rounds: Round[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const figures = {} as Round;
    for (const way of WAYS) figures[way] = await measure(bed, at[way]);
    rounds.push(figures);
    say(
      `  round ${round}/${ROUNDS}: ${WAYS.map((way) => `${way} ${figures[way]["rtt p50 (us)"].toFixed(1)} us`).join(", ")}`,
    );
  }
  await daemon.program.stop();
  return rounds;
}

async function measure(bed: Bed, at: { echo: string; sink: string }): Promise<Record<Measure, number>> {
  const rtt = await bed.load("rtt", at.echo, SECONDS);
  const messages = await bed.load("msgs", at.echo, SECONDS, CONNECTIONS);
  const stream = await bed.load("stream", at.sink, SECONDS);
  const connections = await bed.load("conns", at.echo, SECONDS, CONNECTING_THREADS);
  return {
    "rtt p50 (us)": rtt["p50_us"] ?? Number.NaN,
    "rtt p99 (us)": rtt["p99_us"] ?? Number.NaN,
    "messages/s": messages["per_second"] ?? Number.NaN,
    "stream GB/s": stream["gb_per_second"] ?? Number.NaN,
    "connections/s": connections["per_second"] ?? Number.NaN,
  };
}

interface MemoryFigures {
  readonly idle: Memory;
  readonly thousandIdle: Memory;
  readonly neverReaders: Memory;
  /** Anonymous kilobytes before the never-readers came, in that daemon. */
  readonly beforeNeverReadersKb: number;
}

/** A daemon of its own for each state, so that one state's garbage is not the next one's memory. */
async function measureMemory(bed: Bed): Promise<MemoryFigures> {
  const settled = async (pid: number) => {
    await Bun.sleep(SETTLE_MS);
    return memoryOf(pid);
  };
  const echo = bed.path("echo.sock");
  const target = bed.path("idle.sock");
  const first = await bed.daemon([{ name: "idle", socket: echo, target }]);
  const idle = await settled(first.pid);
  const sessions = await bed.hold("idle", target, IDLE_SESSIONS);
  const thousandIdle = await settled(first.pid);
  await sessions.stop();
  await first.program.stop();

  const endless = await bed.serve("endless");
  const unread = bed.path("unread.sock");
  const second = await bed.daemon([{ name: "endless", socket: endless, target: unread }]);
  const before = await settled(second.pid);
  const readers = await bed.hold("never-read", unread, NEVER_READERS);
  const neverReaders = await settled(second.pid);
  await readers.stop();
  await second.program.stop();
  return { idle, thousandIdle, neverReaders, beforeNeverReadersKb: before.anonymousKb };
}

async function measureStarts(bed: Bed): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    const daemon = await bed.daemon([
      { name: "start", socket: bed.path("echo.sock"), target: bed.path(`start-${i}.sock`) },
    ]);
    times.push(daemon.readyMs);
    await daemon.program.stop();
  }
  return times;
}

/** Median over the rounds of one way's figure by another's in the same round. */
function ratio(rounds: readonly Round[], measure: Measure, way: Way, by: Way): number {
  return median(rounds.map((round) => round[way][measure] / round[by][measure]));
}

function barsOf(
  rounds: readonly Round[],
  memory: MemoryFigures,
  starts: readonly number[],
  healing: readonly number[],
): Bar[] {
  const perSession = (memory.thousandIdle.anonymousKb - memory.idle.anonymousKb) / IDLE_SESSIONS;
  const neverReaders = (memory.neverReaders.anonymousKb - memory.beforeNeverReadersKb) / 1024;
  return [
    {
      what: "round trip p50, by socat's",
      measured: ratio(rounds, "rtt p50 (us)", "pv-xconnect", "socat"),
      bar: 1,
      kind: "most",
      unit: "x",
    },
    {
      what: "messages/s (64 connections), by socat's",
      measured: ratio(rounds, "messages/s", "pv-xconnect", "socat"),
      bar: 2,
      kind: "least",
      unit: "x",
    },
    {
      what: "stream, by direct",
      measured: ratio(rounds, "stream GB/s", "pv-xconnect", "direct"),
      bar: 0.65,
      kind: "least",
      unit: "x",
    },
    {
      what: "connections/s, by socat's (fork)",
      measured: ratio(rounds, "connections/s", "pv-xconnect", "socat"),
      bar: 5,
      kind: "least",
      unit: "x",
    },
    { what: "anonymous memory, idle", measured: memory.idle.anonymousKb / 1024, bar: 12, kind: "most", unit: "MB" },
    { what: "anonymous memory of an idle session", measured: perSession, bar: 8, kind: "most", unit: "KB" },
    {
      what: `anonymous memory of ${NEVER_READERS} that never read`,
      measured: neverReaders,
      bar: 24,
      kind: "most",
      unit: "MB",
    },
    { what: "start to first link", measured: median(starts), bar: 150, kind: "most", unit: "ms" },
    {
      what: "new pid in the graph to first byte, slowest",
      measured: Math.max(...healing),
      bar: 50,
      kind: "most",
      unit: "ms",
    },
  ];
}

function print(rounds: readonly Round[], memory: MemoryFigures, bars: readonly Bar[]): void {
  const of = (way: Way, measure: Measure) => median(rounds.map((round) => round[way][measure]));
  const shown = (value: number) => (value >= 1000 ? value.toFixed(0) : value.toFixed(2));
  console.log(`\nMedians of ${ROUNDS} rounds of ${SECONDS} s each, and the rounds' median ratios:\n`);
  printTable([
    ["", ...WAYS, "by direct", "by socat"],
    ...MEASURES.map((measure) => [
      measure,
      ...WAYS.map((way) => shown(of(way, measure))),
      `${ratio(rounds, measure, "pv-xconnect", "direct").toFixed(2)}x`,
      `${ratio(rounds, measure, "pv-xconnect", "socat").toFixed(2)}x`,
    ]),
  ]);
  const megabytes = (kb: number) => (kb / 1024).toFixed(1);
  console.log("\nMemory of pv-xconnect (MB):\n");
  printTable([
    ["", "RSS", "anonymous"],
    ["idle", megabytes(memory.idle.rssKb), megabytes(memory.idle.anonymousKb)],
    [
      `${IDLE_SESSIONS} idle sessions`,
      megabytes(memory.thousandIdle.rssKb),
      megabytes(memory.thousandIdle.anonymousKb),
    ],
    [
      `${NEVER_READERS} that never read`,
      megabytes(memory.neverReaders.rssKb),
      megabytes(memory.neverReaders.anonymousKb),
    ],
  ]);
  console.log("\nBars:\n");
  printBars(bars);
  const missed = bars.filter((bar) => !passes(bar)).length;
  console.log(`\n${bars.length - missed} bars met, ${missed} missed`);
}

const bed = new Bed();
process.on("SIGINT", () => void bed.end().then(() => process.exit(130)));
try {
  say("unix link: direct, pv-xconnect, socat");
  const rounds = await measureRounds(bed);
  const memory = await measureMemory(bed);
  const starts = await measureStarts(bed);
  const healing = await measureHealing(bed);
  const bars = barsOf(rounds, memory, starts, healing);
  if (flags.json)
    console.log(
      JSON.stringify(
        { rounds, memory, starts, healing, bars: bars.map((bar) => ({ ...bar, pass: passes(bar) })) },
        null,
        2,
      ),
    );
  else print(rounds, memory, bars);
} finally {
  await bed.end();
}
