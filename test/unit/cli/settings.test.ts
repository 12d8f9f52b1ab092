import { expect, test } from "bun:test";
import { DEFAULTS, setting } from "../../../src/cli/settings.ts";

test("a flag is over the environment's variable, which is over the default", () => {
  const env = { PV_XCONNECT_STATE_DIR: "/of/the/environment" };
  expect(setting("state-dir", { "state-dir": "/flag" }, env)).toBe("/flag");
  expect(setting("state-dir", {}, env)).toBe("/of/the/environment");
  expect(setting("policy", {}, env)).toBe(DEFAULTS.policy);
});

test("a variable that is empty is one that is not set", () => {
  expect(setting("ctrl", {}, { PV_XCONNECT_CTRL: "" })).toBe(DEFAULTS.ctrl);
});
