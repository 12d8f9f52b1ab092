import { expect, test } from "bun:test";
import { Lessons } from "../../../src/mediators/dbus/lessons.ts";
import type { LinkIdentity, Session } from "../../../src/relay/filter.ts";

test("a link learns each thing once, so many of them, and none of any length, whatever its sessions do", () => {
  const reported: unknown[] = [];
  const link = {} as LinkIdentity;
  const session = () =>
    new Lessons({ link, report: (_: string, record: unknown) => reported.push(record) } as unknown as Session);
  const call = (lessons: Lessons, path: string) => lessons.learn("call", "org.a.B", "org.a.B", "M", path);
  call(session(), `/${"p".repeat(2000)}`);
  expect(reported).toEqual([]);
  for (let i = 0; i < 5000; i++) {
    call(session(), `/p${i}`);
    call(session(), `/p${i}`);
  }
  expect(reported).toHaveLength(4096);
});
