/** What a peer leaves behind for the relay to close: that its close(2) waits must cost nobody else anything. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Provider, Rig } from "../../support/relay-rig.ts";

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start();
});
afterAll(() => rig.stop());

function leave(socket: string) {
  const program = join(import.meta.dir, "../../support/hostile-fds.py");
  return Bun.spawn(["/usr/bin/python3", program, socket], { stdin: "pipe", stdout: "pipe" });
}

describe("an fd whose close waits for 20 s", () => {
  test.each([
    ["left unread in a consumer's socket", false],
    // The link passes none.
    ["received and then dropped", true],
  ] as const)("%s does not stop other links", async (_name, received) => {
    const provider = new Provider(rig.path());
    // Nobody listens there: the session is held, the consumer not read.
    const gone = rig.path();
    const hostile = await rig.open({ path: gone, maxFds: 0 });
    const link = await rig.open({ path: provider.path });
    const peer = leave(hostile.path);
    expect(new TextDecoder().decode((await peer.stdout.getReader().read()).value)).toStartWith("left");
    const late = received ? new Provider(gone) : undefined;
    // Beyond the hold of the session that nobody answers.
    await rig.noSessions(hostile, 8000);
    // What waits to be closed is the hostile link's own account.
    expect((await rig.counters(hostile)).queued_fds).toBeGreaterThan(0);
    const before = performance.now();
    const consumer = rig.connect(link);
    consumer.send("question");
    const upstream = provider.accept();
    expect(await upstream.text(8)).toBe("question");
    expect(performance.now() - before).toBeLessThan(2000);
    await rig.close(hostile);
    expect(performance.now() - before).toBeLessThan(3000);
    for (const each of [consumer, upstream, provider, late]) each?.close();
    peer.kill();
    await rig.noSessions(link);
  });
});

test("an urgent byte passes as one like any other and keeps nothing awake", async () => {
  const { provider, link, consumer, accept } = await rig.session();
  const upstream = accept();
  const code =
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b'abc'); s.send(b'!', socket.MSG_OOB); sys.stdin.read()";
  const urgent = Bun.spawn(["/usr/bin/python3", "-c", code, link.path], { stdin: "pipe" });
  const second = accept();
  expect(await second.text(4)).toBe("abc!");
  const before = rig.cpuTicks;
  await Bun.sleep(500);
  expect(rig.cpuTicks - before).toBeLessThan(20);
  urgent.kill();
  for (const peer of [consumer, upstream, second, provider]) peer.close();
  await rig.noSessions(link);
});
