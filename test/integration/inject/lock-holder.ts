/** Takes the state lock of a directory as a daemon does, says so, and holds it until its input ends. */
import { heldMessage, prepareStateDirectory, waitForStateLock } from "../../../src/inject/state-lock.ts";

const directory = process.argv[2] ?? "";
prepareStateDirectory(directory);
const lock = await waitForStateLock(directory, { onWait: (held) => console.log(heldMessage(directory, held)) });
console.log("owner");
for await (const _ of process.stdin) {
  // Until its end.
}
lock.release();
console.log("released");
