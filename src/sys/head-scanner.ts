/** native/http-head.c: finds the usual HTTP head in one call. Which bytes and names it goes by, its maker says. */
import { Memory } from "./memory.ts";
import { pvx } from "./shim.ts";

/** struct head_scan: 256 classes, 32 words of letters, the most fields, then what was found. */
const CLASSES = 256;
const LETTERS = 32;
const FIELDS_MAX = CLASSES / 4 + LETTERS;
const FOUND = FIELDS_MAX + 1;
const FOUND_WORDS = 7;

export class NativeHeadScanner {
  readonly found: Uint32Array;
  private readonly scan = new Memory(4 * (FOUND + FOUND_WORDS));
  private readonly address = this.scan.address;

  /** `letters`: at most 32 words, by length of a name. `fieldsMax`: a head with more is not usual. */
  constructor(classes: Uint8Array, letters: Uint32Array, fieldsMax: number) {
    const words = new Uint32Array(this.scan.buffer);
    this.scan.bytes.set(classes);
    words.set(letters, CLASSES / 4);
    words[FIELDS_MAX] = fieldsMax;
    this.found = words.subarray(FOUND);
  }

  request(bytes: Uint8Array, at: number, end: number): number {
    return pvx.pvx_http_request(bytes, at, end, this.address);
  }
  response(bytes: Uint8Array, at: number, end: number): number {
    return pvx.pvx_http_response(bytes, at, end, this.address);
  }
}
