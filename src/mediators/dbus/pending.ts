/**
 * Calls that wait for a reply. Outgoing ones go under serials of our own, so that the
 * consumer's can't collide with our own calls nor be guessed by a peer; the consumer's
 * serial is put back into the reply. Each is answered once.
 */
import { INCOMING_MAX, PENDING_MAX } from "./config.ts";

/** What the reply is for. */
export type Purpose =
  /** A consumer's call; the reply passes. */
  | "call"
  /** A consumer's ListNames or ListActivatableNames; the reply is filtered. */
  | "names"
  /** A consumer's GetNameOwner; the reply also tells us the owner. */
  | "owner"
  /** A consumer's GetManagedObjects; the reply is stripped. */
  | "objects"
  /** A consumer's AddMatch; an error takes the rule back. */
  | "match"
  /** A consumer's RequestName, while learning. */
  | "request"
  /** Ours: orders refusals. */
  | "turn"
  /** Ours: Hello. */
  | "hello"
  /** Ours: AddMatch or RemoveMatch of a watch. */
  | "watch"
  /** Ours: the owner of a watched name. */
  | "watched-owner"
  /** Ours: which names there are. */
  | "watched-names";

export interface Call {
  readonly purpose: Purpose;
  /** The consumer's serial; 0 for ours. */
  readonly serial: number;
  /** Whom the call was made to: the only one whose reply counts, besides the bus. */
  readonly destination: string;
  /** The unique owner of `destination` when the call was made, where it is known. */
  readonly owner: string | undefined;
  /** What the purpose needs: a name, a match rule's id. */
  readonly detail: string;
}

export class OutgoingCalls {
  private readonly calls = new Map<number, Call>();
  private last = 0;
  /** Calls of the consumer among them. */
  consumers = 0;

  /** A serial that no waiting call has. */
  nextSerial(): number {
    do {
      this.last = this.last === 0xffffffff ? 1 : this.last + 1;
    } while (this.calls.size > 0 && this.calls.has(this.last));
    return this.last;
  }
  get full(): boolean {
    return this.consumers >= PENDING_MAX;
  }
  add(serial: number, call: Call): void {
    if (call.serial !== 0) this.consumers++;
    this.calls.set(serial, call);
  }
  get(serial: number): Call | undefined {
    return this.calls.get(serial);
  }
  remove(serial: number): void {
    const call = this.calls.get(serial);
    if (call === undefined) return;
    if (call.serial !== 0) this.consumers--;
    this.calls.delete(serial);
  }
}

/** Calls made to the consumer, by caller and serial. */
export class IncomingCalls {
  private readonly calls = new Set<string>();

  /** False: the consumer has left too many unanswered. */
  add(caller: string, serial: number): boolean {
    if (this.calls.size >= INCOMING_MAX) return false;
    this.calls.add(`${caller} ${serial}`);
    return true;
  }
  /** Whether there was such a call; there is none afterwards. */
  take(caller: string, serial: number): boolean {
    return this.calls.delete(`${caller} ${serial}`);
  }
  /** The caller is gone: nobody waits. */
  drop(caller: string): void {
    for (const key of this.calls) if (key.startsWith(`${caller} `)) this.calls.delete(key);
  }
}
