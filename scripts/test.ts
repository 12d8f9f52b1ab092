/**
 * test.ts [KIND]...: runs the tests kind by kind (unit property contract integration e2e), each in
 * a bun of its own so that a crash in one cannot hide the others, and ends with "N passed, N failed",
 * the sum of what bun said. Exits 1 when anything failed, crashed, or ran nothing.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const KINDS = ["unit", "property", "contract", "integration", "e2e"] as const;
type Kind = (typeof KINDS)[number];
/** Default deadline of one test: pure code is quick; real servers on two shared cores are not. */
const TIMEOUT_MS: Record<Kind, number> = {
  unit: 10_000,
  property: 120_000,
  contract: 60_000,
  integration: 60_000,
  e2e: 120_000,
};
/** A kind that takes longer hangs: the whole run must stay well under an hour. */
const KIND_LIMIT_MS = 15 * 60_000;

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

function number(output: string, word: string): number {
  // bun's closing lines: " 12 pass", " 1 skip", " 0 fail", " 1 error"; colours when forced.
  const found = [...output.matchAll(new RegExp(`^\\s*(?:\\x1b\\[[0-9;]*m)*\\s*(\\d+) ${word}s?\\b`, "gm"))].at(-1);
  return found === undefined ? 0 : Number(found[1]);
}

/** unit: with the test of the architecture beside the folders. */
function paths(kind: Kind): string[] {
  const own = existsSync(join(ROOT, "test", kind)) ? [`./test/${kind}/`] : [];
  return kind === "unit" && existsSync(join(ROOT, "test/architecture.test.ts"))
    ? [...own, "./test/architecture.test.ts"]
    : own;
}

async function runKind(kind: Kind): Promise<Counts & { readonly note: string }> {
  const where = paths(kind);
  if (where.length === 0 || !(await hasTests(where))) return { passed: 0, failed: 0, skipped: 0, note: "no tests" };
  const child = Bun.spawn([process.execPath, "test", `--timeout=${TIMEOUT_MS[kind]}`, ...where], {
    cwd: ROOT,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "pipe",
  });
  let output = "";
  const limit = setTimeout(() => child.kill("SIGKILL"), KIND_LIMIT_MS);
  const decoder = new TextDecoder();
  for await (const chunk of child.stderr) {
    process.stderr.write(chunk);
    output += decoder.decode(chunk, { stream: true });
  }
  const code = await child.exited;
  clearTimeout(limit);
  const counts = {
    passed: number(output, "pass"),
    failed: number(output, "fail") + number(output, "error"),
    skipped: number(output, "skip"),
  };
  if (code !== 0 && counts.failed === 0)
    return { ...counts, failed: 1, note: child.signalCode ? `killed by ${child.signalCode}` : `exit ${code}` };
  return { ...counts, note: "" };
}

async function hasTests(where: readonly string[]): Promise<boolean> {
  for (const path of where) {
    if (path.endsWith(".ts")) return true;
    for await (const _ of new Bun.Glob("**/*.test.ts").scan(join(ROOT, path))) return true;
  }
  return false;
}

const asked = process.argv.slice(2);
const wrong = asked.filter((kind) => !KINDS.includes(kind as Kind));
if (wrong.length > 0) {
  console.error(`Cannot run tests of kind ${wrong.join(", ")}: the kinds are ${KINDS.join(", ")}`);
  process.exit(2);
}
const total = { passed: 0, failed: 0, skipped: 0 };
const table: string[] = [];
for (const kind of asked.length > 0 ? (asked as Kind[]) : KINDS) {
  console.log(`\n== ${kind}`);
  const started = performance.now();
  const found = await runKind(kind);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  total.passed += found.passed;
  total.failed += found.failed;
  total.skipped += found.skipped;
  table.push(
    `${kind.padEnd(12)} ${seconds.padStart(7)} s  ${String(found.passed).padStart(5)} pass ${String(found.failed).padStart(4)} fail ${String(found.skipped).padStart(4)} skip  ${found.note}`,
  );
}
console.log(`\n${table.join("\n")}\n`);
if (total.passed + total.failed === 0) total.failed = 1;
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`);
process.exit(total.failed > 0 ? 1 : 0);
