import { describe, expect, test } from "bun:test";
import { renderChecks } from "../../../src/cli/doctor.ts";
import { capabilityChecks } from "../../../src/doctor/capabilities.ts";
import { nvidiaKernelVersion } from "../../../src/doctor/drivers.ts";
import { filterChecks, kernelChecks } from "../../../src/doctor/kernel.ts";

describe("capabilities", () => {
  test("are all there for root", () => {
    expect(capabilityChecks("CapEff:\t000001ffffffffff\n")).toEqual([
      { area: "capabilities", name: "effective", status: "ok", detail: "all that is needed" },
    ]);
  });
  test("that are missing are named with what goes without them", () => {
    const checks = capabilityChecks(`CapEff:\t${(0x1ffffffffffn & ~(1n << 27n)).toString(16).padStart(16, "0")}\n`);
    expect(checks).toEqual([
      { area: "capabilities", name: "CAP_MKNOD", status: "error", detail: "missing: can't plant devices" },
    ]);
  });
  test("are none for an ordinary user", () => {
    expect(capabilityChecks("CapEff:\t0000000000000000\n").map((check) => check.status)).toEqual(
      Array(9).fill("error"),
    );
  });
});

describe("the kernel", () => {
  test("is asked by doing", () => {
    const checks = kernelChecks();
    expect(checks[0]!.detail).toMatch(/^Linux \d/);
    expect(checks.filter((check) => check.status === "ok").map((check) => check.name)).toContain("pidfd_open");
  });
  test("is said to filter system calls when it does", () => {
    expect(filterChecks("Seccomp:\t0\n")).toEqual([]);
    expect(filterChecks("Name: x\nSeccomp:\t2\nSeccomp_filters:\t1\n")[0]).toMatchObject({
      name: "seccomp",
      status: "note",
    });
  });
});

describe("the version of NVIDIA's kernel driver", () => {
  const cases: [string, string | undefined][] = [
    [
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: gcc 12\n",
      "535.183.01",
    ],
    ["NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54  Release Build  (archlinux-builder)\n", "550.54"],
    ["NVRM version: NVIDIA UNIX aarch64 Kernel Module  470.256.02  Thu May  2 14:50:40 UTC 2024\n", "470.256.02"],
    ["something else\n", undefined],
  ];
  for (const [text, version] of cases)
    test(`${version}`, () => expect(nvidiaKernelVersion(text)).toBe(version as never));
});

describe("what a person reads", () => {
  const check = { area: "consumers", name: "app", status: "error", detail: "broken" } as const;
  test("has one heading an area and one line a check", () => {
    expect(
      renderChecks(
        [{ ...check, area: "kernel", status: "ok", detail: "works" }, check, { ...check, name: "b" }],
        false,
      ),
    ).toBe("kernel\n  ok    app: works\n\nconsumers\n  ERROR app: broken\n  ERROR b: broken\n");
  });
  test("is coloured on a terminal only", () => {
    expect(renderChecks([check], true)).toContain("\u001b[31mERROR\u001b[0m");
  });
  test("keeps a container's name from writing to the terminal", () => {
    expect(renderChecks([{ ...check, name: "a\u001b[2Jb\nc" }], false)).toBe(
      "consumers\n  ERROR a\uFFFD[2Jb\uFFFDc: broken\n",
    );
  });
});
