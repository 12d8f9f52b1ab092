/**
 * Bounded parallel work with one lane a place: what touches the same target of the same consumer
 * happens one after the other, everything else side by side, `parallel` at a time.
 */

/** `freeSlot`: the task goes on in its lane, but no longer counts as one of those at work. Idempotent. */
export type Task = (freeSlot: () => void) => Promise<void>;

export class WorkQueue {
  private parallel: number;
  private readonly failed: (error: unknown) => void;
  private atWork = 0;
  private readonly waiting: (() => void)[] = [];
  private readonly lanes = new Map<string, Promise<void>>();

  /** `failed` is told what a task threw; its lane goes on. */
  constructor(parallel: number, failed: (error: unknown) => void) {
    this.parallel = parallel;
    this.failed = failed;
  }

  add(place: string, task: Task): void {
    const before = this.lanes.get(place) ?? Promise.resolve();
    const lane = before.then(() => this.inSlot(task));
    this.lanes.set(place, lane);
    void lane.then(() => {
      if (this.lanes.get(place) === lane) this.lanes.delete(place);
    });
  }

  /** From now on so many at a time. */
  widen(parallel: number): void {
    this.parallel = parallel;
    for (; this.atWork < parallel && this.waiting.length > 0; this.atWork++) this.waiting.shift()!();
  }

  /** Resolves when nothing is left, also of what is added meanwhile. */
  async idle(): Promise<void> {
    while (this.lanes.size > 0) await Promise.all(this.lanes.values());
  }

  private async inSlot(task: Task): Promise<void> {
    if (this.atWork >= this.parallel) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.atWork++;
    let held = true;
    const freeSlot = () => {
      if (!held) return;
      held = false;
      const next = this.waiting.shift();
      // The slot goes from hand to hand: `atWork` stays as it is.
      if (next === undefined) this.atWork--;
      else next();
    };
    try {
      await task(freeSlot);
    } catch (error) {
      this.failed(error);
    } finally {
      freeSlot();
    }
  }
}
