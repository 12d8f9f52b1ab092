/** A state directory that nothing can be written to any more. */

import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../../src/inject/journal.ts";
import { plantSocket, removeSocket } from "../../../src/inject/socket.ts";
import { pvx } from "../../../src/sys/shim.ts";
import { requireRealPart } from "../../support/real-parts.ts";
import { House } from "./house.ts";

test.skipIf(!requireRealPart("root", "busybox"))(
  "keeps things from being planted, with a reason, and not from being removed",
  async () => {
    const state = mkdtempSync(join(tmpdir(), "pvx-full-"));
    spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", state]);
    const house = await House.build({ name: "app" });
    const journal = new Journal(state, "boot");
    try {
      const planted = plantSocket({ root: house.root, target: "/run/a.sock", seqpacket: false, journal });
      const entry = {
        kind: "socket",
        pid: 1,
        startTime: "1",
        who: "x",
        path: "/x",
        temporary: `.pvx-${"0".repeat(16)}`,
      } as const;
      expect(() => {
        for (;;) journal.intend(entry);
      }).toThrow("ENOSPC");
      const plant = () => plantSocket({ root: house.root, target: "/run/b.sock", seqpacket: false, journal });
      expect(plant).toThrow(/^Cannot plant socket \/run\/b.sock in consumer "app".*ENOSPC/);
      expect(house.names("/run")).toEqual(["a.sock"]);
      expect(removeSocket(house.root, planted, journal)).toBeUndefined();
      expect(house.names("/run")).toEqual([]);
      pvx.pvx_close(planted.listenFd);
    } finally {
      journal.close();
      await house.down();
      spawnSync("umount", [state]);
      rmSync(state, { recursive: true });
    }
  },
);
