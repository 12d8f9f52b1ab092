import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../src/cli/graph.ts";
import { runCommand } from "../../support/command.ts";
import { PvCtrl } from "../../support/pv-ctrl.ts";

const EXAMPLE = join(import.meta.dir, "../../../fixtures/graphs/example.json");
const graph = (...argv: string[]) => runCommand(command, argv);

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pvx-graph-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));
/** Names that would break every form if one were pasted in. */
function hostile(): string {
  const path = join(directory, "hostile.json");
  const name = 'x"]}\\N --> end <script>&\u0001\u202e\u001b[2J;#quot;|\n';
  const entry = {
    type: "unix",
    name,
    consumer: name,
    consumer_pid: -1,
    provider: name,
    provider_pid: 1,
    role: name,
    target: "/x",
    socket: `/${name}`,
  };
  writeFileSync(path, JSON.stringify([entry]));
  return path;
}

describe("graph", () => {
  test("is a table, with defaults filled in and skipped entries on standard error", async () => {
    const { code, out, err } = await graph("--graph", EXAMPLE);
    const lines = out.split("\n");
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/^CONSUMER +PID +NAME +TYPE +ROLE +TARGET +PROVIDER +PID +SOCKET$/);
    expect(lines).toHaveLength(11);
    expect(out).toMatch(
      /compositor +655 +keyboard +input +any +\/dev\/input\/event0 +gpu +not up +\/dev\/input\/event\*/,
    );
    expect(out).toMatch(/logger <&> "x" +950 +system-bus .* _pv_ +host /);
    expect(err).toStartWith("skipped /9: has no type");
  });

  test("is JSON with the links as the daemon sees them", async () => {
    const { out } = await graph("--format", "json", "--graph", EXAMPLE);
    const { links, skipped } = JSON.parse(out);
    expect(links).toHaveLength(9);
    expect(links[0]).toMatchObject({
      consumer: "pv-example-unix-client",
      consumerPid: 812,
      role: "any",
      interface: "unix",
    });
    expect(skipped[0]).toMatchObject({ index: 9, kind: "unknown" });
    expect((await graph("--json", "--graph", EXAMPLE)).out).toBe(out);
  });

  test("comes from pv-ctrl where no file is given, by flag or environment", async () => {
    const socket = join(directory, "pv-ctrl");
    const ctrl = await PvCtrl.start({ socket });
    ctrl.setGraph([{ type: "unix", name: "n", consumer: "c", consumer_pid: 1, provider_pid: 0, socket: "/s" }]);
    expect((await graph("--ctrl", socket)).out).toContain("/run/pv/services/n.sock");
    expect((await runCommand(command, [], { PV_XCONNECT_CTRL: socket })).out).toContain("/run/pv/services/n.sock");
    await ctrl.close();
    const gone = await graph("--ctrl", join(directory, "nothing"));
    expect([gone.code, gone.err]).toEqual([1, `Cannot read the graph from ${directory}/nothing: connect: ENOENT\n`]);
  });

  test.each(["dot", "svg", "mermaid"])("as %s has every container and every link", async (format) => {
    const { out } = await graph("--format", format, "--graph", EXAMPLE);
    for (const name of ["compositor", "dashboard", "gpu", "network-manager", "drm-master", "wayland-0", "pv-xconnect"])
      expect(out).toContain(name);
  });

  test("as svg is well-formed XML that a renderer draws, also with hostile names", async () => {
    for (const file of [EXAMPLE, hostile()]) {
      const { out } = await graph("--format", "svg", "--graph", file);
      expect(out).not.toContain("<script");
      const drawn = Bun.spawnSync(
        [
          "python3",
          "-c",
          "import sys, xml.dom.minidom as m; d = m.parse(sys.stdin); print(len(d.getElementsByTagName('title')))",
        ],
        {
          stdin: Buffer.from(out),
        },
      );
      expect(drawn.exitCode).toBe(0);
      expect(Number(drawn.stdout.toString())).toBeGreaterThan(2);
    }
  });

  test("keeps hostile names inside of their quotes, in every form", async () => {
    const file = hostile();
    const dot = (await graph("--format", "dot", "--graph", file)).out;
    expect(dot).toContain(String.raw`x\"]}\\N --> end <script>&`);
    const mermaid = (await graph("--format", "mermaid", "--graph", file)).out;
    expect(mermaid).not.toMatch(/<script|\]\}|--> end/);
    const table = (await graph("--graph", file)).out;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
    for (const text of [dot, mermaid, table]) expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
    expect(table.split("\n")).toHaveLength(3);
  });

  test("of nothing is drawn as well", async () => {
    const path = join(directory, "empty.json");
    writeFileSync(path, "[]");
    expect((await graph("--graph", path)).out).toBe("no links\n");
    for (const format of ["json", "dot", "mermaid", "svg"])
      expect((await graph("--graph", path, "--format", format)).code).toBe(0);
  });

  test("has a help, and refuses an unknown form", async () => {
    expect((await graph("--help")).out).toStartWith("Usage: pv-xconnect graph");
    expect(await graph("--format", "toString", "--graph", EXAMPLE)).toMatchObject({
      code: 2,
      err: 'Cannot draw as "toString": expected one of table, json, dot, mermaid, svg\n',
    });
  });
});
