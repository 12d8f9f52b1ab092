/** User-mode emulators clone no process that shares memory, and may know no openat2: host-side links work all the same. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startContainer } from "../../support/containers.ts";
import { run } from "../../support/program.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { builtProgram } from "./house.ts";

const here = requireRealPart("root", "busybox");

describe.skipIf(!here)("where no child can be cloned and openat2 is missing", () => {
  const directory = mkdtempSync(join(tmpdir(), "pvx-old-"));
  afterAll(() => rmSync(directory, { recursive: true }));

  test("host-side links work, and a container's paths are not walked at all", async () => {
    const container = await startContainer({ name: "app" });
    const done = await run(
      [
        builtProgram("without"),
        process.execPath,
        join(import.meta.dir, "host-links.ts"),
        directory,
        String(container.pid),
      ],
      { cwd: directory },
    );
    await container.stop();
    expect(done.stderr).toBe("");
    expect(JSON.parse(done.stdout)).toEqual({
      canGuard: false,
      verdict: "ok",
      dialled: true,
      probe: "stream",
      names: ["a.sock"],
      mode: 0o666,
      removed: "removed",
      left: [],
      fds: 4,
      cwd: directory,
      umask: 0o022,
      refused: expect.stringMatching(/^Cannot plant socket \/run\/a.sock in consumer "app" \(pid \d+\): clone\(/),
    });
  });
});
