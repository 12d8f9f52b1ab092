/** Real servers as providers, real clients as consumers. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { requireRealPart } from "../../support/real-parts.ts";
import { type ProviderKind, RestLink, type Told } from "../../support/rest-link.ts";

const IDENTITY = [
  ["x-pv-client", "app"],
  ["x-pv-role", "admin"],
];
const identityOf = (told: Told) => told.headers.filter(([name]) => name.replaceAll("_", "-").startsWith("x-pv-"));

for (const kind of ["python", "node", "bun"] as const satisfies ProviderKind[])
  describe.skipIf(!requireRealPart("root", "curl", "nc", "python3", "node"))(
    `${kind} as the provider, curl as the consumer`,
    () => {
      let link: RestLink;
      beforeAll(async () => {
        link = await RestLink.start();
        await link.provide(kind);
      });
      afterAll(async () => {
        expect(link.errors()).toEqual([]);
        await link.stop();
      });

      test("a request has one identity, in front, whatever the consumer claims", async () => {
        const told = await link.told("/a?b=c", "-H", "X-PV-Role: root", "-H", "x_pv_client: root", "-H", "X-Foo: 1");
        expect(told).toMatchObject({ method: "GET", path: "/a?b=c", version: "HTTP/1.1" });
        expect(identityOf(told)).toEqual(IDENTITY as never);
        expect(told.headers.slice(0, 2)).toEqual(IDENTITY as never);
        expect(told.headers).toContainEqual(["x-foo", "1"]);
      });

      test("each request of a kept connection has it", async () => {
        const done = await link.curl(["/1", "/2", "/3"], "-H", "X-PV-Role: root", "-v");
        const answers = done.stdout
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line) as Told);
        expect(answers.map((told) => told.path)).toEqual(["/1", "/2", "/3"]);
        for (const told of answers) expect(identityOf(told)).toEqual(IDENTITY as never);
        expect(done.stderr.match(/Re-using existing connection/g)?.length).toBe(2);
      });

      test("uploads arrive whole, by length and in chunks", async () => {
        const file = join(link.directory, "upload");
        writeFileSync(file, Buffer.alloc(5_000_000, "x"));
        expect((await link.told("/sink", "-T", file)).body).toBe(5_000_000);
        expect((await link.told("/sink", "-T", file, "-H", "Transfer-Encoding: chunked")).body).toBe(5_000_000);
        expect((await link.told("/sink", "-H", "Expect: 100-continue", "--data-binary", `@${file}`)).body).toBe(
          5_000_000,
        );
      });

      test("HTTP/1.0 and HEAD", async () => {
        expect(await link.told("/old", "--http1.0")).toMatchObject({ version: "HTTP/1.0", path: "/old" });
        const head = await link.curl(["/h", "/h"], "-I");
        expect(head.code).toBe(0);
        expect(head.stdout.match(/HTTP\/1.1 200/g)?.length).toBe(2);
      });

      test("nc -N gets its answer after its half-close", async () => {
        const done = await link.pipe(["nc", "-N", "-U", link.socket], "GET /nc HTTP/1.1\r\nHost: a\r\n\r\n");
        expect(done.stdout).toContain('"/nc"');
        expect(done.stdout).toStartWith("HTTP/1.1 200");
      });

      test("pipelined requests are answered in order, a refusal among them in its place", async () => {
        const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
        const input = request("/1") + request("/2") + request("/3").replace("Host: a", "Host : a") + request("/4");
        const done = await link.pipe(["nc", "-N", "-U", link.socket], input);
        const found = [...done.stdout.matchAll(/"path": ?"([^"]+)"|"error":"([^"]+)"/g)].map((m) => m[1] ?? m[2]);
        expect(found).toEqual(["/1", "/2", "space-before-colon"] as never);
      });
    },
  );

describe.skipIf(!requireRealPart("root", "curl", "nginx"))("nginx as the provider", () => {
  let link: RestLink;
  beforeAll(async () => {
    link = await RestLink.start();
    mkdirSync(join(link.directory, "files"));
    writeFileSync(join(link.directory, "files/big"), Buffer.alloc(10_000_000, "y"));
    await link.provide("nginx");
  });
  afterAll(async () => {
    expect(link.errors()).toEqual([]);
    await link.stop();
  });

  test("identity on every request of a kept connection", async () => {
    const done = await link.curl(["/echo/1", "/echo/2"], "-H", "X-PV-Role: root", "-H", "X-Foo: bar", "-v");
    expect(done.stdout).toBe(
      "GET /echo/1 HTTP/1.1 client=app role=admin foo=bar\nGET /echo/2 HTTP/1.1 client=app role=admin foo=bar",
    );
    expect(done.stderr).toContain("Re-using existing connection");
  });

  test("files pass whole, and ranges of them", async () => {
    const whole = await link.curl("/files/big", "-o", "/dev/null", "-w", "%{http_code} %{size_download}");
    expect(whole.stdout).toBe("200 10000000");
    const part = await link.curl("/files/big", "-r", "5-14", "-w", " %{http_code}");
    expect(part.stdout).toBe("yyyyyyyyyy 206");
  });

  test("more requests than nginx serves on one connection", async () => {
    // keepalive_requests is 1000: nginx says Connection: close with the last, and curl connects anew.
    const urls = Array.from({ length: 1100 }, (_, i) => `/echo/${i}`);
    const done = await link.curl(urls);
    expect(done.code).toBe(0);
    expect(done.stdout.split("\n").length).toBe(1100);
  });
});

describe.skipIf(!requireRealPart("root", "nc", "python3"))("WebSocket", () => {
  test("opens through the link, with identity, and carries messages both ways", async () => {
    const link = await RestLink.start();
    let seen: string | null = null;
    const server = Bun.serve({
      unix: link.upstream,
      fetch(request, self) {
        seen = `${request.headers.get("x-pv-client")}/${request.headers.get("x-pv-role")}`;
        return self.upgrade(request) ? undefined : new Response("no", { status: 426 });
      },
      websocket: { message: (socket, message) => void socket.send(`echo ${message}`) },
    });
    try {
      const client = new WebSocket(`ws+unix://${link.socket}:/chat`);
      const messages: string[] = [];
      const closed = Promise.withResolvers<void>();
      client.onopen = () => client.send("one");
      client.onmessage = ({ data }) => {
        messages.push(String(data));
        if (messages.length === 1) client.send("x".repeat(100_000));
        else client.close();
      };
      client.onclose = () => closed.resolve();
      await closed.promise;
      expect(messages).toEqual(["echo one", `echo ${"x".repeat(100_000)}`]);
      expect(seen as string | null).toBe("app/admin");
    } finally {
      await server.stop(true);
      await link.stop();
    }
  });

  test("declined stays HTTP, and what follows is mediated", async () => {
    const link = await RestLink.start();
    await link.provide("python");
    const opening = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const done = await link.pipe(
      ["nc", "-N", "-U", link.socket],
      `${opening}GET /next HTTP/1.1\r\nHost: a\r\nX-PV-Role: root\r\n\r\n`,
    );
    const answers = done.stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Told);
    expect(answers.map((told) => told.path)).toEqual(["/chat", "/next"]);
    expect(identityOf(answers[1]!)).toEqual(IDENTITY as never);
    await link.stop();
  });
});
