/** One wanted link, after validation and defaults. Field meanings: docs/graph.md. */
export const LINK_TYPES = ["unix", "rest", "dbus", "drm", "wayland", "input"] as const;
export type LinkType = (typeof LINK_TYPES)[number];

export interface Link {
  /** Identity of a link over its whole life: consumer, name and target, joined unambiguously. */
  readonly key: string;
  readonly type: LinkType;
  readonly name: string;
  readonly consumer: string;
  /** 0: the host; negative: not up; else the container's init in our pid namespace. */
  readonly consumerPid: number;
  readonly provider: string;
  readonly providerPid: number;
  readonly role: string;
  readonly interface: string;
  /** Absolute path in the consumer. */
  readonly target: string;
  /** Path in the provider: a socket, or a device node. May be a selector for devices. */
  readonly socket: string;
  /** Resolved uid of the role, where the graph gives one (hosted system bus). */
  readonly uid: number | null;
  /**
   * Start times of the two processes (field 22 of /proc/PID/stat), where reconcile believes a pid:
   * whoever opens /proc/PID/root compares them, so that a reused number reaches nobody. Absent for the host.
   */
  readonly consumerStart?: string;
  readonly providerStart?: string;
}
