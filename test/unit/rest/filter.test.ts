import { describe, expect, test } from "bun:test";
import { DEFAULT_TIMEOUTS } from "../../../src/mediators/rest/config.ts";
import { PIPELINE_MAX } from "../../../src/mediators/rest/pending.ts";
import { type RestOptions, restConfig, restSession, splitRefusal } from "../../support/rest-session.ts";

const GET = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const POST = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const refusalOf = (session: { downstream: { text: string } }) => splitRefusal(session.downstream.text).refusal;

describe("dialling", () => {
  test("the provider is dialled with the first request that is allowed, once", () => {
    const session = restSession();
    session.consumerSends("GET /a HTTP/1.1\r\nHost: x\r\n");
    expect(session.connects).toBe(0);
    session.consumerSends(`\r\n${GET}`);
    expect(session.connects).toBe(1);
  });

  test("a refused request does not dial", () => {
    const session = restSession({ allow: [] });
    session.consumerSends(GET);
    expect(refusalOf(session)).toBe("403 forbidden");
    expect(session.connects).toBe(0);
    expect(session.upstream.text).toBe("");
  });

  test("a provider that can't be reached within the hold is a 503", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.filter!.onUpstreamFailed!("connect: ECONNREFUSED");
    expect(refusalOf(session)).toBe("503 provider-unreachable");
    expect(session.downstream.text).toContain("Retry-After: 1\r\n");
    // The reason is the operator's, not the consumer's.
    expect(session.downstream.text).not.toContain("ECONNREFUSED");
  });
});

describe("identity", () => {
  test("no name can break out of its line", () => {
    const session = restSession({ link: { consumer: 'a"\r\nX-PV-Role: admin', role: "rôle\0 %" } });
    session.consumerSends(GET);
    const lines = session.upstream.text.split("\r\n");
    expect(lines.slice(1, 3)).toEqual(["X-PV-Client: a%22%0D%0AX-PV-Role:%20admin", "X-PV-Role: r%C3%B4le%00%20%25"]);
  });

  test("stands in front of all other fields", () => {
    const session = restSession();
    session.consumerSends(GET);
    expect(session.upstream.text.split("\r\n").slice(0, 2)).toEqual(["GET /a HTTP/1.1", "X-PV-Client: app"]);
  });
});

describe("limits", () => {
  const limited = (limits: RestOptions["limits"]) => restSession({ limits: limits! });

  test("a head of exactly the limit passes and one byte more is a 431, however it is split", () => {
    for (const split of [0, 1, 7]) {
      const fits = limited({ headBytes: GET.length });
      fits.consumerSends(GET, [], split);
      expect(fits.upstream.text).toContain("GET /a");
      const over = limited({ headBytes: GET.length - 1 });
      over.consumerSends(GET, [], split);
      expect(refusalOf(over)).toBe("431 head-too-large");
      expect(over.upstream.text).toBe("");
    }
  });

  test("an endless head is a 431", () => {
    const session = restSession();
    session.consumerSends(`GET /${"a".repeat(70_000)}`, [], 1000);
    expect(refusalOf(session)).toBe("431 head-too-large");
  });

  test("too many fields are a 431", () => {
    const head = `GET / HTTP/1.1\r\nHost: x\r\n${"A: b\r\n".repeat(255)}`;
    const fits = restSession();
    fits.consumerSends(`${head}\r\n`);
    expect(fits.upstream.text).toContain("A: b\r\n\r\n");
    const over = restSession();
    over.consumerSends(`${head}A: b\r\n\r\n`);
    expect(refusalOf(over)).toBe("431 too-many-fields");
  });

  test("trailers beyond their limit are a 431, and extensions beyond theirs a 400", () => {
    const start = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const split of [0, 3]) {
      const trailers = limited({ trailerBytes: 20 });
      trailers.consumerSends(`${start}0\r\nA: ${"b".repeat(40)}\r\n\r\n`, [], split);
      expect(refusalOf(trailers)).toBe("431 trailers-too-large");
      const extensions = limited({ extensionBytes: 6 });
      extensions.consumerSends(`${start}1;aa\r\nx\r\n1;bbb\r\nx\r\n`, [], split);
      expect(refusalOf(extensions)).toBe("400 chunk-extension");
    }
  });

  test("Connection options beyond a handful are refused", () => {
    const session = restSession();
    session.consumerSends(`GET / HTTP/1.1\r\nHost: x\r\nConnection: ${"a,".repeat(40)}a\r\n\r\n`);
    expect(refusalOf(session)).toBe("400 connection");
  });

  test("half heads of one link together are bounded, and give their room back", () => {
    const session = restSession({ carriedBytes: 1024 });
    session.consumerSends("GET /a HTTP/1.1\r\nHo");
    expect(session.service.budget.used).toBe(1024);
    session.consumerSends(`st: x\r\nX: ${"y".repeat(2000)}\r\n`);
    expect(refusalOf(session)).toBe("503 no-room");
    session.end();
    expect(session.service.budget.used).toBe(0);
  });

  test("a body holds no memory", () => {
    const session = restSession();
    session.consumerSends("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n", [], 5);
    session.consumerSends("\r\nabc");
    expect(session.service.budget.used).toBe(0);
    session.providerSends("HTTP/1.1 200 OK\r\nContent-Le", [], 4);
    expect(session.service.budget.used).toBe(1024);
    session.providerSends("ngth: 5\r\n\r\nab");
    expect(session.service.budget.used).toBe(0);
  });
});

describe("pipelining", () => {
  test("requests beyond the cap wait unread and go on as answers come", () => {
    const session = restSession();
    session.consumerSends(GET.repeat(PIPELINE_MAX + 3));
    expect(session.upstream.text.split("GET /a").length - 1).toBe(PIPELINE_MAX);
    expect(session.paused).toBe(true);
    session.providerSends(OK);
    expect(session.upstream.text.split("GET /a").length - 1).toBe(PIPELINE_MAX + 1);
    expect(session.paused).toBe(true);
    session.providerSends(OK.repeat(2));
    expect(session.upstream.text.split("GET /a").length - 1).toBe(PIPELINE_MAX + 3);
    expect(session.paused).toBe(false);
    session.providerSends(OK.repeat(PIPELINE_MAX));
    expect(session.downstream.text).toBe(OK.repeat(PIPELINE_MAX + 3));
    expect(session.service.budget.used).toBe(0);
  });

  test("more than can be held is refused behind the answers that are due", () => {
    const session = restSession();
    session.consumerSends(GET.repeat(PIPELINE_MAX + 5000));
    expect(refusalOf(session)).toBeUndefined();
    session.providerSends(OK.repeat(PIPELINE_MAX));
    expect(splitRefusal(session.downstream.text)).toEqual({ before: OK.repeat(PIPELINE_MAX), refusal: "503 pipeline" });
  });
});

describe("the consumer's half-close", () => {
  test("answers still come, then the session ends", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.filter!.consumerEnded!();
    expect(session.upstream.ended).toBe(false);
    session.providerSends(OK);
    expect(session.downstream.text).toBe(OK);
    expect(session.state).toStartWith("finished");
  });

  test("with nothing asked the session ends", () => {
    const session = restSession();
    session.filter!.consumerEnded!();
    expect(session.state).toStartWith("finished");
  });

  test("within a head it is a 400", () => {
    const session = restSession();
    session.consumerSends("GET /a HTTP/1.1\r\nHo");
    session.filter!.consumerEnded!();
    expect(refusalOf(session)).toBe("400 incomplete");
    expect(session.upstream.text).toBe("");
  });

  test("within a body the provider sees the body end short, and its answer passes", () => {
    const session = restSession();
    session.consumerSends(`${POST}ab`);
    session.filter!.consumerEnded!();
    expect(session.upstream.ended).toBe(true);
    session.providerSends("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    expect(session.downstream.text).toStartWith("HTTP/1.1 400 Bad Request");
    expect(session.state).toStartWith("finished");
  });

  test("with requests that still wait, those are sent and answered first", () => {
    const session = restSession();
    session.consumerSends(GET.repeat(PIPELINE_MAX + 1));
    session.filter!.consumerEnded!();
    session.providerSends(OK.repeat(PIPELINE_MAX));
    expect(session.state).toBe("open");
    session.providerSends(OK);
    expect(session.downstream.text).toBe(OK.repeat(PIPELINE_MAX + 1));
    expect(session.state).toStartWith("finished");
  });
});

describe("the provider's end", () => {
  test("ends an answer without a length", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends("HTTP/1.0 200 OK\r\n\r\nall of it");
    session.filter!.providerEnded!();
    expect(session.downstream.text).toBe("HTTP/1.0 200 OK\r\n\r\nall of it");
    expect(session.state).toBe("finished: the answer ended with the connection");
  });

  test("within an answer of known length cuts it, and adds nothing", () => {
    for (const head of ["Content-Length: 10", "Transfer-Encoding: chunked"]) {
      const session = restSession();
      session.consumerSends(GET);
      const sent = `HTTP/1.1 200 OK\r\n${head}\r\n\r\n5\r\nab`;
      session.providerSends(sent);
      session.filter!.providerEnded!();
      expect(session.downstream.text).toBe(sent);
      expect(session.state).toBe("finished: the provider closed the connection within an answer");
    }
  });

  test("within an answer's head is a 502, and nothing of that head is seen", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends("HTTP/1.1 200 OK\r\nContent-");
    session.filter!.providerEnded!();
    expect(splitRefusal(session.downstream.text)).toEqual({ before: "", refusal: "502 no-answer" });
  });

  test("before the first answer is a 502", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.filter!.providerEnded!();
    expect(refusalOf(session)).toBe("502 no-answer");
  });

  test("on a kept connection closes without a word, so that the client asks again", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends(OK);
    session.consumerSends(GET);
    session.filter!.providerEnded!();
    expect(session.downstream.text).toBe(OK);
    expect(session.state).toStartWith("finished");
  });

  test("between requests closes", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends(OK);
    session.filter!.providerEnded!();
    expect(session.state).toStartWith("finished");
  });

  test("does not lose the refusal that waits behind unanswered requests silently", () => {
    const session = restSession();
    session.consumerSends(`${GET}BAD\r\n\r\n`);
    session.filter!.providerEnded!();
    // The first request is owed an answer before the second one's refusal may be seen.
    expect(refusalOf(session)).toBe("502 no-answer");
  });
});

describe("deadlines", () => {
  test("a slow head is a 408, from its first byte on", () => {
    const session = restSession();
    session.advance(DEFAULT_TIMEOUTS.idle - 1000);
    session.consumerSends("GET /");
    for (let i = 0; i < 8; i++) {
      session.advance(1000);
      session.consumerSends("a");
    }
    expect(session.state).toBe("open");
    session.advance(3000);
    expect(refusalOf(session)).toBe("408 slow-head");
  });

  test("the next head has a time of its own", () => {
    const session = restSession();
    session.consumerSends("GET /a HTTP/1.1\r\n");
    session.advance(DEFAULT_TIMEOUTS.head - 1);
    session.consumerSends(`Host: x\r\n\r\nGET /`);
    session.providerSends(OK);
    session.advance(DEFAULT_TIMEOUTS.head - 10);
    expect(refusalOf(session)).toBeUndefined();
    session.advance(20);
    expect(refusalOf(session)).toBe("408 slow-head");
  });

  test("an idle connection closes", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends(OK);
    session.advance(DEFAULT_TIMEOUTS.idle - 1);
    expect(session.state).toBe("open");
    session.advance(2);
    expect(session.state).toBe("finished: idle");
    expect(session.downstream.text).toBe(OK);
  });

  test("a connection that never asks closes", () => {
    const session = restSession();
    session.advance(DEFAULT_TIMEOUTS.idle + 1);
    expect(session.state).toBe("finished: idle");
  });

  test("an answer that does not come is a 504", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.advance(DEFAULT_TIMEOUTS.answer - 1);
    expect(session.state).toBe("open");
    session.advance(2);
    expect(refusalOf(session)).toBe("504 slow-answer");
  });

  test("a body that does not come is a 408, and the session ends", () => {
    const session = restSession();
    session.consumerSends(`${POST}ab`);
    session.advance(DEFAULT_TIMEOUTS.answer + 1);
    expect(refusalOf(session)).toBe("408 slow-body");
    expect(session.state).toBe("finished: 408 slow-body");
  });

  test("an answer's body may be silent for long, and not for ever", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let i = 0; i < 3; i++) {
      session.advance(DEFAULT_TIMEOUTS.body - 1);
      expect(session.state).toBe("open");
      session.providerSends("1\r\nx\r\n");
    }
    session.advance(DEFAULT_TIMEOUTS.body + 1);
    expect(session.state).toBe("finished: the answer stood still for too long");
  });

  test("a shorter limit holds for open connections", () => {
    const session = restSession();
    session.service.configure({ ...restConfig(), timeouts: { ...DEFAULT_TIMEOUTS, idle: 1000 } });
    session.filter!.onConfig!(undefined);
    session.advance(1001);
    expect(session.state).toBe("finished: idle");
  });

  test("a deadline is always armed while the session is open", () => {
    const session = restSession();
    for (const step of [GET, `${POST}he`, "llo", GET.slice(0, 9), GET.slice(9)]) {
      session.consumerSends(step);
      expect(session.deadline).toBeGreaterThan(session.clock);
      session.advance(10);
    }
    session.providerSends(OK.repeat(2));
    expect(session.deadline).toBeGreaterThan(session.clock);
  });
});

describe("file descriptors", () => {
  test("from the consumer are closed and refuse it", () => {
    const session = restSession();
    session.consumerSends(GET, [7, 8]);
    expect(session.leakedFds).toEqual([]);
    expect(refusalOf(session)).toBe("400 file-descriptors");
    expect(session.upstream.text).toBe("");
    expect(session.denied[0]).toEqual({
      action: "fds",
      rule: "http.file-descriptors",
      asked: { from: "consumer", count: 2 },
    });
  });

  test("from the provider are closed and its answer is not passed on", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends(OK, [9]);
    expect(session.leakedFds).toEqual([]);
    expect(splitRefusal(session.downstream.text)).toEqual({ before: "", refusal: "502 bad-answer" });
  });
});

describe("policy", () => {
  const rules = [{ methods: ["GET" as const], paths: ["/a/**"] }];

  test("a denial names the rule in the audit and not in the answer", () => {
    const session = restSession({ allow: rules });
    session.consumerSends("DELETE /a/b?secret HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(refusalOf(session)).toBe("403 forbidden");
    expect(session.downstream.text).not.toContain("roles.any");
    expect(session.denied).toEqual([
      { action: "request", rule: "roles.any.allow", asked: { refused: "forbidden", method: "DELETE", path: "/a/b" } },
    ]);
  });

  test("a HEAD that is denied gets no body", () => {
    const session = restSession({ allow: rules });
    session.consumerSends("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(refusalOf(session)).toBe("403 (no body)");
  });

  test("a narrower policy holds for the next request of an open connection", () => {
    const session = restSession({});
    session.consumerSends(GET);
    session.providerSends(OK);
    session.service.configure(restConfig({ allow: [] }));
    session.filter!.onConfig!(undefined);
    expect(session.state).toBe("open");
    session.consumerSends(GET);
    expect(refusalOf(session)).toBe("403 forbidden");
  });

  test("a narrower policy ends an answer under way that it no longer allows", () => {
    for (const before of [undefined, rules]) {
      const session = restSession(before === undefined ? {} : { allow: before });
      session.consumerSends(GET);
      session.providerSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      session.service.configure(restConfig({ allow: rules }));
      session.filter!.onConfig!(undefined);
      expect(session.state).toBe(before === undefined ? "finished: the policy no longer allows it" : "open");
      session.service.configure(restConfig({ allow: [] }));
      if (session.state === "open") session.filter!.onConfig!(undefined);
      expect(session.state).toBe("finished: the policy no longer allows it");
    }
  });

  test("a policy that allows no more upgrades ends a WebSocket, also one whose answer is under way", () => {
    for (const late of [false, true]) {
      const session = restSession({ allow: rules });
      const configure = () => {
        session.service.configure(restConfig({ allow: rules, upgrade: [] }));
        session.filter!.onConfig!(undefined);
      };
      session.consumerSends("GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
      if (late) configure();
      session.providerSends("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
      if (!late) configure();
      expect(session.state).toBe("finished: the policy no longer allows it");
    }
  });

  test("a narrower policy ends a WebSocket that it no longer allows", () => {
    const session = restSession({ allow: rules });
    session.consumerSends("GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    session.providerSends("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    expect(session.passing).toBe(true);
    session.service.configure(restConfig({ allow: rules }));
    expect(session.state).toBe("open");
    session.service.configure(restConfig({ allow: [] }));
    expect(session.state).toBe("finished: the policy no longer allows it");
  });

  test("the path that was judged for one request is not put into another", () => {
    const session = restSession({ allow: rules });
    session.consumerSends(GET.replace("/a ", "/x/../a/one "));
    session.providerSends(OK);
    session.service.configure(restConfig({ accessLog: true }));
    session.consumerSends(GET.replace("/a ", "/two "));
    expect(session.upstream.text.match(/^GET \S+/gm)).toEqual(["GET /a/one", "GET /two"]);
  });

  test("only the upgrades of the role are offered", () => {
    const session = restSession({ upgrade: ["tcp"] });
    session.consumerSends("GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket, tcp\r\n\r\n");
    expect(session.upstream.text).toEndWith("Connection: upgrade\r\nUpgrade: tcp\r\n\r\n");
  });
});

describe("the access log", () => {
  const records = (session: ReturnType<typeof restSession>) =>
    session.reported.map(({ kind, record }) => [kind, record]);

  test("has one record a request, without the query", () => {
    const session = restSession({ accessLog: true });
    session.consumerSends("GET /a?token=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    session.advance(12.5);
    session.providerSends(OK);
    expect(records(session)).toEqual([
      ["access", { method: "GET", path: "/a", status: 200, bytes: 2, ms: 12.5, cut: false }],
    ]);
  });

  test("has the refused ones, the unanswered ones and the cut ones", () => {
    const refused = restSession({ accessLog: true, allow: [] });
    refused.consumerSends(GET);
    expect(records(refused)).toEqual([
      ["access", { method: "GET", path: "/a", status: 403, bytes: 0, ms: 0, cut: false }],
    ]);
    const malformed = restSession({ accessLog: true });
    malformed.consumerSends("BAD\r\n");
    expect(records(malformed)).toEqual([
      ["access", { method: null, path: null, status: 400, bytes: 0, ms: 0, cut: false }],
    ]);
    const gone = restSession({ accessLog: true });
    gone.consumerSends(GET.repeat(2));
    gone.providerSends("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    gone.filter!.providerEnded!();
    expect(records(gone)).toEqual([
      ["access", { method: "GET", path: "/a", status: 200, bytes: 3, ms: 0, cut: true }],
      ["access", { method: "GET", path: "/a", status: 0, bytes: 0, ms: 0, cut: true }],
    ]);
    const failed = restSession({ accessLog: true });
    failed.consumerSends(GET);
    failed.filter!.onUpstreamFailed!("no");
    expect(records(failed)).toEqual([
      ["access", { method: "GET", path: "/a", status: 503, bytes: 0, ms: 0, cut: false }],
    ]);
  });

  test("is silent unless asked for", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends(OK);
    session.consumerSends("BAD\r\n");
    expect(session.reported).toEqual([]);
  });
});

describe("forwarding", () => {
  test("bodies are forwarded, not copied, and an answer leaves in one piece", () => {
    const session = restSession();
    session.consumerSends(`${POST}hello`);
    expect(session.upstream.sent.length).toBe(2);
    session.providerSends(OK.repeat(3));
    expect(session.downstream.sent.length).toBe(1);
  });

  test("an event stream passes piece by piece", () => {
    const session = restSession();
    session.consumerSends(GET);
    session.providerSends("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let i = 0; i < 5; i++) {
      const before = session.downstream.text.length;
      session.providerSends("9\r\ndata: x\n\n\r\n");
      expect(session.downstream.text.length).toBe(before + 14);
    }
  });

  test("an early answer does not stop the body", () => {
    const session = restSession();
    session.consumerSends(`${POST}he`);
    session.providerSends(OK);
    expect(session.state).toBe("open");
    session.consumerSends(`llo${GET}`);
    expect(session.upstream.text).toContain("helloGET /a HTTP/1.1\r\nX-PV-Client: app");
  });
});
