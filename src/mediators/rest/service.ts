/** What all sessions of one REST link share. */
import { type RestDecision, RestRules } from "../../policy/rest.ts";
import { CarryBudget } from "../../protocol/http/carry.ts";
import { HeadWriter } from "../../protocol/http/forwarded-head.ts";
import { type HeadScanner, scannerTables } from "../../protocol/http/head-scanner.ts";
import { identityFields } from "../../protocol/http/identity.ts";
import { HTTP_LIMITS, type HttpLimits } from "../../protocol/http/refusal.ts";
import type { LinkIdentity, Session } from "../../relay/filter.ts";
import { NativeHeadScanner } from "../../sys/head-scanner.ts";
import type { RestConfig, RestTimeouts } from "./config.ts";
import type { Asked } from "./pending.ts";
import { isAllowed } from "./upgrade.ts";

/** Heads that are not complete yet and requests that wait their turn, of all sessions of a link together. */
const CARRIED_BYTES_MAX = 8 * 1024 * 1024;
/** Room for the protocols of an Upgrade: eight of at most 64 bytes and the commas. */
const UPGRADE_BYTES = 1024;

/** Decisions kept: clients ask for the same few paths over and over. Dropped all together when there are more. */
const DECISIONS_MAX = 256;
/** Longer paths are judged each time: they are rare, and keeping them would keep their bytes. */
const KEPT_PATH_MAX = 256;

/** A session that was switched to another protocol: it has no filter any more. */
interface Switched {
  readonly session: Session;
  readonly asked: Asked;
  readonly protocols: readonly string[];
}

export class RestService {
  readonly identity: Uint8Array;
  readonly limits: HttpLimits;
  readonly budget: CarryBudget;
  readonly scanner: HeadScanner;
  readonly writer: HeadWriter;
  private rules: RestRules;
  private readonly decisions = new Map<string, RestDecision>();
  upgrade: ReadonlySet<string>;
  timeouts: RestTimeouts;
  accessLog: boolean;
  private switched: Switched[] = [];
  private sweepAt = 64;

  constructor(link: LinkIdentity, config: RestConfig, limits = HTTP_LIMITS, carriedBytes = CARRIED_BYTES_MAX) {
    this.identity = identityFields(link.consumer, link.role);
    this.limits = limits;
    this.budget = new CarryBudget(carriedBytes);
    const { classes, letters } = scannerTables();
    this.scanner = new NativeHeadScanner(classes, letters, limits.fields);
    this.writer = new HeadWriter(limits.headBytes, this.identity.length + UPGRADE_BYTES);
    this.rules = new RestRules(config.access);
    this.upgrade = new Set(config.access.upgrade);
    this.timeouts = config.timeouts;
    this.accessLog = config.accessLog;
  }

  configure(config: RestConfig): void {
    this.rules = new RestRules(config.access);
    this.decisions.clear();
    this.upgrade = new Set(config.access.upgrade);
    this.timeouts = config.timeouts;
    this.accessLog = config.accessLog;
    for (const kept of this.switched)
      if (!kept.session.closed && !this.allowsSwitched(kept)) kept.session.finish("the policy no longer allows it");
  }

  /** No rule restricts the role: nothing needs to be judged. */
  get unrestricted(): boolean {
    return this.rules.unrestricted;
  }

  judge({ method, path }: Asked): RestDecision {
    if (path.length > KEPT_PATH_MAX) return this.rules.judge(method, path);
    const key = `${method} ${path}`;
    const known = this.decisions.get(key);
    if (known !== undefined) return known;
    if (this.decisions.size >= DECISIONS_MAX) this.decisions.clear();
    const decision = this.rules.judge(method, path);
    this.decisions.set(key, decision);
    return decision;
  }

  allows(asked: Asked): boolean {
    return this.judge(asked).kind === "allow";
  }

  private allowsSwitched({ asked, protocols }: Switched): boolean {
    return protocols.every((protocol) => isAllowed(protocol, this.upgrade)) && this.allows(asked);
  }

  /** A session that from now on is passed through: a later policy must still be able to end it. */
  keepSwitched(kept: Switched): void {
    if (this.switched.length >= this.sweepAt) {
      this.switched = this.switched.filter(({ session }) => !session.closed);
      this.sweepAt = Math.max(64, 2 * this.switched.length);
    }
    this.switched.push(kept);
    // The offer may be older than the policy.
    if (!this.allowsSwitched(kept)) kept.session.finish("the policy no longer allows it");
  }
}
