/**
 * A daemon that is killed while it plants: `killed-planter.ts STATE PID WHEN TARGET`. It kills itself
 * with SIGKILL when its journal is told WHEN: intent, planted, hidden, removed, or never (it then
 * prints "standing" and waits). `WHEN` may carry a count: "intent:2" is the second time.
 */
import { Journal } from "../../../src/inject/journal.ts";
import type { ObjectIdentity } from "../../../src/inject/object-id.ts";
import { ContainerRoot } from "../../../src/inject/root.ts";
import { plantSocket, removeSocket } from "../../../src/inject/socket.ts";
import { ProcessHandle } from "../../../src/sys/process.ts";

const [state = "", pid = "0", when = "", target = ""] = process.argv.slice(2);
const [step, count = "1"] = when.split(":");
let left = Number(count);
const maybeDie = (now: string) => {
  if (now === step && --left === 0) process.kill(process.pid, "SIGKILL");
};

/** Dies right after the line was written: what follows in the caller never happens. */
class DeadlyJournal extends Journal {
  override intend(entry: Parameters<Journal["intend"]>[0]): number {
    const id = super.intend(entry);
    maybeDie("intent");
    return id;
  }
  override planted(id: number, object: ObjectIdentity): void {
    // Before its line as well: the object exists, and nobody has written which it is.
    maybeDie("bound");
    super.planted(id, object);
    maybeDie("planted");
  }
  override hidden(id: number, temporary: string): void {
    super.hidden(id, temporary);
    maybeDie("hidden");
  }
  override removed(id: number): void {
    maybeDie("settled");
    super.removed(id);
  }
}

const journal = new DeadlyJournal(state, "boot");
const root = pid === "0" ? ContainerRoot.host() : ContainerRoot.of(new ProcessHandle(Number(pid)), 'consumer "app"');
const first = plantSocket({ root, target, seqpacket: false, journal });
if (when === "never") {
  console.log("standing");
  await Bun.sleep(60_000);
}
const second = plantSocket({ root, target, seqpacket: false, journal, previous: first });
removeSocket(root, second, journal);
console.log("not killed");
