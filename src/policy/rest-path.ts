/**
 * The path that a rule is held against, and that the provider then gets: one path, so that
 * both read the same. Pure text; a path is what stands before "?" in an origin-form target.
 *
 * Normalisation is RFC 3986 section 6.2.2 (unreserved characters decoded, escapes in
 * capitals) and 5.2.4 (dot segments). What servers read in different ways is refused, not guessed.
 */

export type NormalPath =
  | { readonly ok: true; readonly path: string }
  /** `detail`: a sentence for the consumer. */
  | { readonly ok: false; readonly detail: string };

/** Without one of these in it a path is normal already. */
const NEEDS_WORK = /%|\/\/|\/\.|;/;
const UNRESERVED = /^[A-Za-z0-9._~-]$/;
/**
 * Escapes that some servers decode before they split the path: "/", "\", ";", control characters,
 * and escapes of those escapes (decoded twice by some). 0xC0 and 0xC1, 0xE0 before 0x80 to 0x9F, 0xF0 before
 * 0x80 to 0x8F and what is above 0xF7 begin no UTF-8 (RFC 3629 section 3) but overlong forms of "." and "/".
 */
const AMBIGUOUS_ESCAPE = /%(?:2F|5C|3B|[01][0-9A-F]|7F|C[01]|E0%[89]|F0%8|F[89A-F]|25(?:2[EeFf]|5[Cc]|3[Bb]|00))/;
/** "..;x": a dot segment once path parameters are cut off, as some servers do. */
const DOTS_WITH_PARAMETER = /\/\.{1,2};/;

const EMPTY_SEGMENT = "The path has an empty segment, which servers read in different ways.";
const ESCAPE = "The path has an escape that servers read in different ways.";
const PARAMETER = "The path has a dot segment with a parameter, which servers read in different ways.";

/** `path` begins with "/" and has well-formed escapes only. */
export function normalisePath(path: string): NormalPath {
  if (!NEEDS_WORK.test(path)) return { ok: true, path };
  const decoded = path.replace(/%[0-9A-Fa-f]{2}/g, (triplet) => {
    const character = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
    return UNRESERVED.test(character) ? character : triplet.toUpperCase();
  });
  if (AMBIGUOUS_ESCAPE.test(decoded)) return { ok: false, detail: ESCAPE };
  if (DOTS_WITH_PARAMETER.test(decoded)) return { ok: false, detail: PARAMETER };
  if (decoded.includes("//")) return { ok: false, detail: EMPTY_SEGMENT };
  return { ok: true, path: removeDotSegments(decoded) };
}

function removeDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.slice(1).split("/");
  for (let i = 0; i < segments.length; i++) {
    const segment = segments[i]!;
    const last = i === segments.length - 1;
    if (segment === ".." && kept.length > 0) kept.pop();
    if (segment !== "." && segment !== "..") kept.push(segment);
    else if (last) kept.push("");
  }
  return `/${kept.join("/")}`;
}

/**
 * A path glob, ready to match. "*" stands for any characters within one segment (";" only where the glob has one), "**" (a whole
 * segment) for any number of segments, none included: `/v1/**` takes `/v1`, `/v1/` and all below.
 * Matching takes time linear in the path for each segment of the glob, whatever the glob.
 */
export class PathGlob {
  private readonly segments: readonly string[];

  /** `glob` as the policy's schema takes it. */
  constructor(glob: string) {
    this.segments = glob.slice(1).split("/");
  }

  /** `segments`: of a normal path, what stands between its slashes. */
  matches(segments: readonly string[]): boolean {
    return wildcard(this.segments, segments, "**", (glob, segment) =>
      glob.includes("*") ? matchesSegment(glob, segment) : glob === segment,
    );
  }
}

function matchesSegment(glob: string, segment: string): boolean {
  // Some servers cut a segment off at ";": "/v1/*.json" must not take "/v1/secret;.json".
  if (segment.includes(";") && !glob.includes(";")) return false;
  // A whole segment "*" needs something to stand for: "/v1/*" does not take "/v1/".
  if (glob === "*") return segment !== "";
  return wildcard([...glob], [...segment], "*", (a, b) => a === b);
}

/** Whether `items` match `pattern`, in which `any` stands for any number of items. Only the last `any` is ever tried again. */
function wildcard(
  pattern: readonly string[],
  items: readonly string[],
  any: string,
  one: (pattern: string, item: string) => boolean,
): boolean {
  let p = 0;
  let i = 0;
  let lastAny = -1;
  let resume = 0;
  while (i < items.length) {
    if (p < pattern.length && pattern[p] === any) {
      lastAny = p++;
      resume = i;
    } else if (p < pattern.length && one(pattern[p]!, items[i]!)) {
      p++;
      i++;
    } else if (lastAny >= 0) {
      p = lastAny + 1;
      i = ++resume;
    } else return false;
  }
  while (p < pattern.length && pattern[p] === any) p++;
  return p === pattern.length;
}
