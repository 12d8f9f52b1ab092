/**
 * Who a planted node belongs to. A node's owner is carried over as the provider's container
 * sees it (0:44 stays 0:44), so two id maps lie between the number on the one side and the
 * number on the other: user_namespaces(7), "User and group ID mappings". Pure.
 */

interface Extent {
  readonly inside: number;
  readonly host: number;
  readonly count: number;
}

/** One side's ids: text of /proc/PID/uid_map or gid_map as the host sees it. */
export class IdMap {
  private readonly extents: readonly Extent[];
  constructor(text: string) {
    this.extents = text.split("\n").flatMap((line) => {
      const [inside, host, count] = line.trim().split(/\s+/).map(Number);
      return inside === undefined || host === undefined || count === undefined ? [] : [{ inside, host, count }];
    });
  }

  toHost(inside: number): number | undefined {
    const extent = this.extents.find((e) => inside >= e.inside && inside < e.inside + e.count);
    return extent === undefined ? undefined : extent.host + (inside - extent.inside);
  }
  toInside(host: number): number | undefined {
    const extent = this.extents.find((e) => host >= e.host && host < e.host + e.count);
    return extent === undefined ? undefined : extent.inside + (host - extent.host);
  }
}

/** The host's own ids. */
export const HOST_IDS = new IdMap("0 0 4294967295");

/**
 * The host's id for the consumer's node. `id`: the host's of the provider's node. An owner that
 * the provider or the consumer has no number for becomes the consumer's root: who else is in
 * there could be nobody.
 */
export function carriedOver(id: number, provider: IdMap, consumer: IdMap): number {
  const inside = provider.toInside(id);
  return (inside === undefined ? undefined : consumer.toHost(inside)) ?? consumer.toHost(0) ?? 0;
}
