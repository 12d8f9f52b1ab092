import { describe, expect, test } from "bun:test";
import { type LastGood, lookupService, mergePolicyFiles } from "../../../src/policy/merge.ts";
import { parsePolicyFile } from "../../../src/policy/schema.ts";

function file(fileName: string, services: Record<string, unknown> | string) {
  const text = typeof services === "string" ? services : JSON.stringify({ "#spec": "xconnect-policy@1", services });
  return { fileName, parsed: parsePolicyFile(text, fileName) };
}
const UNIX = { type: "unix", roles: { any: {} } };
const NOBODY = { type: "unix", roles: {} };
const NONE: LastGood = new Map();

describe("several policy files", () => {
  test("speak of different services together", () => {
    const { policy } = mergePolicyFiles([file("a.json", { a: UNIX }), file("b.json", { b: UNIX })], NONE);
    expect([...policy.services.keys()]).toEqual(["a", "b"]);
    expect(policy.errors).toEqual([]);
    expect(lookupService(policy, "c")).toEqual({ kind: "defaults" });
  });

  test("with the same service refuse the second file whole, and its other services with it", () => {
    const { policy } = mergePolicyFiles(
      [file("a.json", { "a/b": UNIX }), file("b.json", { "a/b": NOBODY, c: UNIX })],
      NONE,
    );
    expect(policy.errors).toEqual(["b.json: /services/a~1b: is in a.json already, expected each service in one file"]);
    expect(policy.services.get("a/b")?.roles.has("any")).toBe(true);
    expect(lookupService(policy, "c").kind).toBe("refused");
  });

  test("keep the last good version of one that breaks", () => {
    const first = mergePolicyFiles([file("a.json", { a: UNIX })], NONE);
    const second = mergePolicyFiles([file("a.json", "{")], first.lastGood);
    expect(lookupService(second.policy, "a").kind).toBe("policy");
    expect(lookupService(second.policy, "b").kind).toBe("defaults");
    expect(second.policy.errors).toHaveLength(2);
    const third = mergePolicyFiles([file("a.json", "{")], second.lastGood);
    expect(lookupService(third.policy, "a").kind).toBe("policy");
  });

  test("seal a service that is new in the broken version", () => {
    const first = mergePolicyFiles([file("a.json", { a: UNIX })], NONE);
    const { policy } = mergePolicyFiles([file("a.json", { a: UNIX, b: 5 })], first.lastGood);
    expect(lookupService(policy, "a").kind).toBe("policy");
    expect(lookupService(policy, "b").kind).toBe("refused");
  });

  test("let a sound file have a service that a broken one had before", () => {
    const first = mergePolicyFiles([file("a.json", { a: UNIX, b: UNIX })], NONE);
    const { policy } = mergePolicyFiles([file("a.json", "{"), file("b.json", { a: NOBODY })], first.lastGood);
    expect(policy.services.get("a")?.roles.size).toBe(0);
    expect(policy.services.get("b")?.roles.size).toBe(1);
  });

  test("forget a file that is gone", () => {
    const first = mergePolicyFiles([file("a.json", { a: UNIX })], NONE);
    const gone = mergePolicyFiles([], first.lastGood);
    expect(lookupService(gone.policy, "a")).toEqual({ kind: "defaults" });
    const back = mergePolicyFiles([file("a.json", "{")], gone.lastGood);
    expect(lookupService(back.policy, "a").kind).toBe("refused");
  });

  test("fail closed for the services of a file that was never good", () => {
    const { policy } = mergePolicyFiles([file("a.json", { a: 5 }), file("b.json", { b: UNIX })], NONE);
    const found = lookupService(policy, "a");
    expect(found.kind === "refused" && found.reason).toBe(
      'Cannot tell what policy allows on service "a": a.json: /services/a: is 5, expected an object',
    );
    expect(lookupService(policy, "b").kind).toBe("policy");
    expect(lookupService(policy, "c").kind).toBe("defaults");
  });

  test("fail closed for everything unnamed when one can't be read at all", () => {
    const { policy } = mergePolicyFiles([file("a.json", "{"), file("b.json", { b: UNIX })], NONE);
    expect(lookupService(policy, "b").kind).toBe("policy");
    expect(lookupService(policy, "c").kind).toBe("refused");
    expect(lookupService(policy, "__proto__").kind).toBe("refused");
  });
});
