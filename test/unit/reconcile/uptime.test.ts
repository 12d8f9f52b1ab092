import { expect, test } from "bun:test";
import { ticksOf } from "../../../src/reconcile/process-watch.ts";

test("an uptime is the number of ticks that it shows, never one less", () => {
  const wrong: string[] = [];
  for (let ticks = 0; ticks < 1_000_000; ticks += 7) {
    const text = `${Math.floor(ticks / 100)}.${String(ticks % 100).padStart(2, "0")} 12.00`;
    if (ticksOf(text) !== ticks) wrong.push(text);
  }
  expect(wrong).toEqual([]);
});
