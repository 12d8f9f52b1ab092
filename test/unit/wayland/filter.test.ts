import { describe, expect, test } from "bun:test";
import { MAX_TOLD, SETTLE_MS } from "../../../src/mediators/wayland/filter.ts";
import { HELD_FDS_MAX, LINK_HELD_FDS_MAX } from "../../../src/mediators/wayland/flow.ts";
import { MAX_GLOBALS, MAX_REGISTRIES, REMOVED_KEPT } from "../../../src/mediators/wayland/registry-view.ts";
import { encodeMessage } from "../../../src/protocol/wayland/wire.ts";
import {
  APP_TABLE,
  client,
  globalsIn,
  joined,
  messagesIn,
  server,
  WaylandSession,
} from "../../support/wayland-session.ts";

const SCREENCOPY = "zwlr_screencopy_manager_v1";
const NOTHING = new Uint8Array(0);

describe("globals", () => {
  test("of the role's table are shown as they are, all others withheld", () => {
    const s = new WaylandSession();
    s.up(client.getRegistry(2));
    const shown = s.down(
      joined(
        server.global(2, 1, "wl_compositor", 5),
        server.global(2, 2, SCREENCOPY, 3),
        server.global(2, 3, "xdg_wm_base", 2),
        server.global(2, 4, "some_future_protocol_v1", 1),
      ),
    );
    expect(globalsIn(shown, 2)).toEqual(["1 wl_compositor v5", "3 xdg_wm_base v2"]);
  });
  test("newer than the table are shown with the table's version", () => {
    const s = new WaylandSession({ rule: "r", globals: [["wl_seat", 4]] });
    s.up(client.getRegistry(2));
    expect(globalsIn(s.down(server.global(2, 1, "wl_seat", 9)), 2)).toEqual(["1 wl_seat v4"]);
  });
  test("are filtered on every registry of the connection", () => {
    const s = new WaylandSession();
    s.up(joined(client.getRegistry(2), client.getRegistry(3), client.getRegistry(0xfeffffff)));
    for (const registry of [2, 3, 0xfeffffff]) {
      expect(s.down(server.global(registry, 8, SCREENCOPY, 3))).toEqual(NOTHING);
      expect(s.down(server.global(registry, 9, "wl_shm", 1))).toEqual(server.global(registry, 9, "wl_shm", 1));
    }
  });
  test("with a name longer than any interface's are hidden", () => {
    const s = new WaylandSession();
    s.up(client.getRegistry(2));
    expect(s.down(server.global(2, 8, "wl_shm".padEnd(60_000, "x"), 3))).toEqual(NOTHING);
  });
  test("that are hidden are removed without a word, shown ones are removed aloud on each registry", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_output", 3], [2, SCREENCOPY, 3]);
    s.up(client.getRegistry(5));
    s.down(server.global(5, 1, "wl_output", 3));
    expect(s.down(server.globalRemove(2, 2))).toEqual(NOTHING);
    expect(s.down(server.globalRemove(2, 1))).toEqual(server.globalRemove(2, 1));
    expect(s.down(server.globalRemove(5, 1))).toEqual(server.globalRemove(5, 1));
  });
  test("never announced are not removed aloud either", () => {
    const s = new WaylandSession().withGlobals(2);
    expect(s.down(server.globalRemove(2, 99))).toEqual(NOTHING);
  });
  test("look-alikes on objects that are no registry pass untouched", () => {
    const s = new WaylandSession().withGlobals(2);
    const event = encodeMessage(7, 0, 2, SCREENCOPY, 3);
    expect(s.down(event)).toEqual(event);
  });
});

describe("a bind", () => {
  test("of a shown global passes with the bytes it came with, at any version up to the shown one", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_seat", 5]);
    for (const version of [1, 5]) {
      const bind = client.bind(2, 1, "wl_seat", version, 3 + version);
      expect(s.up(bind)).toEqual(bind);
    }
    expect(s.open).toBe(true);
  });
  test.each([
    ["a hidden global", 2, SCREENCOPY, 1, `error 2 0 invalid global ${SCREENCOPY} (2)`],
    ["a name never announced", 77, "wl_seat", 1, "error 2 0 invalid global wl_seat (77)"],
    [
      "a shown name as a hidden interface",
      1,
      SCREENCOPY,
      1,
      `error 2 0 invalid interface for global 1: have ${SCREENCOPY}, wanted wl_seat`,
    ],
    ["a hidden name as a shown interface", 2, "wl_seat", 1, "error 2 0 invalid global wl_seat (2)"],
    ["version 0", 1, "wl_seat", 0, "error 2 0 invalid version for global wl_seat (1): 0 is not a valid version"],
    [
      "a version that the compositor has and the role has not",
      3,
      "wl_output",
      4,
      "error 2 0 invalid version for global wl_output (3): have 3, wanted 4",
    ],
  ])("of %s is refused with libwayland's error and reaches nobody", (_what, name, interface_, version, error) => {
    const s = new WaylandSession({
      rule: "the rule",
      globals: [
        ["wl_seat", 9],
        ["wl_output", 3],
      ],
    });
    s.withGlobals(2, [1, "wl_seat", 5], [2, SCREENCOPY, 3], [3, "wl_output", 4]);
    const before = client.sync(9);
    expect(s.up(joined(before, client.bind(2, name, interface_, version, 10), client.sync(11)))).toEqual(before);
    expect(s.errors).toEqual([error]);
    expect(s.session.state).toStartWith("finished: refused bind: ");
    expect(s.session.denied).toContainEqual({
      action: "wayland.bind",
      rule: "the rule",
      asked: { global: name, interface: interface_, version, hidden: name === 2 },
    });
  });
  test("on another registry of the connection is judged the same", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_seat", 5], [2, SCREENCOPY, 3]);
    s.up(client.getRegistry(4));
    expect(s.up(client.bind(4, 2, SCREENCOPY, 1, 9))).toEqual(NOTHING);
    expect(s.errors).toEqual([`error 4 0 invalid global ${SCREENCOPY} (2)`]);
  });
  test("of a global that was just removed still passes: the request may have been under way", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_output", 3]);
    s.down(server.globalRemove(2, 1));
    const bind = client.bind(2, 1, "wl_output", 3, 5);
    expect(s.up(bind)).toEqual(bind);
  });
  test("of a name that has become a hidden global's is refused", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_output", 3]);
    s.down(joined(server.globalRemove(2, 1), server.global(2, 1, SCREENCOPY, 3)));
    s.up(client.bind(2, 1, "wl_output", 3, 5));
    expect(s.errors).toEqual(["error 2 0 invalid global wl_output (1)"]);
  });
  test("of globals removed long ago is refused, so that plugging screens does not fill memory", () => {
    const s = new WaylandSession().withGlobals(2);
    for (let name = 1; name <= REMOVED_KEPT + 1; name++)
      s.down(joined(server.global(2, name, "wl_output", 3), server.globalRemove(2, name)));
    s.up(client.bind(2, 2, "wl_output", 3, 5));
    expect(s.open).toBe(true);
    s.up(client.bind(2, 1, "wl_output", 3, 6));
    expect(s.errors).toEqual(["error 2 0 invalid global wl_output (1)"]);
  });
});

describe("registry ids", () => {
  test("survive the delete_id of an older object of the same number", () => {
    // sync(3) and get_registry(3) in one go: the callback's delete_id comes when the registry lives.
    const s = new WaylandSession();
    s.up(joined(client.sync(3), client.getRegistry(3)));
    s.down(joined(server.done(9), server.deleteId(3)));
    expect(s.down(server.global(3, 2, SCREENCOPY, 3))).toEqual(NOTHING);
    expect(s.down(server.global(3, 1, "wl_shm", 1))).toEqual(server.global(3, 1, "wl_shm", 1));
    expect(s.down(server.globalRemove(3, 2))).toEqual(NOTHING);
    expect(s.up(client.bind(3, 2, SCREENCOPY, 1, 4))).toEqual(NOTHING);
    expect(s.errors).toEqual([`error 3 0 invalid global ${SCREENCOPY} (2)`]);
  });
  test.each([
    ["with a NUL inside its interface", (b: Uint8Array) => (b[17] = 0)],
    ["with trailing bytes", (b: Uint8Array) => joined(b, new Uint8Array(4)).with(6, b.length + 4)],
  ])("that may be free are still guarded against a bind %s", (_what, spoil) => {
    const s = new WaylandSession();
    s.up(joined(client.sync(3), client.getRegistry(3)));
    s.down(joined(server.deleteId(3), server.global(3, 2, SCREENCOPY, 3)));
    const bind = client.bind(3, 2, SCREENCOPY, 1, 4);
    const result = spoil(bind);
    expect(s.up(result instanceof Uint8Array ? result : bind)).toEqual(NOTHING);
    expect(s.errors).toEqual(["error 1 1 invalid arguments for wl_registry#3.bind"]);
  });
  test("used again after delete_id belong to the new object, requests and events alike", () => {
    const s = new WaylandSession().withGlobals(3, [1, "wl_compositor", 4]);
    s.down(server.deleteId(3));
    const bind = client.bind(2, 1, "wl_compositor", 4, 3);
    expect(s.up(bind)).toEqual(bind);
    const requests = joined(encodeMessage(3, 0, 9), encodeMessage(3, 1, 10), encodeMessage(3, 5));
    expect(s.up(requests)).toEqual(requests);
    const events = joined(encodeMessage(3, 0, 9), encodeMessage(3, 1, 4), encodeMessage(3, 2, 1, 2, 3));
    expect(s.down(events)).toEqual(events);
    expect(s.open).toBe(true);
  });
  test("asked for again after delete_id are registries again", () => {
    const s = new WaylandSession().withGlobals(3);
    s.down(server.deleteId(3));
    s.up(client.getRegistry(3));
    expect(s.down(server.global(3, 2, SCREENCOPY, 3))).toEqual(NOTHING);
    s.up(encodeMessage(3, 1, 2));
    expect(s.errors).toEqual(["error 1 1 invalid method 1, object wl_registry#3"]);
  });
  test("are limited in number", () => {
    const s = new WaylandSession();
    const all = new Uint8Array(MAX_REGISTRIES * 12);
    for (let i = 0; i < MAX_REGISTRIES; i++) all.set(client.getRegistry(i + 2), i * 12);
    expect(s.up(all).length).toBe(all.length);
    s.up(client.getRegistry(MAX_REGISTRIES + 2));
    expect(s.errors).toEqual(["error 1 2 no memory"]);
  });
});

describe("a malformed request", () => {
  test.each([
    ["a size of 0", encodeMessage(9, 3).with(6, 0), "error 1 1 invalid arguments for object 9, opcode 3: size 0"],
    ["a size of 6", encodeMessage(9, 3).with(6, 6), "error 1 1 invalid arguments for object 9, opcode 3: size 6"],
    ["a size of 10", encodeMessage(9, 3, 1).with(6, 10), "error 1 1 invalid arguments for object 9, opcode 3: size 10"],
    ["no argument to sync", encodeMessage(1, 0), "error 1 1 invalid arguments for wl_display#1.sync"],
    ["no argument to get_registry", encodeMessage(1, 1), "error 1 1 invalid arguments for wl_display#1.get_registry"],
    [
      "more arguments to get_registry",
      encodeMessage(1, 1, 2, 3),
      "error 1 1 invalid arguments for wl_display#1.get_registry",
    ],
    ["new id 0", client.getRegistry(0), "error 1 1 invalid arguments for wl_display#1.get_registry"],
    ["the display's id as new id", client.getRegistry(1), "error 1 1 invalid arguments for wl_display#1.get_registry"],
    [
      "a new id of the compositor's range",
      client.getRegistry(0xff000000),
      "error 1 1 invalid arguments for wl_display#1.get_registry",
    ],
    ["an opcode that wl_display has not", encodeMessage(1, 2, 5), "error 1 1 invalid method 2, object wl_display#1"],
    ["an opcode that wl_registry has not", encodeMessage(2, 1, 5), "error 1 1 invalid method 1, object wl_registry#2"],
    ["a bind without arguments", encodeMessage(2, 0), "error 1 1 invalid arguments for wl_registry#2.bind"],
    [
      "a bind with a null interface",
      encodeMessage(2, 0, 1, null, 1, 3),
      "error 1 1 invalid arguments for wl_registry#2.bind",
    ],
    ["a bind to new id 0", client.bind(2, 1, "wl_shm", 1, 0), "error 1 1 invalid arguments for wl_registry#2.bind"],
    [
      "a bind to an id of the compositor's",
      client.bind(2, 1, "wl_shm", 1, 0xff000001),
      "error 1 1 invalid arguments for wl_registry#2.bind",
    ],
  ])("with %s gets the protocol's error, whole or byte by byte", (_what, bytes, error) => {
    for (const split of [0, 1]) {
      const s = new WaylandSession().withGlobals(2, [1, "wl_shm", 1]);
      const good = client.sync(5);
      expect(s.up(joined(good, bytes, good), [], split)).toEqual(good);
      expect(s.errors).toEqual([error]);
      expect(s.open).toBe(false);
    }
  });
});

describe("a malformed event", () => {
  test.each([
    ["size 4", encodeMessage(9, 3).with(6, 4)],
    ["a global without its version", encodeMessage(2, 0, 1, "wl_shm")],
    ["a global with a null interface", encodeMessage(2, 0, 1, null, 1)],
    ["an event that wl_registry has not", encodeMessage(2, 2, 1)],
    ["a global_remove without a name", encodeMessage(2, 1)],
  ])("with %s ends the session with an error that blames the compositor", (_what, bytes) => {
    const s = new WaylandSession().withGlobals(2);
    const good = server.done(5);
    expect(messagesIn(s.down(joined(good, bytes))).length).toBe(2);
    expect(s.errors[0]).toStartWith("error 1 3 the compositor sent ");
    expect(s.open).toBe(false);
  });
  test("flood of globals ends the session", () => {
    const s = new WaylandSession().withGlobals(2);
    s.down(joined(...Array.from({ length: MAX_GLOBALS + 1 }, (_, name) => server.global(2, name, "wl_output", 1))));
    const last = messagesIn(s.session.downstream.bytes).at(-1)!;
    expect(last.body.toString("latin1")).toContain("the compositor sent too many globals\0");
  });
});

describe("messages of other objects", () => {
  test("pass in one piece, however many there are", () => {
    const s = new WaylandSession().withGlobals(2);
    const many = joined(...Array.from({ length: 500 }, (_, i) => encodeMessage(100 + i, i % 7, i, "text")));
    const pieces = s.session.upstream.sent.length;
    expect(s.up(many)).toEqual(many);
    expect(s.session.upstream.sent.length).toBe(pieces + 1);
  });
  test("around a hidden global pass in two pieces", () => {
    const s = new WaylandSession().withGlobals(2);
    const pieces = s.session.downstream.sent.length;
    const [a, b] = [encodeMessage(9, 1, 1), encodeMessage(10, 1, 2)];
    expect(s.down(joined(a, a, server.global(2, 1, SCREENCOPY, 1), b, b))).toEqual(joined(a, a, b, b));
    expect(s.session.downstream.sent.length).toBe(pieces + 2);
  });
  test("of 65,532 bytes pass, split at every thousandth byte or whole", () => {
    const large = encodeMessage(9, 1, "x".repeat(65_532 - 13));
    const stream = joined(client.sync(5), large, client.sync(6), large);
    for (const split of [0, 1, 7, 1000, 4096, 65_531, 65_532, 65_533]) {
      const s = new WaylandSession();
      expect(Buffer.compare(s.up(stream, [], split), stream)).toBe(0);
    }
  });
});

describe("fds", () => {
  test("leave with the first byte of what they came with", () => {
    const s = new WaylandSession();
    s.up(encodeMessage(9, 1, 1), [50, 51]);
    expect(s.session.upstream.sent.at(-1)).toEqual({ bytes: encodeMessage(9, 1, 1), fds: [50, 51] });
  });
  test("that come with a part of a message leave with its first byte, those of the rest too", () => {
    const s = new WaylandSession();
    const message = encodeMessage(9, 1, 1, 2, 3);
    s.up(message.slice(0, 5), [50]);
    s.up(message.slice(5, 9), [51]);
    expect(s.session.upstream.sent).toEqual([]);
    s.up(message.slice(9), [52]);
    expect(s.session.upstream.sent).toEqual([{ bytes: message, fds: [50, 51, 52] }]);
  });
  test("do not wait for a message that has only begun", () => {
    const s = new WaylandSession();
    const whole = encodeMessage(9, 1, 1);
    s.up(joined(whole, encodeMessage(9, 2, 1, 2).slice(0, 9)), [50]);
    expect(s.session.upstream.sent).toEqual([{ bytes: whole, fds: [50] }]);
  });
  test("of a hidden global go with the next byte that is shown", () => {
    const s = new WaylandSession().withGlobals(2);
    s.down(server.global(2, 1, SCREENCOPY, 3), [60]);
    expect(s.session.downstream.sent).toEqual([]);
    const keymap = encodeMessage(9, 0, 1, 2);
    s.down(keymap, [61]);
    expect(s.session.downstream.sent).toEqual([{ bytes: keymap, fds: [60, 61] }]);
  });
  test("go with a clamped global too", () => {
    const s = new WaylandSession({ rule: "r", globals: [["wl_seat", 4]] }).withGlobals(2);
    s.down(server.global(2, 1, "wl_seat", 9), [60]);
    expect(s.session.downstream.sent.at(-1)?.fds).toEqual([60]);
  });
  test("253 at once leave at most 28 for each byte, in order", () => {
    const fds = Array.from({ length: 253 }, (_, i) => 1000 + i);
    const s = new WaylandSession();
    const [small, next] = [encodeMessage(9, 1), encodeMessage(9, 2, 3)];
    s.up(small.slice(0, 1), fds);
    s.up(small.slice(1));
    expect(s.session.upstream.sent).toEqual([{ bytes: small, fds: fds.slice(0, 8 * 28) }]);
    s.up(next);
    expect(s.session.upstream.fds).toEqual(fds);
    expect(s.heldFds.count).toBe(0);
  });
  test("without end and without a message are refused, and closed", () => {
    const s = new WaylandSession();
    const large = encodeMessage(9, 1, "x".repeat(2000));
    let fd = 1000;
    for (let at = 0; s.open && at < large.length; at++)
      s.up(
        large.slice(at, at + 1),
        Array.from({ length: 100 }, () => fd++),
      );
    expect(s.errors).toEqual(["error 1 2 too many fds without a message"]);
    expect(fd - 1000).toBe(HELD_FDS_MAX - (HELD_FDS_MAX % 100) + 100);
    expect([s.session.leakedFds, s.heldFds.count]).toEqual([[], 0]);
  });
  test("of all sessions of a link count together", () => {
    const s = new WaylandSession();
    s.heldFds.count = LINK_HELD_FDS_MAX;
    s.up(encodeMessage(9, 1).slice(0, 1), [50]);
    expect(s.errors).toEqual(["error 1 2 too many fds without a message"]);
    expect([s.session.leakedFds, s.heldFds.count]).toEqual([[], LINK_HELD_FDS_MAX]);
  });
  test("that wait when the session ends are closed", () => {
    const s = new WaylandSession().withGlobals(2);
    s.up(encodeMessage(9, 1).slice(0, 3), [50]);
    s.down(server.global(2, 1, SCREENCOPY, 3), [60]);
    s.session.end();
    expect([s.session.leakedFds, s.heldFds.count]).toEqual([[], 0]);
  });
  test("that come with a refused bind are closed", () => {
    const s = new WaylandSession().withGlobals(2);
    s.up(client.bind(2, 1, SCREENCOPY, 1, 3), [50]);
    expect(s.session.leakedFds).toEqual([]);
  });
});

describe("the operator", () => {
  const GLOBALS = [
    [1, "wl_shm", 1],
    [2, SCREENCOPY, 3],
    [3, "zwlr_layer_shell_v1", 4],
    [4, "wl_compositor", 5],
  ] as const;
  test("is told of hidden globals once a session, sorted, with the rule", () => {
    const s = new WaylandSession().withGlobals(2, ...GLOBALS);
    s.session.advance(SETTLE_MS);
    s.down(server.global(2, 9, "zwlr_virtual_pointer_manager_v1", 2));
    s.up(client.bind(2, 1, "wl_shm", 1, 5));
    s.session.advance(SETTLE_MS);
    s.session.end();
    expect(s.session.denied).toEqual([
      {
        action: "wayland.hide",
        rule: "profile app",
        asked: { globals: "zwlr_layer_shell_v1 v4, zwlr_screencopy_manager_v1 v3", count: 2 },
      },
    ]);
  });
  test("is told what the application bound, each time there is more of it", () => {
    const s = new WaylandSession().withGlobals(2, ...GLOBALS);
    s.up(client.bind(2, 1, "wl_shm", 1, 5));
    s.up(client.bind(2, 1, "wl_shm", 1, 6));
    s.session.advance(SETTLE_MS);
    s.session.advance(SETTLE_MS);
    s.up(client.bind(2, 4, "wl_compositor", 4, 7));
    s.session.end();
    expect(s.session.reported).toEqual([
      { kind: "wayland.bound", record: { interfaces: [["wl_shm", 1]] } },
      {
        kind: "wayland.bound",
        record: {
          interfaces: [
            ["wl_compositor", 4],
            ["wl_shm", 1],
          ],
        },
      },
    ]);
  });
  test("is not told of a connection that looked at nothing", () => {
    const s = new WaylandSession();
    s.up(client.sync(2));
    s.session.end();
    expect([s.session.denied, s.session.reported]).toEqual([[], []]);
  });
});

describe("a policy change", () => {
  test("that would be told on thousands of registries ends the session instead", () => {
    const s = new WaylandSession();
    s.up(joined(...Array.from({ length: MAX_TOLD / 8 + 1 }, (_, i) => client.getRegistry(2 + i))));
    for (let name = 1; name <= 4; name++) s.down(server.global(2, name, "wl_output", 4));
    const before = s.session.downstream.sent.length;
    s.filter.onConfig(table(["wl_output", 3]));
    expect(s.session.downstream.sent.length).toBe(before + 1);
    expect(s.errors).toEqual(["error 1 2 no memory"]);
    expect(s.open).toBe(false);
  });
  const table = (...globals: [string, number][]) => ({ table: { rule: "new rule", globals } });
  test("withdraws and announces globals on every registry", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_shm", 1], [2, "wl_seat", 5], [3, SCREENCOPY, 3]);
    s.up(client.getRegistry(6));
    const before = s.session.downstream.bytes.length;
    s.filter.onConfig(table(["wl_shm", 1], [SCREENCOPY, 2]));
    const told = s.session.downstream.bytes.slice(before);
    const forOne = (id: number) => [server.globalRemove(id, 2), server.global(id, 3, SCREENCOPY, 2)];
    expect(told).toEqual(joined(...forOne(2), ...forOne(6)));
    const bind = client.bind(2, 3, SCREENCOPY, 2, 9);
    expect(s.up(bind)).toEqual(bind);
    s.up(client.bind(2, 2, "wl_seat", 1, 10));
    expect(s.errors).toEqual(["error 2 0 invalid global wl_seat (2)"]);
    expect(s.session.denied.at(-1)?.rule).toBe("new rule");
  });
  test("that forbids what is bound ends the connection with an error", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_shm", 1]);
    s.up(client.bind(2, 1, "wl_shm", 1, 5));
    s.filter.onConfig(table(["wl_seat", 1]));
    expect(s.errors).toEqual(["error 1 3 policy no longer allows wl_shm"]);
    expect(s.session.denied.map((d) => d.action)).toEqual(["wayland.revoke"]);
  });
  test("below a bound version ends it too, above it announces the global anew", () => {
    for (const [cap, open] of [
      [3, false],
      [4, true],
    ] as const) {
      const s = new WaylandSession().withGlobals(2, [1, "wl_seat", 9]);
      s.up(client.bind(2, 1, "wl_seat", 4, 5));
      const before = s.session.downstream.bytes.length;
      s.filter.onConfig(table(["wl_seat", cap]));
      expect(s.open).toBe(open);
      if (open)
        expect(s.session.downstream.bytes.slice(before)).toEqual(
          joined(server.globalRemove(2, 1), server.global(2, 1, "wl_seat", 4)),
        );
    }
  });
  test("does not stand inside a message of the compositor that has half arrived", () => {
    const s = new WaylandSession().withGlobals(2, [1, "wl_seat", 5]);
    const event = encodeMessage(9, 4, "a text of some length");
    s.down(event.slice(0, 17));
    s.filter.onConfig(table());
    s.down(event.slice(17));
    expect(messagesIn(s.session.downstream.bytes).map((m) => [m.id, m.opcode])).toEqual([
      [2, 0],
      [2, 1],
      [9, 4],
    ]);
  });
});

describe("a session", () => {
  test("whose compositor can't be reached gets an error that names no path", () => {
    const s = new WaylandSession();
    s.filter.onUpstreamFailed("connect(/run/secret/wayland-0): ECONNREFUSED");
    expect(s.errors).toEqual(["error 1 3 the compositor of this link can't be reached"]);
    expect(s.session.state).toContain("/run/secret");
  });
  test("ends when the compositor ends", () => {
    const s = new WaylandSession();
    s.filter.providerEnded();
    expect(s.session.state).toBe("finished: the compositor closed the connection");
  });
  test("dialled without the identity is refused when the compositor takes identities", () => {
    const s = new WaylandSession(APP_TABLE, false);
    s.withGlobals(2, [1, "wl_shm", 1], [2, "wp_security_context_manager_v1", 1]);
    expect(s.errors).toEqual(["error 1 3 the identity of this connection is not attached yet"]);
    expect(s.session.reported).toEqual([{ kind: "wayland.context-offered", record: {} }]);
  });
  test("dialled with the identity never sees the security context's global", () => {
    const s = new WaylandSession({ ...APP_TABLE, globals: [["wp_security_context_manager_v1", 1]] });
    s.up(client.getRegistry(2));
    expect(s.down(server.global(2, 2, "wp_security_context_manager_v1", 1))).toEqual(NOTHING);
    s.up(client.bind(2, 2, "wp_security_context_manager_v1", 1, 3));
    expect(s.errors).toEqual(["error 2 0 invalid global wp_security_context_manager_v1 (2)"]);
  });
});
