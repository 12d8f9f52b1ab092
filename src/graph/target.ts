/**
 * Paths of the graph. Nothing here touches a file system: this is the lexical half of
 * the rule, the kernel's half (resolution inside the container's root) is `inject/`.
 */

/** PATH_MAX less its NUL (limits.h): the kernel takes no longer path. */
export const MAX_PATH_BYTES = 4095;

export type PathCheck =
  | { readonly ok: true; readonly path: string }
  | { readonly ok: false; readonly expected: string };

const SHAPE = `an absolute path without ".." and NUL`;
const LENGTH = `a path of at most ${MAX_PATH_BYTES} bytes`;
const encoder = new TextEncoder();

/**
 * A target as one spelling: `//`, `/./` and a trailing slash go. `..` is refused, not resolved: what
 * it means depends on the links of a container that we do not trust.
 */
export function normaliseTarget(path: string): PathCheck {
  // isWellFormed: a lone surrogate has no UTF-8 form, so two of them would be one path.
  if (!path.startsWith("/") || path.includes("\0") || !path.isWellFormed()) return { ok: false, expected: SHAPE };
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) return { ok: false, expected: SHAPE };
  if (parts.length === 0) return { ok: false, expected: "a path below /" };
  const normal = `/${parts.join("/")}`;
  if (normal.length > MAX_PATH_BYTES || encoder.encode(normal).length > MAX_PATH_BYTES)
    return { ok: false, expected: LENGTH };
  return { ok: true, path: normal };
}

/** A provider's socket: kept as written, because only the provider's root decides what it names. */
export function isSocketPath(path: string): boolean {
  return path.startsWith("/") && isPathText(path);
}

/** What any path or device selector must be to reach a system call unchanged. */
export function isPathText(path: string): boolean {
  return (
    path.length > 0 && !path.includes("\0") && path.isWellFormed() && encoder.encode(path).length <= MAX_PATH_BYTES
  );
}

/** Where a link without target and without a path as its interface is planted. */
export function defaultTarget(name: string): string {
  return `/run/pv/services/${name}.sock`;
}
