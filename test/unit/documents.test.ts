/** What the documents show is what the code takes: their policy files and graph entries. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseRunOptions, RUN_HELP } from "../../src/cli/run-options.ts";
import { readGraph } from "../../src/graph/schema.ts";
import { renderMetrics } from "../../src/observe/metrics.ts";
import { parsePolicyFile } from "../../src/policy/schema.ts";

const ROOT = join(import.meta.dir, "../..");
const DOCS = [
  "README.md",
  "SECURITY.md",
  "CHANGELOG.md",
  ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`),
];
const texts = new Map(
  DOCS.filter((path) => path.endsWith(".md")).map((path) => [path, readFileSync(join(ROOT, path), "utf8")]),
);
const blocks = [...texts].flatMap(([path, text]) =>
  [...text.matchAll(/```json\n([\s\S]*?)```/g)].map((match, at) => [`${path}, block ${at + 1}`, match[1]!] as const),
);
const policies = blocks.filter(([, text]) => text.includes("xconnect-policy@1"));
const entries = blocks.filter(([, text]) => text.includes('"consumer_pid"'));

test("there is something to look at", () => {
  expect(policies.length).toBeGreaterThan(4);
  expect(entries.length).toBeGreaterThan(4);
});
test.each(policies)("the policy of %s is accepted", (path, text) => {
  expect(parsePolicyFile(text, path)).toMatchObject({ ok: true });
});
test.each(entries)("the graph of %s is understood", (_path, text) => {
  const value: unknown = JSON.parse(text);
  expect(readGraph(Array.isArray(value) ? value : [value])).toMatchObject({ ok: true, skipped: [] });
});
test.each([...texts])("the links of %s lead somewhere", (path, text) => {
  const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map((match) => match[1]!);
  expect(targets.filter((to) => !existsSync(join(ROOT, path, "..", to)))).toEqual([]);
});
test("the README leads to every document", () => {
  const readme = texts.get("README.md")!;
  expect([...texts.keys()].filter((path) => path.includes("/") && !readme.includes(`(${path})`))).toEqual([]);
});
test("every metric, option and variable has its place in the documents, and no other", () => {
  const operating = texts.get("docs/operating.md")!;
  const facts = {
    version: "1",
    startedAt: 0,
    sourceOk: true,
    skipped: 0,
    policyErrors: 0,
    states: ["x"],
    types: ["x"],
  };
  const samples = new Set([...renderMetrics([], facts).matchAll(/^(pvx_\w+)/gm)].map((match) => match[1]!));
  expect(new Set([...operating.matchAll(/`(pvx_\w+)`/g)].map((match) => match[1]!))).toEqual(samples);

  const helped = new Set([...RUN_HELP.matchAll(/^ {2}--([a-z-]+)/gm)].map((match) => match[1]!));
  expect(helped.size).toBeGreaterThan(10);
  const variables = [...operating.matchAll(/`(?:PV_XCONNECT)?(_[A-Z_]+)/g)].map((match) => match[1]!);
  expect(variables.length).toBeGreaterThan(8);
  for (const variable of variables) {
    const name = variable.slice(1).toLowerCase().replace(/_/g, "-");
    expect(helped).toContain(name);
    const value = { interval: "7", "log-format": "json", "log-level": "error", "access-log": "1" }[name] ?? "/there";
    const options = Object.values(parseRunOptions([], { [`PV_XCONNECT${variable}`]: value }));
    expect(options).toContainEqual(name === "interval" ? 7 : name === "access-log" ? true : value);
  }
  // Flags that a document names anywhere belong to some command's help.
  const commands = readdirSync(join(ROOT, "src/cli")).filter((name) => name.endsWith(".ts"));
  const helps = commands.map((name) => readFileSync(join(ROOT, "src/cli", name), "utf8")).join("\n");
  const known = new Set([...helps.matchAll(/--[a-z][a-z-]+/g)].map((match) => match[0]));
  for (const [path, text] of texts)
    for (const [, flag] of text.matchAll(/pv-xconnect [^\n`]*?(--[a-z][a-z-]+)/g))
      expect(`${path}: ${known.has(flag!) ? "known" : flag}`).toBe(`${path}: known`);
});
