import { describe, expect, test } from "bun:test";
import { Reactor } from "../../../src/relay/reactor.ts";
import { Timer } from "../../../src/relay/timers.ts";
import { EPOLLIN } from "../../../src/sys/flags.ts";
import { Memory } from "../../../src/sys/memory.ts";
import { pvx } from "../../../src/sys/shim.ts";

const one = new Memory(8);
new BigUint64Array(one.buffer)[0] = 1n;
/** An fd that is readable from the start. */
function readable(): number {
  const fd = pvx.pvx_eventfd();
  pvx.pvx_write(fd, one.address, 8);
  return fd;
}

describe("the reactor", () => {
  test("does not give an event of a closed fd to the new owner of its number", () => {
    const reactor = new Reactor();
    const [first, second] = [readable(), readable()];
    const heard: string[] = [];
    let reused = -1;
    // Whichever comes first closes the other one; its number is taken at once by an fd with nothing to read.
    const rival = (own: number, other: number) => ({
      onEvents() {
        heard.push(`${own}`);
        reactor.forget(other);
        pvx.pvx_close(other);
        reused = pvx.pvx_eventfd();
        reactor.add(reused, { onEvents: () => heard.push("new owner") }, EPOLLIN);
      },
    });
    reactor.add(first, rival(first, second), EPOLLIN);
    reactor.add(second, rival(second, first), EPOLLIN);
    reactor.turn(0);
    expect(heard).toHaveLength(1);
    expect([first, second]).toContain(reused);
    for (const fd of new Set([first, second, reused])) pvx.pvx_close(fd);
  });

  test("an event for an fd that was forgotten in the same batch reaches nobody", () => {
    const reactor = new Reactor();
    const [first, second] = [readable(), readable()];
    let heard = 0;
    const handler = (other: number) => ({
      onEvents() {
        heard++;
        reactor.remove(other);
      },
    });
    reactor.add(first, handler(second), EPOLLIN);
    reactor.add(second, handler(first), EPOLLIN);
    reactor.turn(0);
    expect(heard).toBe(1);
    pvx.pvx_close(first);
    pvx.pvx_close(second);
  });

  test("runs deferred work once, after the events, and does not sleep before it", () => {
    const reactor = new Reactor();
    const order: string[] = [];
    const fd = readable();
    reactor.add(
      fd,
      {
        onEvents() {
          order.push("event");
          reactor.defer(() => {
            order.push("deferred");
            reactor.defer(() => order.push("next turn"));
          });
          reactor.forget(fd);
          pvx.pvx_close(fd);
        },
      },
      EPOLLIN,
    );
    reactor.turn(0);
    expect(order).toEqual(["event", "deferred"]);
    const start = performance.now();
    reactor.turn(5000);
    expect(performance.now() - start).toBeLessThan(1000);
    expect(order).toEqual(["event", "deferred", "next turn"]);
  });

  test("sleeps until the next deadline, not past it and not in a spin before it", () => {
    const reactor = new Reactor();
    let fired = 0;
    reactor.timers.arm(new Timer(() => fired++), performance.now() + 40);
    let turns = 0;
    const start = performance.now();
    for (; fired === 0; turns++) reactor.turn(60_000);
    const took = performance.now() - start;
    expect(took).toBeGreaterThan(38);
    expect(took).toBeLessThan(500);
    expect(turns).toBeLessThanOrEqual(3);
  });
});
