/**
 * The trailer section of a chunked body, from its first field to its empty line. It is read
 * whole before a byte of it goes on, like a head, for the same reason: its fields are judged.
 */
import { Carry, type CarryBudget } from "./carry.ts";
import { type FieldSection, KIND } from "./fields.ts";
import { type HttpLimits, REFUSED, type Refusal } from "./refusal.ts";

export class TrailerReader {
  refusal: Refusal | undefined;
  /** The first byte that the last `read` did not use. */
  at = 0;
  /** Once `read` said true: what may go on, with the empty line that ends the message. */
  bytes: Uint8Array = new Uint8Array(0);
  private readonly carry: Carry;
  private readonly fields: FieldSection;
  private readonly limit: number;

  /** `fields` may be the head's own: a head is done with before its trailers begin. */
  constructor(fields: FieldSection, limits: HttpLimits, budget: CarryBudget) {
    this.carry = new Carry(budget);
    this.fields = fields;
    this.limit = limits.trailerBytes;
  }

  start(): void {
    this.refusal = undefined;
    this.fields.reset();
  }
  /** Gives the memory back. */
  clear(): void {
    this.carry.clear();
  }

  /** Reads `bytes[at, end)`: true once the section is complete. */
  read(bytes: Uint8Array, at: number, end: number): boolean {
    const before = this.carry.length;
    const take = Math.min(end - at, this.limit - before);
    if (!this.carry.append(bytes, at, at + take)) {
      this.refusal = REFUSED.noRoom;
      return false;
    }
    const used = this.fields.scan(this.carry.bytes, 0, before, this.carry.length);
    this.at = at + used - before;
    this.refusal = this.fields.refusal;
    if (this.refusal !== undefined) return false;
    if (!this.fields.done) {
      if (this.carry.length === this.limit) this.refusal = REFUSED.trailersTooLarge;
      return false;
    }
    this.refusal = this.judge();
    if (this.refusal === undefined) this.bytes = this.keep();
    this.carry.clear();
    return this.refusal === undefined;
  }

  /**
   * A trailer must not frame, route or modify the message (RFC 9110 section 6.5.1): some
   * recipients merge trailers into the head. Identity and hop-by-hop fields are left out,
   * the others that matter to us are refused.
   */
  private judge(): Refusal | undefined {
    for (let field = 0; field < this.fields.count; field++) {
      const kind = this.fields.kinds[field]!;
      if (kind === KIND.OTHER) continue;
      if (kind !== KIND.IDENTITY && kind !== KIND.HOP && kind !== KIND.PROXY_CONNECTION) return REFUSED.trailerField;
      this.fields.kept[field] = 0;
    }
    return undefined;
  }

  private keep(): Uint8Array {
    const kept = new Uint8Array(this.fields.end);
    let length = 0;
    for (let field = 0; field < this.fields.count; field++) {
      if (this.fields.kept[field] === 0) continue;
      const line = this.carry.bytes.subarray(this.fields.lineStart(field), this.fields.lineEnd(field));
      kept.set(line, length);
      length += line.length;
    }
    kept.set(END_OF_SECTION, length);
    return kept.subarray(0, length + END_OF_SECTION.length);
  }
}

const END_OF_SECTION = Uint8Array.of(0x0d, 0x0a);
