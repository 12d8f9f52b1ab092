/**
 * Every reason for which a message is refused, as values: nothing is allocated to
 * refuse. `code` is stable (tests, audit and the JSON body carry it); `status` is
 * what the consumer gets when its own request is refused (a provider's bad answer
 * is a 502 whatever the code).
 */
export interface Refusal {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
}

function refusal(status: number, code: string, detail: string): Refusal {
  return Object.freeze({ code, status, detail });
}

export const REFUSED = {
  // The start line.
  requestLine: refusal(400, "request-line", "The request line is malformed."),
  method: refusal(400, "method", "The method is not a token."),
  unknownMethod: refusal(501, "unknown-method", "The method is not known here."),
  connect: refusal(405, "connect", "CONNECT is not served here."),
  http2: refusal(505, "http2", "HTTP/2 is not spoken here; use HTTP/1.1."),
  version: refusal(505, "version", "Only HTTP/1.1 and HTTP/1.0 are spoken here."),
  target: refusal(400, "target", "The request target is malformed."),
  statusLine: refusal(502, "status-line", "The status line is malformed."),
  // Lines and fields.
  bareCr: refusal(400, "bare-cr", "A CR is not followed by LF."),
  bareLf: refusal(400, "bare-lf", "A line ends with LF alone."),
  nul: refusal(400, "nul", "A NUL byte stands in the head."),
  control: refusal(400, "control", "A control character stands in a field value."),
  fieldName: refusal(400, "field-name", "A field name is malformed."),
  spaceBeforeColon: refusal(400, "space-before-colon", "White space stands between a field name and its colon."),
  obsFold: refusal(400, "obs-fold", "A field is folded over several lines."),
  noRoom: refusal(503, "no-room", "Too many unfinished heads are held for this service."),
  headTooLarge: refusal(431, "head-too-large", "The head is too large."),
  tooManyFields: refusal(431, "too-many-fields", "There are too many fields."),
  ambiguousName: refusal(
    400,
    "ambiguous-name",
    'A character for which some servers read "-" makes a field read as a framing field.',
  ),
  // What fields say.
  host: refusal(400, "host", "HTTP/1.1 needs exactly one well-formed Host."),
  hostMismatch: refusal(400, "host-mismatch", "Host differs from the target's authority."),
  connection: refusal(400, "connection", "The Connection field is malformed or names a field that must stay."),
  upgrade: refusal(400, "upgrade", "The Upgrade field is malformed or repeated."),
  expectation: refusal(417, "expectation", "Only the expectation 100-continue is known."),
  // Framing.
  bothFramings: refusal(400, "both-framings", "Content-Length and Transfer-Encoding stand in one message."),
  repeatedLength: refusal(400, "repeated-length", "Content-Length is repeated."),
  malformedLength: refusal(400, "malformed-length", "Content-Length is not a plain decimal number."),
  doubledCoding: refusal(400, "doubled-coding", "Transfer-Encoding is repeated or has several codings."),
  unknownCoding: refusal(501, "unknown-coding", "Only the transfer coding chunked is known."),
  codingInOldVersion: refusal(400, "coding-in-http-1.0", "Transfer-Encoding stands in an HTTP/1.0 message."),
  interimCloses: refusal(502, "interim-closes", "An interim answer closes the connection."),
  bodyForbidden: refusal(400, "body-forbidden", "This status can have no body."),
  // Chunked bodies.
  chunkSize: refusal(400, "chunk-size", "A chunk size is malformed."),
  chunkExtension: refusal(400, "chunk-extension", "A chunk extension is malformed or too long."),
  chunkEnd: refusal(400, "chunk-end", "A chunk's data is not followed by CRLF."),
  trailerField: refusal(400, "trailer-field", "A trailer carries a field that only a head may carry."),
  trailersTooLarge: refusal(431, "trailers-too-large", "The trailers are too large."),
} as const satisfies Record<string, Refusal>;

/** What the parsers take, at most. Each a parameter so that tests can make them small. */
export interface HttpLimits {
  /** Bytes of a head, from its first byte to the end of its empty line. */
  readonly headBytes: number;
  /** Fields in one head or trailer section. */
  readonly fields: number;
  /** Bytes of a trailer section. */
  readonly trailerBytes: number;
  /** Bytes of all chunk extensions of one body together (RFC 9112 section 7.1.1 asks for such a limit). */
  readonly extensionBytes: number;
}

export const HTTP_LIMITS: HttpLimits = {
  // Large cookies and tokens stay well below; HAProxy and Node stop at 16 KiB, nginx at 32 KiB.
  headBytes: 64 * 1024,
  // Apache stops at 100, Node forgets all beyond 2000.
  fields: 256,
  // Checksums and signatures are what trailers carry.
  trailerBytes: 16 * 1024,
  extensionBytes: 16 * 1024,
};
