import { expect, test } from "bun:test";
import { PlaneClient } from "../../../src/relay/plane-client.ts";

const lastWords = (entry: string): Promise<Error> =>
  new Promise((resolve) => {
    new PlaneClient(new URL(entry, import.meta.url), 256, { onLink() {}, onFatal: resolve });
  });

test("what the data plane's thread throws is told once it is dead, with its words", async () => {
  expect((await lastWords("../../support/broken-worker.ts")).message).toContain("the reactor broke");
});

test("so is a thread that can't start at all", async () => {
  expect((await lastWords("../../support/no-such-worker.ts")).message).toContain("no-such-worker.ts");
});
