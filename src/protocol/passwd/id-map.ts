/**
 * /proc/PID/uid_map and gid_map: ids of a user namespace to those of ours.
 * Source: user_namespaces(7), "User and group ID mappings".
 */

/** What `id` inside is outside; undefined: it does not exist there, and nobody can be it. */
export function toOutside(map: string, id: number): number | undefined {
  for (const line of map.split("\n")) {
    const [inside, outside, count] = line.trim().split(/\s+/).map(Number);
    if (inside === undefined || outside === undefined || count === undefined) continue;
    if (id >= inside && id < inside + count) return outside + (id - inside);
  }
  return undefined;
}
