import { describe, expect, test } from "bun:test";
import { COLLECT_AFTER_SESSIONS, COLLECT_QUIET_MS } from "../../../src/relay/limits.ts";
import { QuietCollection } from "../../../src/relay/quiet-collection.ts";
import { Timers } from "../../../src/relay/timers.ts";

describe("what a burst of sessions leaves behind", () => {
  const start = () => {
    const timers = new Timers();
    const state = { now: 1000, collected: 0 };
    const collection = new QuietCollection(
      timers,
      () => state.now,
      () => state.collected++,
    );
    const pass = (ms: number) => {
      state.now += ms;
      timers.fireDue(state.now);
    };
    const sessions = (count: number) => {
      for (let i = 0; i < count; i++) {
        collection.sessionOpened();
        collection.sessionClosed();
      }
    };
    return { timers, state, collection, pass, sessions };
  };

  test("is collected once, when none has come or gone for a while", () => {
    const { timers, state, pass, sessions } = start();
    sessions(10 * COLLECT_AFTER_SESSIONS);
    pass(COLLECT_QUIET_MS - 1);
    expect(state.collected).toBe(0);
    pass(1);
    expect(state.collected).toBe(1);
    expect(timers.size).toBe(0);
    pass(100 * COLLECT_QUIET_MS);
    expect(state.collected).toBe(1);
    sessions(COLLECT_AFTER_SESSIONS);
    pass(COLLECT_QUIET_MS);
    expect(state.collected).toBe(2);
  });

  test("waits for the end of the burst, be it sessions that come or that go", () => {
    const { state, collection, pass, sessions } = start();
    sessions(COLLECT_AFTER_SESSIONS);
    pass(COLLECT_QUIET_MS - 1);
    collection.sessionOpened();
    pass(COLLECT_QUIET_MS - 1);
    expect(state.collected).toBe(0);
    collection.sessionClosed();
    pass(COLLECT_QUIET_MS - 1);
    expect(state.collected).toBe(0);
    pass(1);
    expect(state.collected).toBe(1);
  });

  test("is not looked for after a few: no timer wakes the thread", () => {
    const { timers, state, pass, sessions } = start();
    sessions(COLLECT_AFTER_SESSIONS - 1);
    expect(timers.size).toBe(0);
    pass(10 * COLLECT_QUIET_MS);
    expect(state.collected).toBe(0);
  });
});
