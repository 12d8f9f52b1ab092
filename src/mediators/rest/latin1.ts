/** Bytes as text without a view or a loop over them: four times as fast as the codec's own `text` for a path. */
const slice = Buffer.prototype.latin1Slice as (this: Uint8Array, start: number, end: number) => string;

/** The text of `bytes[start, end)`, one character a byte. */
export const latin1 = (bytes: Uint8Array, start: number, end: number): string => slice.call(bytes, start, end);
