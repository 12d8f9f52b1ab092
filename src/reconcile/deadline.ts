import type { Clock } from "./clock.ts";

export type InTime<T> = { readonly inTime: true; readonly value: T } | { readonly inTime: false };

/** The promise's value, or `inTime: false` after `ms`. The promise itself goes on; its rejection is the caller's. */
export async function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<InTime<T>> {
  let cancel = () => {};
  const late = new Promise<InTime<T>>((resolve) => {
    cancel = clock.after(ms, () => resolve({ inTime: false }));
  });
  try {
    return await Promise.race([promise.then((value): InTime<T> => ({ inTime: true, value })), late]);
  } finally {
    cancel();
  }
}
