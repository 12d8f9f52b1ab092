/**
 * rest/run.ts [--rounds N] [--seconds S] [--json]: a REST link side by side with no relay at all
 * and with HAProxy on one thread doing the same header work.
 *
 * The client and the provider are small C programs (http-load.c, http-provider.c), so that what
 * stands between them is what is measured. HAProxy's rules are the least that gives the same
 * headers for a well-meaning consumer: one prefix to delete, two fields to set. It has none of the
 * folding of "_", of the strictness or of the policy.
 *
 * All in one run and interleaved; the median of the rounds' ratios is what counts. CPU time of the
 * relay a request is given too: on a shared machine it says more than requests a second.
 */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Program } from "../../test/support/program.ts";
import { accepts, Bed, ROOT } from "../bed.ts";
import { type Bar, median, passes, printBars, printTable } from "../figures.ts";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "21" },
    seconds: { type: "string", default: "0.25" },
    json: { type: "boolean", default: false },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const CONNECTIONS = [1, 32] as const;
/**
 * Before the rounds, for each way: our engine goes on compiling what it finds hot for some seconds, on the
 * processors that are measured. Short pieces in turn, since it waits for a moment's rest to do so.
 */
const WARM_TURNS = 5;
const WARM_SECONDS = 0.5;
/** USER_HZ of Linux: the unit of times in /proc/PID/stat. */
const TICKS_PER_SECOND = 100;

const WAYS = ["direct", "pv-xconnect", "with rules", "haproxy"] as const;
type Way = (typeof WAYS)[number];
interface Figures {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** CPU time of the relay, microseconds a request; NaN for direct. */
  readonly cpu: number;
}
type Round = Record<Way, Record<number, Figures>>;
interface Place {
  readonly socket: string;
  readonly pid: number | undefined;
}

const say = (text: string) => (flags.json ? undefined : console.log(text));

/** A C program of this folder, up to date. */
async function compiled(name: string): Promise<string> {
  const source = join(import.meta.dir, `${name}.c`);
  const binary = join(ROOT, "build/bench", name);
  const made = await Bun.file(binary).exists();
  if (made && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary;
  const folder = new Program(["mkdir", "-p", join(ROOT, "build/bench")]);
  await folder.finished();
  const cc = new Program(["gcc", "-O2", "-Wall", "-Wextra", "-o", binary, source], { env: { PATH: "/usr/bin:/bin" } });
  const done = await cc.finished(60_000);
  if (done.code !== 0) throw new Error(`Cannot compile ${source}: ${done.stderr}`);
  return binary;
}

function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  // proc(5): utime and stime are the 14th and 15th field; the first two are cut off here.
  return Number(fields[11]) + Number(fields[12]);
}

async function measure(load: string, { socket, pid }: Place, connections: number, seconds: number): Promise<Figures> {
  const before = pid === undefined ? Number.NaN : cpuTicks(pid);
  const run = new Program([load, socket, String(connections), String(seconds)], { stdin: "ignore" });
  const done = await run.finished(60_000);
  if (done.code !== 0) throw new Error(`Cannot measure ${socket}: ${done.stderr}`);
  const after = pid === undefined ? Number.NaN : cpuTicks(pid);
  const told = JSON.parse(done.stdout) as { requests: number; seconds: number; p50_us: number; p99_us: number };
  return {
    perSecond: told.requests / told.seconds,
    p50: told.p50_us,
    p99: told.p99_us,
    cpu: ((after - before) * 1e6) / TICKS_PER_SECOND / told.requests,
  };
}

function haproxyConfig(bed: Bed, provider: string): string {
  return `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option http-keep-alive
  timeout connect 5s
  timeout client 75s
  timeout server 300s
  timeout http-request 10s
  timeout http-keep-alive 75s
frontend consumer
  bind unix@${bed.path("haproxy.sock")}
  http-request del-header x-pv- -m beg
  http-request set-header X-PV-Client bench
  http-request set-header X-PV-Role any
  default_backend provider
backend provider
  server only unix@${provider}
`;
}

const RULES = {
  "#spec": "xconnect-policy@1",
  services: {
    ruled: {
      type: "rest",
      roles: {
        any: {
          allow: [
            { methods: ["POST"], paths: ["/v2/**"] },
            { methods: ["GET"], paths: ["/v1/**"] },
          ],
        },
      },
    },
  },
};

async function start(bed: Bed, provider: string): Promise<Record<Way, Place>> {
  const plain = { type: "rest", name: "plain", interface: "rest", socket: provider, target: bed.path("pv.sock") };
  const daemon = await bed.daemon([plain]);
  const ruled = { ...plain, name: "ruled", target: bed.path("pv-ruled.sock") };
  const strict = await bed.daemon([ruled], RULES);
  const config = bed.path("haproxy.cfg");
  writeFileSync(config, haproxyConfig(bed, provider));
  const haproxy = bed.start(["haproxy", "-db", "-f", config]);
  if (!(await accepts(bed.path("haproxy.sock")))) throw new Error(`Cannot start HAProxy: ${haproxy.stderr.join("\n")}`);
  return {
    direct: { socket: provider, pid: undefined },
    "pv-xconnect": { socket: plain.target, pid: daemon.pid },
    "with rules": { socket: ruled.target, pid: strict.pid },
    haproxy: { socket: bed.path("haproxy.sock"), pid: haproxy.pid },
  };
}

/** Each relay in turn in front of a provider that refuses what has not exactly one identity. */
async function prove(bed: Bed, load: string, provider: string): Promise<void> {
  const path = bed.path("verify.sock");
  bed.start([provider, path, "--verify"]);
  if (!(await accepts(path))) throw new Error("Cannot start the verifying provider");
  const places = await start(bed, path);
  for (const way of WAYS) if (way !== "direct") await measure(load, places[way], 4, 0.2);
  let refused = false;
  await measure(load, places.direct, 1, 0.1).catch(() => {
    refused = true;
  });
  if (!refused) throw new Error("Cannot prove the identity: the verifying provider takes requests without one");
}

async function measureRounds(bed: Bed): Promise<Round[]> {
  const load = await compiled("http-load");
  const provider = await compiled("http-provider");
  const proof = new Bed();
  try {
    await prove(proof, load, provider);
  } finally {
    await proof.end();
  }
  const path = bed.path("provider.sock");
  bed.start([provider, path]);
  if (!(await accepts(path))) throw new Error("Cannot start the provider");
  const places = await start(bed, path);
  for (let turn = 0; turn < WARM_TURNS; turn++)
    for (const connections of CONNECTIONS)
      for (const way of WAYS) await measure(load, places[way], connections, WARM_SECONDS);
  const rounds: Round[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const figures = Object.fromEntries(WAYS.map((way) => [way, {}])) as Round;
    // Each way follows each other one: what one leaves behind (caches, a processor's clock) falls on all.
    const order = WAYS.map((_, i) => WAYS[(round + (round % 2 === 0 ? i : -i) + 4 * WAYS.length) % WAYS.length]!);
    for (const connections of CONNECTIONS)
      for (const way of order) figures[way][connections] = await measure(load, places[way], connections, SECONDS);
    rounds.push(figures);
    const shown = WAYS.map((way) => `${way} ${figures[way][32]!.perSecond.toFixed(0)}/s`);
    say(`  round ${round}/${ROUNDS}: ${shown.join(", ")}`);
  }
  return rounds;
}

function ratio(rounds: readonly Round[], connections: number, figure: keyof Figures, by: Way): number {
  return median(rounds.map((round) => round["pv-xconnect"][connections]![figure] / round[by][connections]![figure]));
}

function barsOf(rounds: readonly Round[]): Bar[] {
  return CONNECTIONS.flatMap((n): Bar[] => {
    const where = `${n} connection${n > 1 ? "s" : ""}, by HAProxy's`;
    const faster = ratio(rounds, n, "perSecond", "haproxy");
    return [
      { what: `requests/s, ${where}`, measured: faster, bar: 1.2, kind: "least", unit: "x" },
      { what: `p50, ${where}`, measured: ratio(rounds, n, "p50", "haproxy"), bar: 1, kind: "most", unit: "x" },
    ];
  });
}

function print(rounds: readonly Round[], bars: readonly Bar[]): void {
  const of = (way: Way, n: number, figure: keyof Figures) => median(rounds.map((round) => round[way][n]![figure]));
  console.log(`\nMedians of ${ROUNDS} rounds of ${SECONDS} s each:\n`);
  printTable([
    ["", ...WAYS],
    ...CONNECTIONS.flatMap((n) => [
      [`${n} keep-alive: requests/s`, ...WAYS.map((way) => of(way, n, "perSecond").toFixed(0))],
      ["p50 (us)", ...WAYS.map((way) => of(way, n, "p50").toFixed(1))],
      ["p99 (us)", ...WAYS.map((way) => of(way, n, "p99").toFixed(1))],
      ["CPU a request (us)", ...WAYS.map((way) => (way === "direct" ? "-" : of(way, n, "cpu").toFixed(2)))],
    ]),
  ]);
  console.log("\nBars (medians of the rounds' ratios):\n");
  printBars(bars);
  const missed = bars.filter((bar) => !passes(bar)).length;
  console.log(`\n${bars.length - missed} bars met, ${missed} missed`);
}

const bed = new Bed();
process.on("SIGINT", () => void bed.end().then(() => process.exit(130)));
try {
  say("rest link: direct, pv-xconnect, pv-xconnect with rules, HAProxy (one thread)");
  const rounds = await measureRounds(bed);
  const bars = barsOf(rounds);
  if (flags.json)
    console.log(JSON.stringify({ rounds, bars: bars.map((bar) => ({ ...bar, pass: passes(bar) })) }, null, 2));
  else print(rounds, bars);
} finally {
  await bed.end();
}
