/**
 * demo.ts: what pv-xconnect does, shown with real containers. Takes a few seconds, ends by itself, exits 0,
 * and leaves nothing behind, also on Ctrl-C. Every line that it prints was checked just before.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Container, startContainer } from "../test/support/containers.ts";
import { ROOT } from "../test/support/native.ts";
import { Program, run } from "../test/support/program.ts";
import { PvCtrl } from "../test/support/pv-ctrl.ts";

const BINARY = join(ROOT, "build/pv-xconnect");
const TARGET = "/run/pv/services/network-manager.sock";
const GUEST_TARGET = "/run/pv/services/network-manager-guest.sock";
const PROVIDER_SOCKET = "/run/nm/api.sock";
/** Longest wait for any one thing; each takes milliseconds. */
const WAIT_MS = 10_000;

const colours = process.stdout.isTTY && !process.env["NO_COLOR"];
const paint = (code: number) => (text: string | number) => (colours ? `\x1b[${code}m${text}\x1b[0m` : `${text}`);
const bold = paint(1);
const faint = paint(2);
const green = paint(32);
const blue = paint(34);
let shown = 0;
const heading = (text: string) => console.log(`\n${bold(blue(`${++shown}.`))} ${bold(text)}`);
const done = (text: string) => console.log(`   ${green("ok")}  ${text}`);
const quote = (text: string) =>
  console.log(
    text
      .trimEnd()
      .split("\n")
      .map((line) => `       ${faint(line)}`)
      .join("\n"),
  );
const ms = (since: number) => bold(`${(performance.now() - since).toFixed(1)} ms`);

/** Set once a signal came: what then fails in `main` fails because its containers are gone. */
let interrupted = false;
/** Everything that must be undone, the last one first. */
const undo: (() => Promise<unknown> | unknown)[] = [];
async function cleanUp(): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step();
}

function expect(condition: boolean, what: string): void {
  if (!condition) throw new Error(`Cannot go on: ${what}`);
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await holds())) {
    expect(performance.now() < end, `${what}: not after ${WAIT_MS} ms`);
    await Bun.sleep(1);
  }
}

/** Connects as a program in the container would and gets `text` echoed; false when that does not work now. */
function echoes(container: Container, text: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(container.hostPath(TARGET), () => socket.write(text));
    const end = (result: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end(false), 1000);
    socket.on("data", (bytes) => end(bytes.toString() === text));
    socket.on("error", () => end(false));
    socket.on("close", () => end(false));
  });
}

async function startProvider(): Promise<Container> {
  const provider = await startContainer({ name: "network-manager" });
  undo.push(() => provider.stop());
  await provider.sh("mkdir -p /run/nm");
  await provider.start(["peer", "serve", PROVIDER_SOCKET, "--mode", "echo"]).event("listening");
  return provider;
}

const links = [
  { type: "unix", name: "network-manager", role: "admin", target: TARGET },
  { type: "unix", name: "network-manager", role: "guest", target: GUEST_TARGET },
].map((link) => ({ ...link, interface: null, socket: PROVIDER_SOCKET, consumer: "app", provider: "network-manager" }));
const policy = {
  "#spec": "xconnect-policy@1",
  services: { "network-manager": { type: "unix", identity: "none", roles: { admin: {} } } },
};

interface Stage {
  readonly folder: string;
  readonly ctrl: PvCtrl;
  readonly consumer: Container;
  provider: Container;
  daemon: Program;
  readonly status: () => Promise<string>;
}

async function setUp(): Promise<Omit<Stage, "daemon">> {
  heading("Two containers and a pv-ctrl that knows them");
  const folder = mkdtempSync(join(tmpdir(), "pvx-demo-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "policy.d"));
  writeFileSync(join(folder, "policy.d/demo.json"), JSON.stringify(policy));
  const consumer = await startContainer({ name: "app", userns: true });
  undo.push(() => consumer.stop());
  const provider = await startProvider();
  const ctrl = await PvCtrl.start({ socket: join(folder, "pv-ctrl") });
  undo.push(() => ctrl.close());
  ctrl.setContainer("app", consumer.pid);
  ctrl.setContainer("network-manager", provider.pid);
  ctrl.setGraph(links.map((link) => ({ ...link, consumer_pid: -1, provider_pid: -1 })));
  done(`provider ${bold("network-manager")}, pid ${provider.pid}, listens at ${PROVIDER_SOCKET}`);
  done(`consumer ${bold("app")}, pid ${consumer.pid}, in a user namespace of its own`);
  const status = async () => {
    const { code, stdout, stderr } = await run([BINARY, "status", "--state-dir", join(folder, "state")]);
    expect(code === 0, `pv-xconnect status exited ${code}: ${stderr}`);
    return stdout;
  };
  return { folder, ctrl, consumer, provider, status };
}

function showGraph(stage: Omit<Stage, "daemon">): void {
  heading("The graph: which links are wanted (GET /xconnect-graph)");
  for (const { consumer, target, provider, socket, role } of links)
    console.log(`       ${consumer}:${target}  ${blue("->")}  ${provider}:${socket}  ${faint(`role ${role}`)}`);
  console.log(faint(`       the policy knows the role admin and no other (${join(stage.folder, "policy.d")})`));
}

async function startDaemon(stage: Omit<Stage, "daemon">): Promise<Program> {
  heading("pv-xconnect starts");
  const { folder, consumer } = stage;
  expect(!existsSync(consumer.hostPath(TARGET)), `${TARGET} is there before anybody planted it`);
  const started = performance.now();
  const daemon = new Program([
    BINARY,
    "run",
    "--ctrl",
    stage.ctrl.socket,
    "--policy",
    join(folder, "policy.d"),
    "--state-dir",
    join(folder, "state"),
  ]);
  undo.push(() => daemon.stop());
  await until("the socket appears in the consumer", () => existsSync(consumer.hostPath(TARGET)) || !daemon.running);
  expect(daemon.running, `pv-xconnect ended: ${[...daemon.stdout, ...daemon.stderr].join("\n")}`);
  done(`${ms(started)} after its start the socket is inside the consumer:`);
  quote(await consumer.sh(`ls -l ${TARGET}`));
  await until("bytes go through", () => echoes(consumer, "ready?"));
  expect(!existsSync(consumer.hostPath(GUEST_TARGET)), "the guest's socket was planted, against the policy");
  done("nothing was planted for the role guest");
  return daemon;
}

async function showTraffic({ consumer }: Stage): Promise<void> {
  heading("Bytes and file descriptors go through");
  const words = "hello from app";
  const read = JSON.parse(
    (await consumer.exec(["peer", "read", TARGET, "--send", words, "--bytes", `${words.length}`])).stdout,
  );
  expect(read.text === words, `the echo was "${read.text}"`);
  done(`app sent "${words}" and had it back`);
  const one = JSON.parse(
    (await consumer.exec(["peer", "send", TARGET, "--messages", "1", "--size", "64", "--fds", "1"])).stdout,
  );
  expect(one.exact === 1, "the descriptor did not come back");
  done("an open file went to the provider and back as a descriptor, and reads as before");
  const many = JSON.parse(
    (await consumer.exec(["peer", "send", TARGET, "--messages", "50", "--size", "10", "--fds", "28", "--chunk", "1"]))
      .stdout,
  );
  expect(
    many.exact === 50 * 28 && many.in_order && many.intact,
    `descriptors lost their place: ${JSON.stringify(many).slice(0, 200)}`,
  );
  done("50 messages with 28 descriptors each: all in order, each at its own byte");
}

async function showRestart(stage: Stage): Promise<void> {
  heading("The provider's container dies and comes back");
  const before = stage.provider.pid;
  await stage.provider.stop();
  done(`pid ${before} is gone, and the graph still names it, as Pantavisor's does`);
  stage.provider = await startProvider();
  await Bun.sleep(300);
  const known = performance.now();
  stage.ctrl.setContainer("network-manager", stage.provider.pid);
  await until("the link is healed", () => echoes(stage.consumer, "again"));
  done(`${ms(known)} after pv-ctrl knew the new pid ${stage.provider.pid}, bytes went through again`);
}

async function showEnd({ consumer, daemon }: Stage): Promise<void> {
  heading("SIGTERM");
  const told = performance.now();
  daemon.signal("SIGTERM");
  const { code } = await daemon.finished(WAIT_MS);
  expect(code === 0, `pv-xconnect exited ${code}`);
  expect(!existsSync(consumer.hostPath(TARGET)), "the socket is still in the consumer");
  done(`exit 0 after ${ms(told)}, and the socket is gone from the consumer`);
}

async function main(): Promise<void> {
  console.log(
    `${bold("pv-xconnect")}: real containers, one compiled binary (${(statSync(BINARY).size / 1e6).toFixed(0)} MB)`,
  );
  const set = await setUp();
  showGraph(set);
  const stage: Stage = { ...set, daemon: await startDaemon(set) };
  try {
    await showTraffic(stage);
    await showRestart(stage);
    heading("pv-xconnect status");
    console.log((await stage.status()).trimEnd().replace(/^/gm, "   "));
    await showEnd(stage);
  } catch (error) {
    if (!interrupted)
      console.error(`\npv-xconnect said:\n${[...stage.daemon.stdout, ...stage.daemon.stderr].slice(-20).join("\n")}`);
    throw error;
  }
}

if (process.getuid?.() !== 0) {
  console.error(
    "Cannot show the demo: it makes containers (mount, pid and user namespaces) and plants sockets in them,\nwhich the kernel allows to root only. Try: sudo make demo",
  );
  process.exit(1);
}
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    interrupted = true;
    void cleanUp().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
  });
try {
  await main();
  if (!interrupted) {
    await cleanUp();
    console.log(`\n${green("Everything is as it was before.")}`);
  }
} catch (error) {
  if (!interrupted) {
    await cleanUp();
    console.error(`\n${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
}
