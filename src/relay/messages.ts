/** What the two threads say to each other. Plain data; fds are numbers of the one process. */
import type { AuditRecord, LinkIdentity } from "./filter.ts";

export type ToDataPlane =
  /** A planted, listening socket. The fd is the data plane's from here on. */
  | {
      readonly op: "open-link";
      readonly slot: number;
      readonly listenFd: number;
      readonly seqpacket: boolean;
      readonly link: LinkIdentity;
      readonly config: unknown;
    }
  | { readonly op: "configure-link"; readonly slot: number; readonly config: unknown }
  /** Another listening socket for the same link; open sessions live on. */
  | { readonly op: "replace-listener"; readonly slot: number; readonly listenFd: number; readonly seqpacket: boolean }
  /** Ends the link and its sessions; answered with "link-closed". */
  | { readonly op: "close-link"; readonly slot: number };

export type FromDataPlane =
  | { readonly event: "ready" }
  | { readonly event: "link-closed"; readonly slot: number }
  /** Sent on change only: whether the last dial of the link reached its provider. */
  | { readonly event: "provider"; readonly slot: number; readonly reachable: boolean; readonly reason: string }
  /** Sent on change only: what keeps the link from being served at all; null: nothing any more. */
  | { readonly event: "serving"; readonly slot: number; readonly trouble: string | null }
  | { readonly event: "denied"; readonly slot: number; readonly record: AuditRecord; readonly suppressed: number }
  | {
      readonly event: "log";
      readonly slot: number;
      readonly level: "debug" | "info" | "warn" | "error";
      readonly message: string;
    }
  | {
      readonly event: "report";
      readonly slot: number;
      readonly kind: string;
      readonly record: Readonly<Record<string, unknown>>;
    };

/** The first message to the data plane's thread. */
export interface DataPlaneStart {
  /** Eventfd: one is added for each order, after it was posted. */
  readonly wakeFd: number;
  readonly counters: SharedArrayBuffer;
  /** RLIMIT_NOFILE in force. */
  readonly fdLimit: number;
  /** Whether splice(2) may carry large pieces by reference: Linux 6.5 and later. */
  readonly splice: boolean;
  /** Whether waiting may look for a moment before it sleeps: only where another processor is there for the peers. */
  readonly spin: boolean;
}
