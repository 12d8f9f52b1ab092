/** Reads the answers of one connection. The caller says of each head whether it answers a HEAD request. */
import type { CarryBudget } from "./carry.ts";
import type { HeadScanner } from "./head-scanner.ts";
import { MessageReader } from "./message-reader.ts";
import { HTTP_LIMITS, type HttpLimits, type Refusal } from "./refusal.ts";
import { ResponseHead } from "./response-head.ts";

export class ResponseReader extends MessageReader<ResponseHead> {
  /** Set by the caller before the bytes of an answer are read: it answers HEAD, so that no body follows. */
  answersHead = false;

  constructor(budget: CarryBudget, limits: HttpLimits = HTTP_LIMITS, scanner?: HeadScanner) {
    super(new ResponseHead(limits), limits, budget, scanner);
  }

  /** The body under way ends where the stream ends. */
  get endsAtClose(): boolean {
    return this.inBody && this.body.endsAtClose;
  }

  /** RFC 9112 section 6.3, in its order. After a 1xx another head follows, with no END between. */
  protected override headDone(): Refusal | undefined {
    const { status, framing, interim } = this.head;
    if (interim) {
      this.endMessage();
      return undefined;
    }
    if (this.answersHead || status === 101 || status === 204 || status === 304) this.body.startNone();
    else if (framing.chunked) this.body.startChunked();
    else if (framing.contentLength >= 0) this.body.startLength(framing.contentLength);
    else this.body.startUntilClose();
    this.enterBody();
    return undefined;
  }
}
