import { describe, expect, test } from "bun:test";
import { type HttpCase, httpCases } from "../../support/http-fixtures.ts";
import type { MemorySession } from "../../support/memory-session.ts";
import { restSession, splitRefusal } from "../../support/rest-session.ts";

const READONLY = [{ methods: ["GET", "HEAD", "OPTIONS"], paths: ["/v1/**"] }] as const;

function play(aCase: HttpCase, split: number): MemorySession {
  const restricted = aCase.marks.includes("restricted");
  const session = restSession(
    restricted ? { allow: READONLY.map((r) => ({ methods: [...r.methods], paths: [...r.paths] })) } : {},
  );
  for (const { from, bytes } of aCase.steps) {
    if (from === "consumer") session.consumerSends(bytes, [], split);
    else session.providerSends(bytes, [], split);
  }
  return session;
}

const cases = httpCases();
for (const file of new Set(cases.map((c) => c.file)))
  describe(file, () => {
    for (const aCase of cases.filter((c) => c.file === file))
      test(aCase.name, () => {
        for (const split of [0, 1, 2, 3, 5, 16]) {
          const session = play(aCase, split);
          const { before, refusal } = splitRefusal(session.downstream.text);
          if (aCase.upstream !== undefined) expect(session.upstream.text).toBe(aCase.upstream);
          if (aCase.downstream !== undefined) expect(before).toBe(aCase.downstream);
          const wanted = aCase.name.startsWith("HEAD gets")
            ? aCase.refused?.replace(/ .*/, " (no body)")
            : aCase.refused;
          expect(refusal).toBe(wanted as string);
          // A HEAD's refusal is told by its status alone; its code is the session's reason all the same.
          const last = aCase.refused === undefined ? "open" : `finished: ${aCase.refused}`;
          expect(session.state).toBe(aCase.ends ?? last);
        }
      });
  });
