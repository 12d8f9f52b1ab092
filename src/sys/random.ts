/** Names that nobody can guess. Not node:crypto, which brings Bun's node streams into the heap: 1.8 MB. */

/** `bytes` of the kernel's randomness as lower-case hexadecimal digits, two each. */
export const randomHex = (bytes: number): string => crypto.getRandomValues(Buffer.alloc(bytes)).toString("hex");
