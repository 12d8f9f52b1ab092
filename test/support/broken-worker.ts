/** A data plane's thread that breaks as soon as it is told to start. */
const scope = globalThis as unknown as { onmessage: () => void };
scope.onmessage = () => {
  throw new Error("the reactor broke");
};
