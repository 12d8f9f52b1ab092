/** What the documents show is what the code takes: their policy files and graph entries. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readGraph } from "../../src/graph/schema.ts";
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
