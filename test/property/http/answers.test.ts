/**
 * What goes on to the consumer, judged by another parser: Node's llhttp must read in it
 * one answer for each request at most, in order, as we have read them; and whatever a
 * provider sends, nothing is thrown.
 */
import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { RestFilter } from "../../../src/mediators/rest/filter.ts";
import { RestService } from "../../../src/mediators/rest/service.ts";
import { mutatedAnswers, Random } from "../../support/http-mutations.ts";
import { LlhttpOracle } from "../../support/llhttp-oracle.ts";
import { MemorySession } from "../../support/memory-session.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { restConfig, splitRefusal } from "../../support/rest-session.ts";

const BATCH = 250;
const RUNS = Math.ceil(Number(process.env["PVX_FUZZ_RUNS"] ?? 5000) / BATCH);

const hasNode = requireRealPart("node");
const oracle = hasNode ? new LlhttpOracle() : undefined;
afterAll(() => oracle?.close());
const link = new MemorySession({ type: "rest" }).link;
const service = new RestService(link, restConfig({ accessLog: true }));

interface Asked {
  readonly requests: string;
  readonly count: number;
  readonly heads: readonly number[];
}

/** Up to four requests, some of them HEAD. The last may offer WebSocket. */
function ask(random: Random): Asked {
  const count = 1 + random.below(4);
  const heads: number[] = [];
  let requests = "";
  for (let i = 0; i < count; i++) {
    const head = random.below(4) === 0;
    if (head) heads.push(i);
    requests += `${head ? "HEAD" : "GET"} /${i} HTTP/1.1\r\nHost: a\r\n`;
    if (i === count - 1 && random.below(4) === 0) requests += "Connection: upgrade\r\nUpgrade: websocket\r\n";
    requests += "\r\n";
  }
  return { requests, count, heads };
}

function play({ requests }: Asked, answers: Uint8Array, split: number): MemorySession {
  const session = new MemorySession({ type: "rest" });
  session.filter = new RestFilter(session, service);
  session.consumerSends(requests);
  session.providerSends(answers, [], split);
  if (session.state === "open" && !session.passing) session.filter.providerEnded!();
  return session;
}

test.skipIf(!hasNode)(
  "llhttp reads the same answers in what is passed on, however the provider's bytes are split",
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const random = new Random(seed);
        const batch = Array.from({ length: BATCH }, () => {
          const asked = ask(random);
          const bytes = Buffer.from(mutatedAnswers(random), "latin1");
          const session = play(asked, bytes, 0);
          const other = play(asked, bytes, 1 + random.below(40));
          const shown = `${JSON.stringify(asked.requests)} answered by ${JSON.stringify(bytes.toString("latin1"))}`;
          expect(other.downstream.text, `split of ${shown}`).toBe(session.downstream.text);
          expect(other.state, `split of ${shown}`).toBe(session.state);
          session.end();
          other.end();
          return { asked, session, shown };
        });
        const read = await oracle!.ask(
          batch.map(({ asked, session }) => ({
            kind: "responses",
            heads: asked.heads,
            bytes: session.passing ? new Uint8Array(0) : session.downstream.bytes,
          })),
        );
        batch.forEach(({ asked, session, shown }, i) => {
          if (session.passing) return;
          const { messages, error } = read[i]!;
          expect(error, `${shown} passed on as ${JSON.stringify(session.downstream.text)}`).toBeNull();
          const finals = messages.filter((m) => m.status! >= 200);
          const ours = splitRefusal(session.downstream.text).refusal;
          const logged = session.reported.map((r) => r.record);
          const seen = finals.map((m) => [m.status, m.body]);
          const told = logged.filter((r) => r["status"] !== 0).map((r) => [r["status"], r["bytes"]]);
          if (ours !== undefined) seen.pop();
          if (ours !== undefined) told.pop();
          expect(seen, shown).toEqual(told as typeof seen);
          expect(finals.length, shown).toBeLessThanOrEqual(asked.count);
        });
        expect(service.budget.used).toBe(0);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  },
  60 * 60_000,
);
