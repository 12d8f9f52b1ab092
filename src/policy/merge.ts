/**
 * Several policy files into one policy. Pure: the caller reads the files and keeps
 * what was last good for each.
 *
 * Fails closed. A broken file keeps its last good version in force. Where there is none
 * (the daemon has just started), the services it names are refused until it is put
 * right, and if it can't even be read that far, every service that no other file speaks of:
 * falling back to a type's defaults would turn a typo into more rights.
 */
import type { ParsedPolicyFile, Policy, ServicePolicy } from "./schema.ts";

export type LastGood = ReadonlyMap<string, ReadonlyMap<string, ServicePolicy>>;

export interface PolicyFile {
  readonly fileName: string;
  readonly parsed: ParsedPolicyFile;
}

export interface Merged {
  readonly policy: Policy;
  /** Give it to the next merge. Files that are gone are gone from it too. */
  readonly lastGood: LastGood;
}

/** `files` in the order of their names: the same service in two of them is an error of the second. */
export function mergePolicyFiles(files: readonly PolicyFile[], lastGood: LastGood): Merged {
  const owner = new Map<string, string>();
  const services = new Map<string, ServicePolicy>();
  const sealed = new Map<string, string>();
  const errors: string[] = [];
  const good = new Map<string, ReadonlyMap<string, ServicePolicy>>();
  const broken: { fileName: string; why: string; names: readonly string[] | undefined }[] = [];

  for (const { fileName, parsed } of files) {
    const problems = parsed.ok ? duplicatesIn(fileName, parsed.services, owner) : parsed.errors;
    if (parsed.ok && problems.length === 0) {
      good.set(fileName, parsed.services);
      for (const [name, policy] of parsed.services) {
        services.set(name, policy);
        owner.set(name, fileName);
      }
      continue;
    }
    errors.push(...problems);
    const names = parsed.ok ? [...parsed.services.keys()] : parsed.names;
    broken.push({ fileName, why: problems[0] ?? `${fileName}: broken`, names });
  }
  let sealedRest: string | undefined;
  for (const { fileName, why, names } of broken) {
    const previous = lastGood.get(fileName);
    if (previous !== undefined) {
      good.set(fileName, previous);
      errors.push(`${fileName}: the last good version stays in force`);
      for (const [name, policy] of previous) if (!services.has(name)) services.set(name, policy);
    }
    // Also with a last good version: a service that is new in the broken one has no rights from before.
    for (const name of names ?? []) sealed.set(name, why);
    if (names === undefined && previous === undefined) sealedRest ??= why;
  }
  for (const name of services.keys()) sealed.delete(name);
  return { policy: { services, sealed, sealedRest, errors }, lastGood: good };
}

function duplicatesIn(
  fileName: string,
  services: ReadonlyMap<string, ServicePolicy>,
  owner: ReadonlyMap<string, string>,
): string[] {
  const problems: string[] = [];
  for (const name of services.keys()) {
    const first = owner.get(name);
    if (first === undefined) continue;
    const pointer = `/services/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    problems.push(`${fileName}: ${pointer}: is in ${first} already, expected each service in one file`);
  }
  return problems;
}

export type ServiceLookup =
  /** No file speaks of it: the type's defaults. */
  | { readonly kind: "defaults" }
  | { readonly kind: "policy"; readonly policy: ServicePolicy }
  | { readonly kind: "refused"; readonly reason: string };

/** What is in force for a service of this name. */
export function lookupService(policy: Policy, name: string): ServiceLookup {
  const found = policy.services.get(name);
  if (found !== undefined) return { kind: "policy", policy: found };
  const why = policy.sealed.get(name) ?? policy.sealedRest;
  if (why === undefined) return { kind: "defaults" };
  return { kind: "refused", reason: `Cannot tell what policy allows on service ${JSON.stringify(name)}: ${why}` };
}
