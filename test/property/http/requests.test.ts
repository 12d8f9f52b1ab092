/**
 * What goes on to the provider, judged by another parser: Node's llhttp must read the
 * same requests in it that we meant to forward, each with exactly one identity.
 */
import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { RestFilter } from "../../../src/mediators/rest/filter.ts";
import { RestService } from "../../../src/mediators/rest/service.ts";
import { allowedProtocols } from "../../../src/mediators/rest/upgrade.ts";
import { CarryBudget } from "../../../src/protocol/http/carry.ts";
import { text } from "../../../src/protocol/http/characters.ts";
import { EVENT } from "../../../src/protocol/http/message-reader.ts";
import { METHODS } from "../../../src/protocol/http/methods.ts";
import { RequestReader } from "../../../src/protocol/http/request.ts";
import { mutatedRequests, Random } from "../../support/http-mutations.ts";
import { LlhttpOracle, type OracleAnswer } from "../../support/llhttp-oracle.ts";
import { MemorySession } from "../../support/memory-session.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { restConfig } from "../../support/rest-session.ts";

const BATCH = 250;
const RUNS = Math.ceil(Number(process.env["PVX_FUZZ_RUNS"] ?? 5000) / BATCH);

const hasNode = requireRealPart("node");
const oracle = hasNode ? new LlhttpOracle() : undefined;
afterAll(() => oracle?.close());

const link = new MemorySession({ type: "rest" }).link;
const service = new RestService(link, restConfig());

interface Meant {
  readonly method: string;
  readonly url: string;
  body: number;
  complete: boolean;
}

/** What of the input we mean to forward, read by the codec alone. */
function meant(input: Uint8Array): { requests: Meant[]; refused: boolean } {
  const requests: Meant[] = [];
  const reader = new RequestReader(new CarryBudget(1 << 20));
  reader.give(input, 0, input.length);
  for (;;) {
    const event = reader.next();
    const last = requests.at(-1);
    if (event === EVENT.HEAD) {
      const { bytes, method, target } = reader.head;
      const path = target.pathStart === target.pathEnd ? "/" : text(bytes, target.pathStart, target.pathEnd);
      requests.push({
        method: METHODS[method]!,
        url: path + text(bytes, target.pathEnd, target.end),
        body: 0,
        complete: false,
      });
      continue;
    }
    if (last !== undefined) last.body = reader.body.contentBytes;
    if (event === EVENT.MORE) return { requests, refused: false };
    if (event === EVENT.REFUSED) return { requests, refused: true };
    if (event !== EVENT.END) continue;
    last!.complete = true;
    const { head } = reader;
    // Behind these the filter sends nothing before the provider's answer, or ever.
    const offer = head.connection.upgrade && head.upgradeField >= 0 && head.minor === 1 && !head.hasBody;
    const { bytes, base, fields, upgradeField } = head;
    const waits = offer && allowedProtocols(bytes, base, fields, upgradeField, service.upgrade).length > 0;
    if (!head.persists || waits) return { requests, refused: false };
  }
}

function play(input: Uint8Array, split: number): MemorySession {
  const session = new MemorySession({ type: "rest" });
  session.filter = new RestFilter(session, service);
  session.consumerSends(input, [], split);
  return session;
}

function check(input: Uint8Array, forwarded: string, answer: OracleAnswer): void {
  const { requests } = meant(input);
  const shown = JSON.stringify(Buffer.from(input).toString("latin1"));
  const where = `${shown} was forwarded as ${JSON.stringify(forwarded)}`;
  if (answer.error !== null || answer.rest !== 0)
    throw new Error(`llhttp refuses (${answer.error}) what we forwarded: ${where}`);
  const read = answer.messages.map(({ method, url, body, complete }) => ({ method, url, body, complete }));
  // An offer of WebSocket that we left unread has no body, and so is complete.
  expect(read, where).toEqual(requests as typeof read);
  for (const message of answer.messages) {
    expect(message.headers, where).toEqual(["x-pv-client: app", "x-pv-role: any"]);
    expect(message.trailers, where).toEqual([]);
  }
}

test.skipIf(!hasNode)(
  "llhttp reads the same requests in what is forwarded, each with one identity, however the input is split",
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const random = new Random(seed);
        const inputs = Array.from({ length: BATCH }, () => Buffer.from(mutatedRequests(random), "latin1"));
        const sessions = inputs.map((input) => play(input, 0));
        inputs.forEach((input, i) => {
          const other = play(input, 1 + random.below(40));
          const shown = JSON.stringify(input.toString("latin1"));
          expect(other.upstream.text, `split of ${shown}`).toBe(sessions[i]!.upstream.text);
          expect(other.downstream.text, `split of ${shown}`).toBe(sessions[i]!.downstream.text);
          other.end();
        });
        const answers = await oracle!.ask(sessions.map((s) => ({ kind: "requests", bytes: s.upstream.bytes })));
        inputs.forEach((input, i) => {
          check(input, sessions[i]!.upstream.text, answers[i]!);
          sessions[i]!.end();
        });
        expect(service.budget.used).toBe(0);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  },
  60 * 60_000,
);
