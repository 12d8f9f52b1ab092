/** What goes wrong between real peers: providers that are away, die or misbehave; consumers that are slow or hostile. */
import { afterEach, describe, expect, test } from "bun:test";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { HOLD_MS } from "../../../src/relay/limits.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { RestLink, type RestLinkOptions } from "../../support/rest-link.ts";

const GET = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
let link: RestLink | undefined;
let raw: Server | undefined;

async function start(options?: RestLinkOptions): Promise<RestLink> {
  link = await RestLink.start(options);
  return link;
}
afterEach(async () => {
  const errors = link?.errors();
  raw?.close();
  await link?.stop();
  link = raw = undefined;
  expect(errors ?? []).toEqual([]);
});

/** A provider that answers each connection's first bytes with a text, and then as told. */
async function scripted(at: RestLink, answer: string, then: "keep" | "end" | "destroy" = "keep"): Promise<string[]> {
  const received: string[] = [];
  raw = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      received.push(data.toString("latin1"));
      socket.write(answer, () => {
        if (then === "end") socket.end();
        else if (then === "destroy") socket.destroy();
      });
    });
  });
  await new Promise<void>((resolve) => raw!.listen(at.upstream, resolve));
  return received;
}

/** A consumer that sends, and gathers until the end; how it ended. */
function consumer(
  at: RestLink,
  first: string,
): Promise<{ text: string; ms: number; socket: ReturnType<typeof connect> }> {
  const started = performance.now();
  const socket = connect(at.socket);
  let text = "";
  socket.write(first);
  return new Promise((resolve) => {
    socket.on("data", (data) => {
      text += data.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve({ text, ms: performance.now() - started, socket }));
  });
}

describe.skipIf(!requireRealPart("root", "curl", "python3"))("the provider", () => {
  test("is not there: 503 after the hold", async () => {
    const at = await start();
    const done = await at.curl("/a", "-w", "%{http_code} %{time_total}", "-o", "/dev/null");
    const [status, seconds] = done.stdout.split(" ").map(Number);
    expect(status).toBe(503);
    expect(seconds! * 1000).toBeGreaterThan(HOLD_MS - 200);
    expect(seconds! * 1000).toBeLessThan(HOLD_MS + 2000);
  });

  test("comes during the hold: the request is served", async () => {
    const at = await start();
    const asked = at.told("/a");
    await Bun.sleep(700);
    await at.provide("python");
    expect((await asked).path).toBe("/a");
  });

  for (const how of ["length", "chunked"])
    test(`dies within an answer (${how}): the consumer sees a cut`, async () => {
      const at = await start();
      await at.provide("python");
      const done = await at.curl(`/cut?how=${how}`);
      // 18: the transfer ended before its length was reached. 56 (reset) says the same.
      expect([18, 56]).toContain(done.code);
      expect(done.stdout).toContain("0123456789");
    });

  test("ends an answer without a length with its connection", async () => {
    const at = await start();
    await scripted(at, "HTTP/1.0 200 OK\r\n\r\nall of it", "end");
    const done = await at.curl("/a");
    expect(done).toMatchObject({ code: 0, stdout: "all of it" });
  });

  test("closes without an answer: 502", async () => {
    const at = await start();
    await scripted(at, "", "destroy");
    expect((await at.curl("/a", "-w", "%{http_code}", "-o", "/dev/null")).stdout).toBe("502");
  });

  test("splits its answer: the second one reaches nobody", async () => {
    const at = await start();
    await scripted(
      at,
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    );
    const got = await consumer(at, GET);
    expect(got.text).toBe("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });

  test("gives a malformed head: 502, and none of it is seen", async () => {
    const at = await start();
    await scripted(at, "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n");
    const got = await consumer(at, GET);
    expect(got.text).toStartWith("HTTP/1.1 502 Bad Gateway\r\n");
    expect(got.text).not.toContain("X:");
  });

  test("speaks before it is asked: the connection closes", async () => {
    const at = await start();
    raw = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        setTimeout(() => socket.write("HTTP/1.1 408 Request Timeout\r\n\r\n"), 50);
      });
    });
    await new Promise<void>((resolve) => raw!.listen(at.upstream, resolve));
    const got = await consumer(at, GET);
    expect(got.text).toBe("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });

  test("streams events: each is there when it is sent", async () => {
    const at = await start();
    await at.provide("python");
    const socket = connect(at.socket);
    let text = "";
    socket.on("data", (data) => {
      text += data.toString("latin1");
    });
    socket.write(GET.replace("/a", "/sse"));
    for (let i = 0; i < 100 && !text.includes("data: 3"); i++) await Bun.sleep(10);
    expect(text).toContain("data: 3");
    expect(text).not.toContain("data: 40");
    socket.destroy();
  });
});

describe.skipIf(!requireRealPart("root", "curl", "nc", "node", "python3"))("the consumer", () => {
  test("with file descriptors is refused, and they are closed", async () => {
    const at = await start();
    await at.provide("python");
    const fds = at.fds();
    const done = await at.pipe(
      ["/usr/bin/python3", join(import.meta.dir, "../../support/send-fds.py"), at.socket, "3"],
      "",
    );
    expect(done.stdout).toContain("400 Bad Request");
    expect(done.stdout).toEndWith("closed");
    expect(at.fds()).toBeLessThanOrEqual(fds);
    expect(at.denials()[0]).toMatchObject({ action: "fds", asked: { from: "consumer", count: 3 } });
  });

  test("with a slow head gets a 408", async () => {
    const at = await start({ timeouts: { head: 400 } });
    const got = await consumer(at, "GET / HTTP/1.1\r\nHost");
    expect(got.text).toStartWith("HTTP/1.1 408");
    expect(got.ms).toBeLessThan(2000);
  });

  test("that is idle is let go", async () => {
    const at = await start({ timeouts: { idle: 400 } });
    await at.provide("python");
    const got = await consumer(at, GET);
    expect(got.text).toContain('"path": "/a"');
    expect(got.ms).toBeLessThan(3000);
  });

  test("that is denied while it uploads gets to its 403", async () => {
    const at = await start({ allow: [{ methods: ["GET"] }] });
    await at.provide("python");
    const flags = ["-T", "/bin/bash", "-H", "Expect:", "-w", "%{http_code}", "-o", "/dev/null"];
    const done = await at.curl("/sink", ...flags);
    expect(done.stdout).toBe("403");
    expect(at.denials()[0]).toMatchObject({ rule: "roles.any.allow", asked: { method: "PUT", path: "/sink" } });
  });

  test("on an open connection obeys a new policy with its next request", async () => {
    const at = await start();
    await at.provide("python");
    const socket = connect(at.socket);
    let text = "";
    socket.on("data", (data) => {
      text += data.toString("latin1");
    });
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.write(GET);
    for (let i = 0; i < 100 && !text.includes('"/a"'); i++) await Bun.sleep(10);
    await at.configure({ allow: [{ paths: ["/b/**"] }] });
    socket.write(GET);
    await closed;
    expect(text).toContain("403 Forbidden");
  });

  test("whose WebSocket a new policy forbids loses it", async () => {
    const at = await start();
    await scripted(at, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    const opening = GET.replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    const session = consumer(at, opening);
    await Bun.sleep(200);
    await at.configure({ allow: [] });
    expect((await session).text).toStartWith("HTTP/1.1 101");
  });

  test("that pipelines more than is taken at once is answered all the same", async () => {
    const at = await start();
    const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    raw = createServer((socket) => {
      let seen = "";
      socket.on("error", () => {});
      socket.on("data", (data) => {
        seen += data.toString("latin1");
        const heads = seen.split("\r\n\r\n");
        seen = heads.pop()!;
        // Late, so that the consumer runs far ahead.
        setTimeout(() => socket.write(answer.repeat(heads.length)), 20);
      });
    });
    await new Promise<void>((resolve) => raw!.listen(at.upstream, resolve));
    const count = 1500;
    const socket = connect(at.socket);
    let text = "";
    socket.on("data", (data) => {
      text += data.toString("latin1");
    });
    for (let i = 0; i < count; i += 100) {
      socket.write(GET.repeat(100));
      await Bun.sleep(1);
    }
    for (let i = 0; i < 500 && text.length < answer.length * count; i++) await Bun.sleep(10);
    expect(text).toBe(answer.repeat(count));
    socket.destroy();
  });

  test("in numbers leaves nothing behind", async () => {
    const at = await start();
    await at.provide("node");
    await at.told("/warm");
    const fds = at.fds();
    await Promise.all(Array.from({ length: 20 }, (_, i) => at.told(`/${i}`)));
    await Promise.all(Array.from({ length: 20 }, () => at.pipe(["nc", "-N", "-U", at.socket], "BAD\r\n")));
    const abandoned = Array.from({ length: 20 }, () => connect(at.socket));
    for (const socket of abandoned) socket.write(GET.slice(0, 9), () => socket.destroy());
    await Bun.sleep(300);
    expect(at.fds()).toBeLessThanOrEqual(fds);
  });
});

test.skipIf(!requireRealPart("root", "curl", "python3"))("the access log has a record of each request", async () => {
  const at = await start({ accessLog: true });
  await at.provide("python");
  await at.curl(["/a?secret=1", "/b"]);
  await at.curl("/c", "-X", "BREW");
  await Bun.sleep(100);
  expect(at.reports()).toEqual([
    expect.objectContaining({ method: "GET", path: "/a", status: 200, cut: false }),
    expect.objectContaining({ method: "GET", path: "/b", status: 200, cut: false }),
    expect.objectContaining({ method: null, path: null, status: 501 }),
  ] as never);
});
