/** Bodies of gigabytes pass in constant memory. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { requireRealPart } from "../../support/real-parts.ts";
import { RestLink } from "../../support/rest-link.ts";

const GIGABYTES = 5;
const BYTES = GIGABYTES * 1024 ** 3;
/** Above what the process has when it starts: buffers of the relay, and garbage of the engine. */
const MOST_KB = 24 * 1024;
const TEST_MS = 180_000;

describe.skipIf(!requireRealPart("root", "curl", "nginx", "python3"))(`${GIGABYTES} GiB`, () => {
  let link: RestLink;
  let file: string;
  beforeAll(async () => {
    link = await RestLink.start();
    mkdirSync(join(link.directory, "files"));
    file = join(link.directory, "files/sparse");
    writeFileSync(file, "");
    truncateSync(file, BYTES);
  });
  afterAll(() => link.stop());

  /** Runs it and gives the largest memory seen meanwhile, above that before, in KiB. */
  async function peak(work: () => Promise<unknown>): Promise<number> {
    const before = await link.memory();
    let most = before;
    const timer = setInterval(async () => {
      most = Math.max(most, await link.memory());
    }, 50);
    await work();
    clearInterval(timer);
    return most - before;
  }

  test(
    "uploaded, by length and in chunks",
    async () => {
      const provider = await link.provide("python");
      await link.told("/warm");
      for (const flags of [[], ["-H", "Transfer-Encoding: chunked"]]) {
        const used = await peak(async () => expect((await link.told("/sink", "-T", file, ...flags)).body).toBe(BYTES));
        expect(used).toBeLessThan(MOST_KB);
      }
      await provider.stop();
    },
    TEST_MS,
  );

  test(
    "downloaded",
    async () => {
      await link.provide("nginx");
      const used = await peak(async () => {
        const done = await link.curl("/files/sparse", "-o", "/dev/null", "-w", "%{size_download}");
        expect(done.stdout).toBe(String(BYTES));
      });
      expect(used).toBeLessThan(MOST_KB);
    },
    TEST_MS,
  );
});
