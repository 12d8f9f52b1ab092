/**
 * Which unique name owns which well-known name, as far as the bus has told us up to
 * this point of its stream. Rights of a unique name follow from it and end with it.
 */

/** Names tracked at once: each is a question to the bus. A desktop has 200; what is beyond has no rights through its owner. */
export const TRACKED_NAMES_MAX = 1024;

const NONE: ReadonlySet<string> = new Set();

export class Owners {
  private readonly ownerOf = new Map<string, string>();
  private readonly owned = new Map<string, Set<string>>();

  /** The bus says that `name` now belongs to `owner` ("" for nobody). False: the table is full. */
  set(name: string, owner: string): boolean {
    const before = this.ownerOf.get(name);
    if (before === owner) return true;
    if (before !== undefined) {
      const names = this.owned.get(before);
      names?.delete(name);
      if (names?.size === 0) this.owned.delete(before);
      this.ownerOf.delete(name);
    }
    if (owner === "") return true;
    if (this.ownerOf.size >= TRACKED_NAMES_MAX) return false;
    this.ownerOf.set(name, owner);
    const names = this.owned.get(owner);
    if (names === undefined) this.owned.set(owner, new Set([name]));
    else names.add(name);
    return true;
  }
  owner(name: string): string | undefined {
    return this.ownerOf.get(name);
  }
  namesOf(unique: string): ReadonlySet<string> {
    return this.owned.get(unique) ?? NONE;
  }
  /** Forgets names that are not watched any more. */
  keepOnly(watched: (name: string) => boolean): void {
    for (const name of [...this.ownerOf.keys()]) if (!watched(name)) this.set(name, "");
  }
}
