import { expect, test } from "bun:test";
import { createHandler, type UnixConfig } from "../../../src/mediators/unix/handler.ts";
import { IDENTITY, MemorySession } from "../../support/memory-session.ts";

const config = (path: string, identity: UnixConfig["identity"] = "none"): UnixConfig => ({
  provider: { pid: 0, path, seqpacket: false },
  identity,
});

test("sessions end when policy sends their role to another socket or introduces it otherwise, and only then", () => {
  const handler = createHandler(IDENTITY, config("/run/admin.sock"));
  const opened = (): MemorySession => {
    const session = new MemorySession();
    handler.open(session);
    return session;
  };
  const [first, gone] = [opened(), opened()];
  gone.end();
  handler.configure({ ...config("/run/admin.sock"), provider: { pid: 0, path: "/run/admin.sock", seqpacket: true } });
  expect(first.state).toBe("open");
  handler.configure(config("/run/user.sock"));
  expect([first.state, gone.state]).toEqual(["finished: the policy has changed", "ended by the test"]);
  const second = opened();
  handler.configure(config("/run/user.sock", "greeting"));
  expect(second.state).toBe("finished: the policy has changed");
  handler.close();
});
