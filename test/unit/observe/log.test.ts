/** What a container can make the log and the audit say: its words, and nothing of the daemon's. */
import { describe, expect, test } from "bun:test";
import { askedInShort, auditFields } from "../../../src/observe/audit.ts";
import { formatLine, LOG_FORMATS } from "../../../src/observe/log.ts";

const HOSTILE = 'a"\nlevel=error src=daemon message="x\u001b[2J\u0085\u2028\u0000\r\\';
const NOW = new Date(0);

describe("a log line", () => {
  test.each([...LOG_FORMATS])("in %s stays one line without control characters, whatever is in it", (format) => {
    const line = formatLine(format, "info", "audit", `Denied ${HOSTILE}`, { [HOSTILE]: HOSTILE }, NOW);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
    expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  });

  test("in logfmt has one message, that ends where the line does", () => {
    const line = formatLine("logfmt", "info", "audit", `Denied ${HOSTILE}`, { name: HOSTILE }, NOW);
    expect(line).toMatch(/^level=info src=audit message="(?:[^"\\]|\\.)*"$/);
  });
});

describe("an audit record", () => {
  test("keeps the consumer's words apart from the link's names", () => {
    const link = { consumer: "app", name: "system-bus", target: "/run/bus", role: "operator" };
    expect(auditFields(link, { name: "network-manager", role: "admin", path: "/p", consumer: "x" })).toEqual({
      ...link,
      asked_name: "network-manager",
      asked_role: "admin",
      asked_consumer: "x",
      path: "/p",
    });
  });

  test("has no long texts", () => {
    const { path, count, none } = askedInShort({ path: "/p".repeat(32_768), count: 3, none: null });
    expect([String(path).length, count, none]).toEqual([1025, 3, null]);
  });
});
