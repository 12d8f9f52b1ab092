/**
 * The real parts that tests stand on. A part that is missing is a skip with a word on a
 * person's machine, and a failure when CI=true: a test that quietly did not run proves nothing.
 */
import { existsSync } from "node:fs";

/** Part -> the Debian package that has it, and what shows that it is there. */
const PARTS = {
  root: { from: "a root shell", present: () => process.getuid?.() === 0 },
  busybox: { from: "busybox-static", present: () => Bun.which("busybox") !== null },
  lxc: {
    from: "lxc",
    present: () => Bun.which("lxc-start") !== null && existsSync("/usr/share/lxc/templates/lxc-busybox"),
  },
  socat: { from: "socat", present: () => Bun.which("socat") !== null },
  "qemu-aarch64": { from: "qemu-user-static", present: () => Bun.which("qemu-aarch64-static") !== null },
  "aarch64-libc": { from: "libc6-arm64-cross", present: () => existsSync("/usr/aarch64-linux-gnu/lib/libc.so.6") },
  "dbus-daemon": { from: "dbus", present: () => Bun.which("dbus-daemon") !== null },
  "dbus-send": { from: "dbus-bin", present: () => Bun.which("dbus-send") !== null },
  "dbus-test-tool": { from: "dbus-tests", present: () => Bun.which("dbus-test-tool") !== null },
  "xdg-dbus-proxy": { from: "xdg-dbus-proxy", present: () => Bun.which("xdg-dbus-proxy") !== null },
  gdbus: { from: "libglib2.0-bin", present: () => Bun.which("gdbus") !== null },
  busctl: { from: "systemd", present: () => Bun.which("busctl") !== null },
  "python3-dbus": {
    from: "python3-dbus",
    present: () => existsSync("/usr/lib/python3/dist-packages/dbus/__init__.py"),
  },
  nc: { from: "netcat-openbsd", present: () => Bun.which("nc") !== null },
  python3: { from: "python3", present: () => existsSync("/usr/bin/python3") },
  node: { from: "Node.js", present: () => Bun.which("node") !== null },
  curl: { from: "curl", present: () => Bun.which("curl") !== null },
  nginx: { from: "nginx-light", present: () => Bun.which("nginx") !== null },
  weston: { from: "weston", present: () => Bun.which("weston") !== null },
  "weston-simple-shm": { from: "weston", present: () => Bun.which("weston-simple-shm") !== null },
  sway: { from: "sway", present: () => Bun.which("sway") !== null },
  "wayland-info": { from: "wayland-utils", present: () => Bun.which("wayland-info") !== null },
  grim: { from: "grim", present: () => Bun.which("grim") !== null },
  wtype: { from: "wtype", present: () => Bun.which("wtype") !== null },
  "wlr-randr": { from: "wlr-randr", present: () => Bun.which("wlr-randr") !== null },
  foot: { from: "foot", present: () => Bun.which("foot") !== null },
  "wl-copy": { from: "wl-clipboard", present: () => Bun.which("wl-copy") !== null },
} as const;

export type RealPart = keyof typeof PARTS;

/** What the named parts lack, in words; empty when all are there. */
export function missingParts(...names: readonly RealPart[]): string[] {
  return names.filter((name) => !PARTS[name].present()).map((name) => `${name} (${PARTS[name].from})`);
}

/**
 * True: all are there, run the tests. False: some are missing, and it has said so.
 * Throws instead when CI=true. For `describe.skipIf(!requireRealPart("root", "lxc"))(...)`.
 */
export function requireRealPart(...names: readonly RealPart[]): boolean {
  const missing = missingParts(...names);
  if (missing.length === 0) return true;
  const message = `real parts are missing: ${missing.join(", ")}`;
  if (process.env["CI"] === "true") throw new Error(`Cannot test with CI=true: ${message}`);
  const file = new Error().stack?.match(/test\/(?!support\/)[^:)]+/)?.[0] ?? "a test file";
  console.warn(`skipped in ${file}: ${message}`);
  return false;
}
