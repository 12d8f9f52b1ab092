/** What both directions of one session share. */

import { type Refusal, View } from "../../policy/dbus/decide.ts";
import { Owners } from "../../policy/dbus/owners.ts";
import { Rights, type RightsConfig } from "../../policy/dbus/rights.ts";
import { NO_REPLY_EXPECTED } from "../../protocol/dbus/constants.ts";
import type { Header } from "../../protocol/dbus/header.ts";
import { Names } from "../../protocol/dbus/intern.ts";
import type { MatchRule } from "../../protocol/dbus/match-rule.ts";
import type { Session } from "../../relay/filter.ts";
import { FDS_MAX, PROVIDER_FDS_MAX } from "./config.ts";
import { FdQueue, type HeldFds } from "./fds.ts";
import { Lessons } from "./lessons.ts";
import type { Answers } from "./originate.ts";
import { IncomingCalls, OutgoingCalls } from "./pending.ts";
import { Pipe } from "./pipe.ts";
import { Turns } from "./turns.ts";
import { Watch } from "./watch.ts";

/** What a message asks for, in the audit's words. */
export interface Asked {
  readonly name: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** The interface that a Properties call or signal is about. */
  readonly argument: string | undefined;
}

export class Conversation {
  readonly session: Session;
  readonly view: View;
  readonly names = new Names();
  readonly calls = new OutgoingCalls();
  readonly incoming = new IncomingCalls();
  readonly up: Pipe;
  readonly down: Pipe;
  readonly turns: Turns;
  readonly watch: Watch;
  readonly lessons: Lessons;
  readonly consumerFds: FdQueue;
  readonly providerFds: FdQueue;
  /** The consumer's own match rules, one entry for each AddMatch. */
  readonly matchRules: MatchRule[] = [];
  /** Made when the bus has told us our name. */
  answers: Answers | undefined;
  /** The consumer has said Hello and was answered. */
  greeted = false;
  /** fds may go to the consumer. */
  fdsAgreed = false;
  /** Set once the session is over: nothing more may be sent. */
  over = false;

  constructor(session: Session, rights: RightsConfig, link: HeldFds) {
    this.session = session;
    this.consumerFds = new FdQueue(FDS_MAX, link);
    this.providerFds = new FdQueue(PROVIDER_FDS_MAX, link);
    this.view = new View(new Rights(rights), new Owners());
    this.up = new Pipe(session.upstream);
    this.down = new Pipe(session.downstream);
    this.turns = new Turns(this.calls, this.up, this.down);
    this.watch = new Watch(this.view, this.calls, this.up);
    this.lessons = new Lessons(session);
  }

  /** Ends the session for something that can't be answered. */
  stop(reason: string): void {
    if (this.over) return;
    this.over = true;
    this.session.finish(reason);
  }

  audit(action: string, asked: Asked, rule: string): void {
    this.session.deny({
      action,
      rule,
      asked: {
        role: this.session.link.role,
        name: asked.name,
        path: asked.path,
        interface: asked.interface,
        member: asked.member,
        argument_interface: asked.argument ?? null,
      },
    });
  }

  /** Refuses a call of the consumer: audit, and the error in its turn unless no reply is expected. */
  refuse(header: Header, asked: Asked, refusal: Refusal): void {
    this.audit("call", asked, refusal.rule);
    if ((header.flags & NO_REPLY_EXPECTED) !== 0) return;
    const { serial } = header;
    const { error, rule } = refusal;
    const text = TEXT[error] ?? "Refused on this link";
    this.answer(() => this.answers!.error(serial, error, `${text}: ${describe(asked)} (${rule})`, text));
  }

  /** Answers a call in its turn. */
  answer(make: () => Uint8Array): void {
    if (!this.turns.queue(make)) this.stop("refused calls pile up while one message streams");
  }
}

const TEXT: Partial<Record<Refusal["error"], string>> = {
  AccessDenied: "Not allowed on this link",
  ServiceUnknown: "The name is not provided on this link",
  NameHasNoOwner: "The name has no owner on this link",
  LimitsExceeded: "Too much at once on this link",
  InvalidArgs: "Wrong arguments",
};

function describe(asked: Asked): string {
  const about = asked.argument === undefined ? "" : `(${asked.argument})`;
  return `${asked.name} ${asked.interface === "" ? "" : `${asked.interface}.`}${asked.member}${about}`;
}
