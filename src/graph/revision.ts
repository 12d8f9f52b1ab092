/**
 * Reads the manifests of a revision from disk: a directory with one directory a container
 * (`run.json`, `services.json` in each), the directory of one container, or a `state.json`
 * that holds the same files under their paths.
 */
import { readdirSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { readRegular } from "../files/read-regular.ts";
import { renderFinding } from "../json/finding.ts";
import { strictParse } from "../json/strict-parse.ts";
import { type ManifestRead, readRun, readServices } from "./manifests.ts";
import type { Container } from "./resolve.ts";

/** Manifests are a few KB; a state.json of a large revision some hundred. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** Containers of one revision. Devices run tens. */
const MAX_CONTAINERS = 1000;
/** `#spec` of a whole revision in one file. */
export const STATE_SPEC = "pantavisor-service-system@1";

export interface Revision {
  readonly containers: readonly Container[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** A container's two files as parsed JSON, undefined where there is none, and how to call them in an error. */
interface Files {
  readonly directory: string;
  readonly run: { readonly name: string; readonly value: unknown };
  readonly services: { readonly name: string; readonly value: unknown } | undefined;
}

class Collector {
  readonly containers: Container[] = [];
  readonly errors: string[] = [];
  readonly warnings: string[] = [];

  add({ directory, run, services }: Files): void {
    const manifest = this.keep(run.name, readRun(run.value));
    const exports = services === undefined ? [] : this.keep(services.name, readServices(services.value));
    // Pantavisor finds a container's services.json by its directory's name, so the two must agree.
    const name = manifest.name ?? directory;
    if (name !== directory)
      this.warnings.push(
        `${run.name}: /name: is ${JSON.stringify(name)}, expected the directory's name ${JSON.stringify(directory)}`,
      );
    if (this.containers.some((other) => other.name === name))
      this.errors.push(`${run.name}: /name: is ${JSON.stringify(name)}, expected a name that no other container has`);
    else this.containers.push({ name, exports, requirements: manifest.requirements });
  }
  read(path: string): unknown {
    const file = readRegular(path, MAX_MANIFEST_BYTES);
    if (!file.ok) {
      if (file.code !== "ENOENT") this.errors.push(`${path}: ${file.reason}`);
      return undefined;
    }
    const parsed = strictParse(new TextDecoder().decode(file.bytes));
    if (parsed.ok) return parsed.value;
    this.errors.push(renderFinding(path, parsed.finding));
    return undefined;
  }
  private keep<T>(file: string, read: ManifestRead<T>): T {
    this.errors.push(...read.errors.map((finding) => renderFinding(file, finding)));
    this.warnings.push(...read.warnings.map((finding) => renderFinding(file, finding)));
    return read.value;
  }
}

/** Several paths together are one revision. Never throws: what can't be read is in `errors`. */
export function readRevision(paths: readonly string[]): Revision {
  const collector = new Collector();
  for (const path of paths) {
    const before = collector.containers.length + collector.errors.length;
    try {
      if (!statSync(path).isDirectory()) readState(collector, path);
      else readDirectory(collector, path);
    } catch (error) {
      collector.errors.push(`${path}: ${String((error as { code?: unknown }).code ?? error)}`);
    }
    if (collector.containers.length + collector.errors.length === before)
      collector.errors.push(`${path}: has no container, expected run.json in it or in its directories`);
  }
  return collector;
}

function readDirectory(collector: Collector, path: string): void {
  if (readContainer(collector, path)) return;
  // As a state.json would have them: in the order of their names.
  const names = readdirSync(path).sort();
  for (const name of names.slice(0, MAX_CONTAINERS)) {
    // bsp/run.json is the board's, a format of its own.
    if (name === "bsp" || name.startsWith("_") || name.startsWith(".")) continue;
    const directory = join(path, name);
    if (statSync(directory, { throwIfNoEntry: false })?.isDirectory()) readContainer(collector, directory);
  }
  if (names.length > MAX_CONTAINERS)
    collector.errors.push(`${path}: has ${names.length} entries, at most ${MAX_CONTAINERS} are read`);
}

function readContainer(collector: Collector, path: string): boolean {
  const run = { name: join(path, "run.json"), value: collector.read(join(path, "run.json")) };
  if (run.value === undefined) return false;
  const servicesFile = join(path, "services.json");
  const services = collector.read(servicesFile);
  collector.add({
    directory: basename(resolve(path)),
    run,
    services: services === undefined ? undefined : { name: servicesFile, value: services },
  });
  return true;
}

function readState(collector: Collector, path: string): void {
  const state = collector.read(path);
  if (state === undefined) return;
  const spec = (state as Record<string, unknown> | null)?.["#spec"];
  if (spec !== STATE_SPEC) {
    collector.errors.push(
      `${path}: /#spec: is ${JSON.stringify(spec) ?? "missing"}, expected ${JSON.stringify(STATE_SPEC)}`,
    );
    return;
  }
  addState(collector, path, state as Record<string, unknown>);
}

function addState(collector: Collector, path: string, state: Record<string, unknown>): void {
  const keys = Object.keys(state).filter((key) => key.endsWith("/run.json") && key !== "bsp/run.json");
  for (const key of keys.slice(0, MAX_CONTAINERS)) {
    const directory = key.slice(0, -"/run.json".length);
    const servicesKey = `${directory}/services.json`;
    collector.add({
      directory,
      run: { name: `${path}#${key}`, value: state[key] },
      services: Object.hasOwn(state, servicesKey)
        ? { name: `${path}#${servicesKey}`, value: state[servicesKey] }
        : undefined,
    });
  }
}

/** The revision of a state.json that was parsed already; `path` is how errors call it. */
export function revisionOfState(path: string, state: Record<string, unknown>): Revision {
  const collector = new Collector();
  addState(collector, path, state);
  return collector;
}
