import { describe, expect, test } from "bun:test";
import { Quarantine } from "../../../src/inject/quarantine.ts";

describe("a container that let a deadline pass", () => {
  test("is left alone twice as long each time, up to a minute", () => {
    const quarantine = new Quarantine();
    let now = 0;
    const pauses = Array.from({ length: 8 }, () => {
      const pause = quarantine.strike("a", now);
      expect(quarantine.remaining("a", now)).toBe(pause);
      expect(quarantine.remaining("a", now + pause - 1)).toBe(1);
      now += pause;
      expect(quarantine.remaining("a", now)).toBe(0);
      return pause;
    });
    expect(pauses).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  });

  test("costs nobody else anything", () => {
    const quarantine = new Quarantine();
    quarantine.strike("a", 0);
    expect(quarantine.remaining("b", 0)).toBe(0);
  });

  test("is forgiven after five quiet minutes, not before", () => {
    const quarantine = new Quarantine();
    quarantine.strike("a", 0);
    expect(quarantine.strike("a", 5 * 60_000)).toBe(4_000);
    expect(quarantine.strike("a", 10 * 60_000 + 1)).toBe(2_000);
  });

  test("and one that answers just in time again and again is as well, and escalates", () => {
    const quarantine = new Quarantine();
    let now = 0;
    for (let i = 0; i < 4; i++) {
      expect(quarantine.remaining("a", now)).toBe(0);
      now += 450;
      quarantine.waited("a", 450, 500, now);
    }
    expect(quarantine.remaining("a", now)).toBe(0);
    now += 450;
    quarantine.waited("a", 450, 500, now);
    expect(quarantine.remaining("a", now)).toBe(2_000);
    now += 2_450;
    quarantine.waited("a", 450, 500, now);
    expect(quarantine.remaining("a", now)).toBe(4_000);
  });

  test("what an ordinary walk takes adds up to nothing, a slow start is forgotten", () => {
    const quarantine = new Quarantine();
    for (let i = 0; i < 100_000; i++) quarantine.waited("a", 1.9, 100, 2 * i);
    expect(quarantine.remaining("a", 200_000)).toBe(0);
    for (let i = 0; i < 100; i++) quarantine.waited("b", 250, 500, i * 5_000);
    expect(quarantine.remaining("b", 500_000)).toBe(0);
  });

  test("slow answers of each kind together have a small share of the time", () => {
    for (const [waits, deadline] of [
      [9, 100],
      [95, 100],
      [30, 500],
      [490, 500],
    ] as const) {
      const quarantine = new Quarantine();
      let [now, waited] = [0, 0];
      for (; now < 600_000; now++) {
        if (quarantine.remaining("a", now) > 0) continue;
        now += waits;
        waited += waits;
        quarantine.waited("a", waits, deadline, now);
      }
      expect(waited / now).toBeLessThan(0.07);
    }
  });

  test("many of them do not make it grow without end", () => {
    const quarantine = new Quarantine();
    for (let i = 0; i < 5_000; i++) quarantine.strike(`c${i}`, 0);
    expect(quarantine.remaining("c0", 0)).toBe(0);
    expect(quarantine.remaining("c4999", 0)).toBe(2_000);
  });
});
