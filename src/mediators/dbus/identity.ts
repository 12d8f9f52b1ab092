/**
 * Who a role is on its bus: a uid and a gid of the provider's own, in the host's numbers.
 *
 * Looked up when the provider is dialled, since a container may write its passwd long
 * after it was linked. The file is the container's: found inside its root, a regular file,
 * never waited for without a deadline, and only its beginning is read.
 */
import { PeerRoot } from "../../inject/peer-root.ts";
import { Quarantine } from "../../inject/quarantine.ts";
import { toOutside } from "../../protocol/passwd/id-map.ts";
import { type Account, accountByName, accountByUid } from "../../protocol/passwd/passwd.ts";
import { EAGAIN, ENOENT, ETIMEDOUT, errnoName, SysError } from "../../sys/errno.ts";
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_NOCTTY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  S_IFMT,
  S_IFREG,
} from "../../sys/flags.ts";
import { fd, guarded, late, NR, result } from "../../sys/guarded.ts";
import { readProc } from "../../sys/process.ts";
import { QuickStat } from "../../sys/quick-stat.ts";
import { pvx } from "../../sys/shim.ts";
import type { RoleIdentity } from "./config.ts";

/** nobody: who a role is that the provider does not know. */
const NOBODY: Account = { uid: 65534, gid: 65534 };
/** Beginning of the file that is read. Embedded systems have a few dozen accounts. */
const PASSWD_BYTES = 64 * 1024;
/** Deadline of one look; the data plane stands still meanwhile. */
const LOOK_MS = 100;
/** How long an answer serves: a burst of connections costs one look. */
const FRESH_MS = 1000;

export type Resolved =
  | { readonly ok: true; readonly uid: number; readonly gid: number }
  | { readonly ok: false; readonly retry: boolean; readonly reason: string };

const stat = new QuickStat();
const quarantine = new Quarantine();

export class IdentityResolver {
  private readonly identity: RoleIdentity;
  private readonly pid: number;
  private readonly peer: PeerRoot;
  private fresh: { readonly until: number; readonly answer: Resolved } | undefined;

  constructor(identity: RoleIdentity, pid: number, startTime?: string) {
    this.identity = identity;
    this.pid = pid;
    this.peer = new PeerRoot(pid, startTime);
  }

  /** `now`: milliseconds of a monotonic clock. */
  resolve(now: number): Resolved {
    if (this.fresh !== undefined && now < this.fresh.until) return this.fresh.answer;
    const answer = this.look(now);
    // A provider that is not up is asked again at once when it is.
    this.fresh = answer.ok || !answer.retry ? { until: now + FRESH_MS, answer } : undefined;
    return answer;
  }

  close(): void {
    this.peer.close();
  }

  private look(now: number): Resolved {
    const { identity } = this;
    if ("uid" in identity && identity.gid !== null) return this.translate({ uid: identity.uid, gid: identity.gid });
    const passwd = this.readPasswd(now);
    if (typeof passwd !== "string") return passwd;
    if ("name" in identity) return this.translate(accountByName(passwd, identity.name) ?? NOBODY);
    return this.translate({ uid: identity.uid, gid: accountByUid(passwd, identity.uid)?.gid ?? identity.uid });
  }

  /** The same user in the host's numbers. */
  private translate(account: Account): Resolved {
    if (this.pid === 0) return { ok: true, ...account };
    try {
      const uid = toOutside(readProc(`/proc/${this.pid}/uid_map`), account.uid);
      const gid = toOutside(readProc(`/proc/${this.pid}/gid_map`), account.gid);
      if (uid !== undefined && gid !== undefined) return { ok: true, uid, gid };
    } catch (error) {
      return { ok: false, retry: true, reason: `Cannot read the id maps of process ${this.pid}: ${String(error)}` };
    }
    const who = `uid ${account.uid}, gid ${account.gid}`;
    return { ok: false, retry: false, reason: `Cannot be ${who} in process ${this.pid}: not in its id maps` };
  }

  /** The file's text, "" where there is none. */
  private readPasswd(now: number): string | (Resolved & { ok: false }) {
    const failed = (retry: boolean, why: string) =>
      ({ ok: false, retry, reason: `Cannot read /etc/passwd of process ${this.pid}: ${why}` }) as const;
    const scope = String(this.pid);
    if (quarantine.remaining(scope, now) > 0) return failed(true, "it did not answer in time lately");
    const root = this.peer.open();
    if (typeof root === "string") return failed(true, root);
    try {
      return readBeginning(root, "/etc/passwd", PASSWD_BYTES, scope) ?? failed(false, "not a regular file");
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      if (error.errno === ENOENT) return "";
      if (error.errno === ETIMEDOUT) quarantine.strike(scope, now);
      return failed(error.errno === ETIMEDOUT || error.errno === EAGAIN, `${error.call}: ${errnoName(-error.errno)}`);
    } finally {
      this.peer.release(root);
    }
  }
}

const ownPath = (inside: number): Uint8Array => Buffer.from(`/proc/self/fd/${inside}\0`);

/** The first `max` bytes of a regular file in `root`, in whole lines; undefined when it is something else. Throws SysError. */
function readBeginning(root: number, path: string, max: number, scope: string): string | undefined {
  const how = new BigUint64Array([BigInt(O_PATH | O_CLOEXEC), 0n, BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)]);
  const options = { timeoutMs: LOOK_MS, scope };
  const call = `openat2("${path}", O_PATH, RESOLVE_IN_ROOT)`;
  const args = [fd(root), path, new Uint8Array(how.buffer), 24];
  const found = guarded([{ call, nr: NR.openat2, args, handsBack: true }], options).results[0]!;
  try {
    // Only now is it opened for reading: opening a device has effects of its own.
    if (stat.read(found) < 0 || (stat.mode & S_IFMT) !== S_IFREG) return undefined;
    const flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    const program = guarded(
      [
        { call: `open("${path}")`, nr: NR.openat, args: [AT_FDCWD, late(found, ownPath), flags, 0] },
        { call: `read("${path}")`, nr: NR.read, args: [result(0), new Uint8Array(max), max] },
      ],
      options,
    );
    const bytes = program.output(1, 1, program.results[1]!);
    const text = Buffer.from(bytes).toString("latin1");
    return bytes.length < max ? text : text.slice(0, text.lastIndexOf("\n") + 1);
  } finally {
    pvx.pvx_close(found);
  }
}
