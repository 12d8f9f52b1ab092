/** A data plane of its own for the relay's tests: plain dialling, and filters that do one thing each. */
import type { Dial, Filter, LinkHandler, LinkIdentity, Session } from "../../src/relay/filter.ts";
import { serveOrders } from "../../src/relay/plane-thread.ts";
import { EAGAIN, ECONNREFUSED, EMFILE, ENOENT, errnoName } from "../../src/sys/errno.ts";
import { SOCK_STREAM } from "../../src/sys/flags.ts";
import { pvx } from "../../src/sys/shim.ts";
import { connectPath } from "../../src/sys/unix-socket.ts";

export interface RigConfig {
  /** Where the provider listens; up to 107 bytes. */
  readonly path: string;
  /** SOCK_STREAM unless told. */
  readonly type?: number;
  readonly exact?: boolean;
  readonly maxFds?: number;
  readonly dialsAtAccept?: boolean;
  /** A filter of `FILTERS`; none: straight. */
  readonly filter?: string;
  /** For the filter that reports its configuration. */
  readonly word?: string;
  readonly throwsOnConfigure?: boolean;
  readonly credentials?: boolean;
}

type Make = (session: Session) => Filter;
const both = (session: Session): Filter => ({
  fromConsumer: (_buffer, length, fds) => session.upstream.forward(0, length, fds),
  fromProvider: (_buffer, length, fds) => session.downstream.forward(0, length, fds),
});
const text = (buffer: Uint8Array, length: number) => Buffer.from(buffer.subarray(0, length)).toString("latin1");

const FILTERS: Readonly<Record<string, Make>> = {
  pass: both,
  /** Throws at the word, with whatever fds it was given. */
  throws: (session) => ({
    ...both(session),
    fromConsumer(buffer, length, fds) {
      if (text(buffer, length).includes("throw")) throw new Error("thrown by the test's filter");
      session.upstream.forward(0, length, fds);
    },
  }),
  throwsInOpen: () => {
    throw new Error("thrown while opening");
  },
  /** Answers the first bytes with a refusal. */
  refuses: (session) => ({
    ...both(session),
    fromConsumer(_buffer, _length, fds) {
      session.closeFds(fds);
      session.downstream.write(Buffer.from("403 no\n"));
      session.finish("403 no");
    },
  }),
  /** Up to the first newline answered by the filter; what follows, in the same chunk already, passes untouched. */
  switches: (session) => ({
    ...both(session),
    fromConsumer(buffer, length) {
      const line = buffer.indexOf(10);
      session.upstream.write(Buffer.from("switched\n"));
      session.passThrough();
      session.upstream.forward(line + 1, length);
    },
  }),
  /** Holds the consumer's end back until it passes through. */
  keepsEnd: (session) => ({
    ...both(session),
    consumerEnded() {},
    fromProvider(_buffer, length) {
      session.downstream.forward(0, length);
      session.passThrough();
    },
  }),
  deadline: (session) => ({
    ...both(session),
    fromConsumer() {
      session.setDeadline(session.now() + 60);
    },
    onDeadline() {
      session.downstream.write(Buffer.from("late\n"));
    },
  }),
  config: (session) => ({
    ...both(session),
    onConfig(config) {
      session.downstream.write(Buffer.from(`${(config as RigConfig).word}\n`));
    },
  }),
  /** Keeps every fd for ever. */
  keepsFds: (session) => ({
    ...both(session),
    fromConsumer(_buffer, length) {
      session.upstream.forward(0, length);
    },
  }),
  /** Answers each byte with a mebibyte of its own. */
  floods: (session) => ({
    ...both(session),
    fromConsumer(_buffer, length) {
      for (let i = 0; i < length; i++) session.downstream.write(new Uint8Array(1 << 20));
    },
  }),
  /** Dials at the first bytes, and notes in which order it was called. */
  dials: (session) => {
    let inside = false;
    let early = Buffer.alloc(0);
    return {
      ...both(session),
      fromConsumer(buffer, length) {
        inside = true;
        early = Buffer.concat([early, buffer.subarray(0, length)]);
        session.connectUpstream();
        inside = false;
      },
      onUpstreamConnected() {
        session.upstream.write(Buffer.from(inside ? "inside " : "after "));
        session.upstream.write(early);
        session.passThrough();
      },
      onUpstreamFailed(reason) {
        session.downstream.write(Buffer.from(`502 ${reason}\n`));
        session.finish("502");
      },
    };
  },
  /** One denial for each byte. */
  denies: (session) => ({
    ...both(session),
    fromConsumer(_buffer, length) {
      for (let i = 0; i < length; i++) session.deny({ action: "test", rule: "none", asked: { i } });
    },
  }),
  /** Gives fds with more than can be sent. */
  misuses: (session) => ({
    ...both(session),
    fromConsumer(_buffer, _length, fds) {
      session.upstream.forward(0, 0, fds);
    },
  }),
  pauses: (session) => ({
    ...both(session),
    fromConsumer(_buffer, length) {
      session.upstream.forward(0, length);
      session.pauseConsumer(true);
    },
    fromProvider(_buffer, length) {
      session.downstream.forward(0, length);
      session.pauseConsumer(false);
    },
  }),
};

function dialPath(path: string, type: number): Dial {
  const fd = pvx.pvx_socket(type);
  if (fd < 0) return { ok: false, retry: fd === -EMFILE, reason: `socket(): ${errnoName(fd)}` };
  const r = connectPath(fd, path);
  if (r === 0) return { ok: true, fd };
  pvx.pvx_close(fd);
  return { ok: false, retry: [ENOENT, ECONNREFUSED, EAGAIN].includes(-r), reason: `connect(): ${errnoName(r)}` };
}

function createHandler(_link: LinkIdentity, first: unknown): LinkHandler {
  let config = first as RigConfig;
  return {
    dialsAtAccept: config.dialsAtAccept ?? true,
    exactFdPosition: config.exact ?? true,
    maxFdsPerMessage: config.maxFds ?? 253,
    dial: () => dialPath(config.path, config.type ?? SOCK_STREAM),
    open(session) {
      if (config.credentials) session.attachCredentials();
      return config.filter === undefined ? undefined : FILTERS[config.filter]!(session);
    },
    configure(next) {
      config = next as RigConfig;
      if (config.throwsOnConfigure) throw new Error("thrown by configure");
    },
    close() {
      if (config.throwsOnConfigure) throw new Error("thrown by close");
    },
  };
}

serveOrders({ unix: createHandler });
