/**
 * The policy directory: every `*.json` in it, in the order of the names, as one policy;
 * read again when something in it changes. An absent directory is no policy. A directory or
 * file that can't be read is a broken file (see `policy/merge.ts`), never an absent one.
 */
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { readRegular } from "../files/read-regular.ts";
import { DirectoryWatch, statPrint } from "../files/watch.ts";
import { type LastGood, mergePolicyFiles, type PolicyFile } from "../policy/merge.ts";
import { NO_POLICY, type Policy, parsePolicyFile } from "../policy/schema.ts";

/** A policy file of one service has some hundred bytes; this is room for thousands of them. */
export const MAX_POLICY_BYTES = 1024 * 1024;
/** Files read from one directory. Beyond it the directory as a whole is broken, since what is left out could narrow. */
export const MAX_POLICY_FILES = 1000;
/** Reasons of reading that say something of us and nothing of the files. */
const OUR_SHORTAGE: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "ENOMEM"]);
/** Between two looks at the directory; inotify tells of most changes before. */
const POLL_MS = 2000;

type Listing =
  | { readonly ok: true; readonly names: readonly string[] }
  | { readonly ok: false; readonly code: string; readonly reason: string };

class Shortage extends Error {}

export class PolicyDir {
  readonly path: string;
  private lastGood: LastGood = new Map();
  private last: Policy | undefined;
  /** The last look was cut short: until one is not, there is always something new. */
  private short = false;
  private looks = 0;
  private watch: DirectoryWatch | undefined;

  constructor(path: string) {
    this.path = resolve(path);
  }

  /** Reads all files now. Never throws; what is wrong is in `errors` of the result. */
  load(): Policy {
    try {
      this.last = this.loadNow();
      this.short = false;
      return this.last;
    } catch (error) {
      if (!(error instanceof Shortage)) throw error;
      this.short = true;
      const why = `Cannot read ${this.path} now (${error.message})`;
      if (this.last === undefined) return this.unreadable(why);
      return { ...this.last, errors: [`${why}: the policy from before stays in force`, ...this.last.errors] };
    }
  }

  private loadNow(): Policy {
    const listing = this.list();
    if (!listing.ok) {
      if (OUR_SHORTAGE.has(listing.code)) throw new Shortage(listing.code);
      return this.unreadable(listing.reason);
    }
    const merged = mergePolicyFiles(
      listing.names.map((name) => this.read(name)),
      this.lastGood,
    );
    this.lastGood = merged.lastGood;
    return merged.policy;
  }

  /** `changed` is called when `load` may give something new. */
  onChange(changed: () => void): void {
    this.watch?.close();
    this.watch = new DirectoryWatch(this.path, { pollMs: POLL_MS, fingerprint: () => this.fingerprint() }, changed);
  }

  close(): void {
    this.watch?.close();
    this.watch = undefined;
  }

  /** Everything from before stays; what has no policy from before is refused. */
  private unreadable(reason: string): Policy {
    const why = `${this.path}: ${reason}`;
    const kept = mergePolicyFiles(
      [...this.lastGood].map(([fileName, services]) => ({ fileName, parsed: { ok: true, services } })),
      this.lastGood,
    );
    return { ...kept.policy, sealedRest: why, errors: [why, ...kept.policy.errors] };
  }

  private list(): Listing {
    let names: string[];
    try {
      names = readdirSync(this.path);
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      return code === "ENOENT" ? { ok: true, names: [] } : { ok: false, code, reason: `readdir: ${code}` };
    }
    // Editors' and package managers' leftovers (.swp, .json~, .dpkg-new) and hidden files are not policy.
    names = names.filter((name) => name.endsWith(".json") && !name.startsWith(".")).sort();
    if (names.length > MAX_POLICY_FILES)
      return { ok: false, code: "", reason: `has ${names.length} files, at most ${MAX_POLICY_FILES} are read` };
    return { ok: true, names };
  }

  private read(name: string): PolicyFile {
    const fileName = join(this.path, name);
    const file = readRegular(fileName, MAX_POLICY_BYTES);
    if (!file.ok && OUR_SHORTAGE.has(file.code)) throw new Shortage(file.code);
    if (!file.ok) return { fileName, parsed: { ok: false, errors: [`${fileName}: ${file.reason}`], names: undefined } };
    try {
      return {
        fileName,
        parsed: parsePolicyFile(new TextDecoder("utf-8", { fatal: true }).decode(file.bytes), fileName),
      };
    } catch {
      return { fileName, parsed: { ok: false, errors: [`${fileName}: is not UTF-8`], names: undefined } };
    }
  }

  private fingerprint(): string {
    const listing = this.list();
    if (!listing.ok) return listing.reason;
    if (this.short) this.looks++;
    const files = listing.names.map((name) => `${name}=${statPrint(join(this.path, name))}`);
    return [`look ${this.looks}`, ...files].join("\n");
  }
}

/** For commands that look at a policy once: the directory's, or none where no directory was named. */
export function loadPolicy(path: string | undefined): Policy {
  return path === undefined ? NO_POLICY : new PolicyDir(path).load();
}
