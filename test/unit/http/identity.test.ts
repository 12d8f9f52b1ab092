import { expect, test } from "bun:test";
import { encodeName, identityFields } from "../../../src/protocol/http/identity.ts";

test("usual names read as they are", () => {
  for (const name of ["app", "network-manager", "a.b_c~d", "org/app:2+x@y"]) expect(encodeName(name)).toBe(name);
});

test("all else is escaped, so that two names never read the same", () => {
  const names = [
    "",
    " ",
    "%",
    "%20",
    "a b",
    "a%20b",
    "ü",
    "%C3%BC",
    "\r\nX-PV-Role: root",
    "\0",
    '"',
    ",",
    "a;b",
    "\u2028",
  ];
  const encoded = names.map(encodeName);
  expect(new Set(encoded).size).toBe(names.length);
  for (const value of encoded) expect(value).toMatch(/^[A-Za-z0-9._~:@+/%-]*$/);
  expect(names.map((name) => decodeURIComponent(encodeName(name)))).toEqual(names);
});

test("are two complete lines", () => {
  expect(Buffer.from(identityFields("app", "any")).toString()).toBe("X-PV-Client: app\r\nX-PV-Role: any\r\n");
});
