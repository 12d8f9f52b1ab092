/** Reads the requests of one connection, one after the other. */
import type { CarryBudget } from "./carry.ts";
import type { HeadScanner } from "./head-scanner.ts";
import { MessageReader } from "./message-reader.ts";
import { HTTP_LIMITS, type HttpLimits, type Refusal } from "./refusal.ts";
import { RequestHead } from "./request-head.ts";

export class RequestReader extends MessageReader<RequestHead> {
  constructor(budget: CarryBudget, limits: HttpLimits = HTTP_LIMITS, scanner?: HeadScanner) {
    super(new RequestHead(limits), limits, budget, scanner);
  }

  /** RFC 9112 section 6.3: a request without either framing field has no body. */
  protected override headDone(): Refusal | undefined {
    if (this.head.framing.chunked) this.body.startChunked();
    else this.body.startLength(Math.max(this.head.framing.contentLength, 0));
    this.enterBody();
    return undefined;
  }
}
