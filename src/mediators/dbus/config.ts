/** Configuration of a D-Bus link, plain data for the data plane, and the caps of its sessions. */
import type { ProviderEndpoint } from "../../inject/provider.ts";
import type { RightsConfig } from "../../policy/dbus/rights.ts";

/** Where the role's uid comes from; the provider's passwd is read when it is dialled. */
export type RoleIdentity =
  /** The graph's or policy's number, or a numeric role. In the provider's user namespace. */
  | { readonly uid: number; readonly gid: number | null }
  /** To be looked up in the provider's passwd; 65534 where it is not there. */
  | { readonly name: string };

export interface DbusConfig {
  readonly provider: ProviderEndpoint;
  readonly identity: RoleIdentity;
  readonly rights: RightsConfig;
  /** Longest message in bytes. */
  readonly maxMessage: number;
}

/** max_message_size of the system bus (bus/config-parser.c): larger ones it would disconnect for. */
export const MESSAGE_MAX = 32 * 1024 * 1024;
/** Longest header fields array: four of the longest names, a path and a signature are far below. */
export const FIELDS_MAX = 64 * 1024;
/** max_message_unix_fds of the system bus. */
export const FDS_MAX = 16;
/**
 * fds of the bus that may wait for their message: one message may have 253 (SCM_MAX_FD) where the bus
 * allows it, and any peer may send us such a one. It is dropped, and must not end the session.
 */
export const PROVIDER_FDS_MAX = 2 * 253;
/** max_replies_per_connection of the system bus: calls of ours that may wait for a reply. */
export const PENDING_MAX = 128;
/** Calls to this side that it has not answered. Its callers are limited by the bus to 128 each; eight busy ones fit. */
export const INCOMING_MAX = 1024;
/** max_match_rules_per_connection of the system bus. */
export const MATCH_RULES_MAX = 512;
/** Refusals that wait for their turn: 64 bytes each. Further ones are answered out of turn. */
export const REFUSALS_MAX = 4096;
/** Longest body that is kept to be looked into or rewritten: thousands of names, or hundreds of objects. */
export const HELD_BODY_MAX = 1024 * 1024;
/** Longest body that is validated here; larger ones stream through and the bus judges them. */
export const VALIDATED_BODY_MAX = 64 * 1024;
/** What a consumer may send before the bus is ready for it: a handshake, Hello, and a first burst. */
export const EARLY_MAX = 64 * 1024;
/** auth_timeout of the system bus. */
export const AUTH_MS = 30_000;
/** A message that is kept must arrive whole within pending_fd_timeout of the system bus. */
export const MESSAGE_MS = 150_000;
/** Sessions of one link that have not said Hello; max_incomplete_connections is 64 for a whole bus. */
export const HALF_OPEN_MAX = 32;
