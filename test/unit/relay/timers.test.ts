import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Timer, Timers } from "../../../src/relay/timers.ts";

const RUNS = Number(process.env["PVX_FUZZ_RUNS"] ?? 200);

describe("the reactor's deadlines", () => {
  test("fire in order, each once, and only when due", () => {
    const timers = new Timers();
    const fired: number[] = [];
    for (const at of [30, 10, 20, 10, 40]) timers.arm(new Timer(() => fired.push(at)), at);
    timers.fireDue(9);
    expect(fired).toEqual([]);
    timers.fireDue(25);
    expect(fired).toEqual([10, 10, 20]);
    timers.fireDue(100);
    expect(fired).toEqual([10, 10, 20, 30, 40]);
    expect(timers.size).toBe(0);
  });

  test("tell how long to sleep: never too short by a fraction, 0 when due, -1 for ever", () => {
    const timers = new Timers();
    expect(timers.wait(0)).toBe(-1);
    const timer = new Timer(() => {});
    timers.arm(timer, 10.3);
    expect(timers.wait(5)).toBe(6);
    expect(timers.wait(10.3)).toBe(0);
    expect(timers.wait(50)).toBe(0);
    timers.cancel(timer);
    expect(timers.wait(0)).toBe(-1);
  });

  test("one that arms itself anew while firing does not hold the loop", () => {
    const timers = new Timers();
    let count = 0;
    const again: Timer = new Timer(() => {
      count++;
      timers.arm(again, 0);
    });
    timers.arm(again, 0);
    timers.fireDue(10);
    expect(count).toBe(1);
    timers.fireDue(10);
    expect(count).toBe(2);
  });

  test("one that was cancelled by an earlier one of the same moment does not fire", () => {
    const timers = new Timers();
    const fired: string[] = [];
    const second = new Timer(() => fired.push("second"));
    timers.arm(
      new Timer(() => {
        fired.push("first");
        timers.cancel(second);
      }),
      1,
    );
    timers.arm(second, 2);
    timers.fireDue(5);
    expect(fired).toEqual(["first"]);
  });

  test("agree with a sorted list under any sequence of arming, moving and cancelling", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("arm" as const), which: fc.nat(9), at: fc.nat(100) }),
      fc.record({ kind: fc.constant("cancel" as const), which: fc.nat(9), at: fc.constant(0) }),
      fc.record({ kind: fc.constant("fire" as const), which: fc.constant(0), at: fc.nat(100) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const timers = new Timers();
        const model = new Map<number, number>();
        let fired: number[] = [];
        const all = Array.from({ length: 10 }, (_, i) => new Timer(() => fired.push(i)));
        for (const { kind, which, at } of steps) {
          if (kind === "arm") {
            timers.arm(all[which]!, at);
            model.set(which, at);
          } else if (kind === "cancel") {
            timers.cancel(all[which]!);
            model.delete(which);
          } else {
            fired = [];
            timers.fireDue(at);
            const due = [...model].filter(([, when]) => when <= at);
            expect(fired.map((i) => model.get(i)!)).toEqual(due.map(([, when]) => when).sort((a, b) => a - b));
            for (const [i] of due) model.delete(i);
          }
          expect(timers.size).toBe(model.size);
        }
      }),
      { numRuns: RUNS },
    );
  });
});
