/**
 * A protocol that a connection may be switched to, in small letters, perhaps with a version. None that
 * carries HTTP requests again, because those would pass without identity: h2c and HTTP itself
 * (RFC 7540 section 3.2), TLS (RFC 2817), SPDY.
 */
export const UPGRADE_TOKEN =
  /^(?!(?:h2c?|https?|tls|spdy)(?:\/|$))[a-z0-9!#$%&'*+.^_`|~-]+(?:\/[a-z0-9!#$%&'*+.^_`|~-]+)?$/;

/** WebSocket's opening request has an identity; what follows is one conversation with no further requests. */
export const DEFAULT_UPGRADE: readonly string[] = ["websocket"];
