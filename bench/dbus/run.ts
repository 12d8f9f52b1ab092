/**
 * dbus/run.ts [--rounds N] [--calls N] [--json]: method calls through a D-Bus link side by side with
 * no relay at all and with xdg-dbus-proxy doing the same (`--filter --talk=NAME`).
 *
 * dbus-test-tool is both ends (spam and echo), a private dbus-daemon stands between them. Queue 1
 * is latency: one call at a time; queue 50 is throughput. What counts is what a relay *adds* to a
 * call, in time and in its own CPU, in the same run; rounds are interleaved, medians compared.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { RawClient } from "../../test/support/dbus-bus.ts";
import { CALL, message } from "../../test/support/dbus-wire.ts";
import { Program } from "../../test/support/program.ts";
import { accepts, Bed } from "../bed.ts";
import { type Bar, type Memory, median, memoryOf, passes, printBars, printTable } from "../figures.ts";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    calls: { type: "string", default: "10000" },
    json: { type: "boolean", default: false },
  },
});
const ROUNDS = Number(flags.rounds);
const CALLS = Number(flags.calls);
const QUEUES = [1, 50] as const;
const CONNECTIONS = [1, 10, 100] as const;
/** Before the rounds: the engine compiles what it finds hot. */
const WARM_CALLS = 30_000;
const NAME = "org.pantavisor.Echo";
const SPAM_MS = 120_000;

const WAYS = ["direct", "xdg-dbus-proxy", "pv-xconnect"] as const;
type Way = (typeof WAYS)[number];
interface Figures {
  /** Microseconds a call, start and end of the client included. */
  readonly call: number;
  /** CPU time of the relay, microseconds a call; 0 for direct. */
  readonly cpu: number;
}
interface Place {
  readonly socket: string;
  readonly pid: number | undefined;
}

const say = (text: string) => (flags.json ? undefined : console.log(text));

/** Nanoseconds on a CPU of all threads: /proc/PID/task/TID/schedstat, first field. */
function cpuOf(pid: number): number {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`))
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
  return sum;
}

async function spam({ socket, pid }: Place, queue: number, calls: number): Promise<Figures> {
  const argv = ["dbus-test-tool", "spam", "--session", `--dest=${NAME}`, `--count=${calls}`, `--queue=${queue}`];
  const before = pid === undefined ? 0 : cpuOf(pid);
  const started = performance.now();
  const program = new Program(argv, {
    stdin: "ignore",
    env: { PATH: "/usr/bin:/bin", DBUS_SESSION_BUS_ADDRESS: `unix:path=${socket}` },
  });
  const done = await program.finished(SPAM_MS);
  if (done.code !== 0) throw new Error(`Cannot measure through ${socket}: ${done.stderr}`);
  const call = ((performance.now() - started) * 1000) / calls;
  return { call, cpu: pid === undefined ? 0 : (cpuOf(pid) - before) / 1000 / calls };
}

/** Memory of a relay with so many idle connections that have said Hello. */
async function held({ socket, pid }: Place): Promise<Record<number, Memory>> {
  const clients: RawClient[] = [];
  const out: Record<number, Memory> = {};
  const bus = "org.freedesktop.DBus";
  const hello = message({
    type: CALL,
    serial: 1,
    destination: bus,
    path: "/org/freedesktop/DBus",
    interface: bus,
    member: "Hello",
  });
  for (const count of CONNECTIONS) {
    while (clients.length < count) {
      const client = await RawClient.connect(socket);
      client.send(hello);
      await client.bytesUntil((b) => b.length > 0);
      clients.push(client);
    }
    await Bun.sleep(200);
    out[count] = memoryOf(pid!);
  }
  for (const client of clients) client.close();
  return out;
}

async function bus(bed: Bed): Promise<string> {
  const socket = bed.path("bus");
  const config = bed.path("bus.conf");
  writeFileSync(
    config,
    `<busconfig><type>session</type><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`,
  );
  bed.start(["dbus-daemon", `--config-file=${config}`, "--nofork", "--nopidfile", "--nosyslog"]);
  if (!(await accepts(socket))) throw new Error("Cannot start the bench: dbus-daemon does not listen");
  bed.start(["dbus-test-tool", "echo", "--session", `--name=${NAME}`], {
    PATH: "/usr/bin:/bin",
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${socket}`,
  });
  await Bun.sleep(500);
  return socket;
}

const bed = new Bed();
try {
  const direct = await bus(bed);
  const proxySocket = bed.path("xdg");
  const proxy = bed.start(["xdg-dbus-proxy", `unix:path=${direct}`, proxySocket, "--filter", `--talk=${NAME}`]);
  if (!(await accepts(proxySocket))) throw new Error("Cannot start the bench: xdg-dbus-proxy does not listen");
  const target = bed.path("link");
  const policy = {
    "#spec": "xconnect-policy@1",
    services: { bus: { type: "dbus", roles: { root: { talk: [NAME] } } } },
  };
  const daemon = await bed.daemon(
    [{ name: "bus", type: "dbus", role: "root", interface: "dbus", socket: direct, target }],
    policy,
  );
  const places: Record<Way, Place> = {
    direct: { socket: direct, pid: undefined },
    "xdg-dbus-proxy": { socket: proxySocket, pid: proxy.pid },
    "pv-xconnect": { socket: target, pid: daemon.pid },
  };
  say(`D-Bus method calls: ${ROUNDS} rounds of ${CALLS} calls each`);
  for (const way of WAYS) for (const queue of QUEUES) await spam(places[way], queue, WARM_CALLS);
  const rounds: Record<Way, Record<number, Figures>>[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const round = { direct: {}, "xdg-dbus-proxy": {}, "pv-xconnect": {} } as Record<Way, Record<number, Figures>>;
    for (const queue of QUEUES) for (const way of WAYS) round[way][queue] = await spam(places[way], queue, CALLS);
    rounds.push(round);
  }
  const memory = {
    "xdg-dbus-proxy": await held(places["xdg-dbus-proxy"]),
    "pv-xconnect": await held(places["pv-xconnect"]),
  };

  const of = (way: Way, queue: number, field: keyof Figures): number =>
    median(rounds.map((r) => r[way][queue]![field]));
  const added = (way: Way, queue: number): number =>
    median(rounds.map((r) => r[way][queue]!.call - r.direct[queue]!.call));
  const bars: Bar[] = [];
  for (const queue of QUEUES) {
    bars.push({
      what: `added time a call, queue ${queue}, to xdg-dbus-proxy's`,
      measured: added("pv-xconnect", queue) / added("xdg-dbus-proxy", queue),
      bar: 1,
      kind: "most",
      unit: "times",
    });
    bars.push({
      what: `CPU a call, queue ${queue}, to xdg-dbus-proxy's`,
      measured: of("pv-xconnect", queue, "cpu") / of("xdg-dbus-proxy", queue, "cpu"),
      bar: 1,
      kind: "most",
      unit: "times",
    });
  }
  if (flags.json) console.log(JSON.stringify({ rounds, memory, bars }));
  else {
    const table = [["", ...QUEUES.flatMap((q) => [`calls/s q${q}`, `us/call q${q}`, `added q${q}`, `CPU us q${q}`])]];
    for (const way of WAYS)
      table.push([
        way,
        ...QUEUES.flatMap((q) => [
          (1e6 / of(way, q, "call")).toFixed(0),
          of(way, q, "call").toFixed(1),
          way === "direct" ? "-" : added(way, q).toFixed(1),
          way === "direct" ? "-" : of(way, q, "cpu").toFixed(1),
        ]),
      ]);
    printTable(table);
    const rows = [["memory, MB (anonymous)", ...CONNECTIONS.map((n) => `${n} connections`)]];
    for (const [way, figures] of Object.entries(memory))
      rows.push([
        way,
        ...CONNECTIONS.map(
          (n) => `${(figures[n]!.rssKb / 1000).toFixed(1)} (${(figures[n]!.anonymousKb / 1000).toFixed(1)})`,
        ),
      ]);
    printTable(rows);
    printBars(bars);
  }
  process.exitCode = bars.every(passes) ? 0 : 1;
} finally {
  await bed.end();
}
