/** Whole conversations of the two SASL state machines. */
import { describe, expect, test } from "bun:test";
import { SaslClient } from "../../../src/protocol/dbus/sasl-client.ts";
import {
  SASL_LINE_MAX,
  SASL_REJECTIONS_MAX,
  SaslServer,
  type SaslStep,
} from "../../../src/protocol/dbus/sasl-server.ts";

const GUID = "0123456789abcdef0123456789abcdef";
const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** Runs the text in pieces of `step` bytes; what was replied and how it ended. */
function serve(text: string, step: number, fds = true): { reply: string; end: string } {
  const server = new SaslServer(GUID, fds);
  let reply = "";
  let last: SaslStep = { state: "more", reply: "" };
  for (let at = 0; at < text.length && last.state === "more"; at += step) {
    const piece = bytes(text.slice(at, at + step));
    last = server.push(piece, piece.length);
    reply += last.reply;
    if (last.state === "done")
      return { reply, end: `done ${text.slice(at + last.next)} ${last.unixFds ? "fds" : "no fds"}` };
  }
  return { reply, end: last.state === "failed" ? last.error : "more" };
}

const OK = `OK ${GUID}\r\n`;
const REJECTED = "REJECTED EXTERNAL\r\n";
const conversations: [name: string, sent: string, reply: string, end: string][] = [
  ["identity in the AUTH line", "\0AUTH EXTERNAL 30\r\nBEGIN\r\n", OK, "done  no fds"],
  ["the identity is not ours to believe", "\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n", OK, "done  no fds"],
  ["identity in DATA", "\0AUTH EXTERNAL\r\nDATA 30\r\nBEGIN\r\n", `DATA\r\n${OK}`, "done  no fds"],
  ["empty DATA", "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", `DATA\r\n${OK}`, "done  no fds"],
  [
    "everything at once, as sd-bus does",
    "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl",
    `DATA\r\n${OK}AGREE_UNIX_FD\r\n`,
    "done l fds",
  ],
  [
    "mechanisms are asked for first, as GDBus does",
    "\0AUTH\r\nAUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
    `${REJECTED}${OK}AGREE_UNIX_FD\r\n`,
    "done  fds",
  ],
  [
    "another mechanism, then ours",
    "\0AUTH DBUS_COOKIE_SHA1 30\r\nAUTH ANONYMOUS\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n",
    `${REJECTED}${REJECTED}${OK}`,
    "done  no fds",
  ],
  [
    "CANCEL during the challenge",
    "\0AUTH EXTERNAL\r\nCANCEL\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n",
    `DATA\r\n${REJECTED}${OK}`,
    "done  no fds",
  ],
  [
    "CANCEL after OK takes the fds back",
    "\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nCANCEL\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n",
    `${OK}AGREE_UNIX_FD\r\n${REJECTED}${OK}`,
    "done  no fds",
  ],
  [
    "ERROR starts over",
    '\0AUTH EXTERNAL\r\nERROR "no"\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n',
    `DATA\r\n${REJECTED}${OK}`,
    "done  no fds",
  ],
  ["an identity that is not hex", "\0AUTH EXTERNAL 3\r\nAUTH EXTERNAL zz\r\n", `${REJECTED}${REJECTED}`, "more"],
  [
    "unknown words",
    "\0HELLO\r\nAUTH EXTERNAL 30\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n",
    `ERROR\r\n${OK}ERROR\r\n`,
    "done  no fds",
  ],
  ["NEGOTIATE_UNIX_FD before OK", "\0NEGOTIATE_UNIX_FD\r\n", "ERROR\r\n", "more"],
  [
    "BEGIN with more on its line is not BEGIN",
    "\0AUTH EXTERNAL 30\r\nBEGIN now\r\nBEGIN \r\nBEGIN\r\n",
    `${OK}ERROR\r\nERROR\r\n`,
    "done  no fds",
  ],
  ["begin in small letters is not BEGIN", "\0AUTH EXTERNAL 30\r\nbegin\r\nBEGIN\r\n", `${OK}ERROR\r\n`, "done  no fds"],
  ["BEGIN before OK", "\0BEGIN\r\n", "", "begin-too-early"],
  ["BEGIN during the challenge", "\0AUTH EXTERNAL\r\nBEGIN\r\n", "DATA\r\n", "begin-too-early"],
  ["no NUL", "AUTH EXTERNAL 30\r\n", "", "no-nul"],
  ["two NULs", "\0\0AUTH EXTERNAL 30\r\n", "", "not-ascii"],
  ["a tab", "\0AUTH\tEXTERNAL\r\n", "", "not-ascii"],
  ["beyond ASCII", "\0AUTH EXTERNAL \xff\r\n", "", "not-ascii"],
  ["a line that ends in LF alone runs on", "\0AUTH EXTERNAL 30\nBEGIN\r\n", "", "not-ascii"],
  ["a line without end", `\0AUTH ${"x".repeat(SASL_LINE_MAX)}`, "", "line-too-long"],
  ["rejections without end", `\0${"AUTH\r\n".repeat(20)}`, REJECTED.repeat(SASL_REJECTIONS_MAX), "too-many-rejections"],
  ["errors without end", `\0${"X\r\n".repeat(100)}`, "ERROR\r\n".repeat(64), "too-many-lines"],
];

describe("the server", () => {
  for (const [name, sent, reply, end] of conversations) {
    test(`${name}`, () => {
      expect(serve(sent, sent.length)).toEqual({ reply, end });
    });
  }
  test("says the same byte by byte", () => {
    for (const [, sent, reply, end] of conversations) {
      const got = serve(sent, 1);
      expect(got.reply).toBe(reply);
      expect(got.end.replace("done l ", "done  ")).toBe(end.replace("done l ", "done  "));
    }
  });
  test("agrees to fds only if the bus did", () => {
    expect(serve("\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", 100, false)).toEqual({
      reply: `${OK}ERROR\r\n`,
      end: "done  no fds",
    });
  });
});

describe("the client", () => {
  const run = (text: string, step = 1000): string => {
    const client = new SaslClient();
    for (let at = 0; at < text.length; at += step) {
      const piece = bytes(text.slice(at, at + step));
      const result = client.push(piece, piece.length);
      if (result.state === "done") return `done ${result.guid} ${result.unixFds}`;
      if (result.state === "failed") return `failed ${result.reason}`;
    }
    return "more";
  };
  const talks: [name: string, sent: string, end: string][] = [
    ["agreed", `DATA\r\n${OK}AGREE_UNIX_FD\r\n`, `done ${GUID} true`],
    ["no fds", `DATA\r\n${OK}ERROR "not possible"\r\n`, `done ${GUID} false`],
    ["rejected", "REJECTED EXTERNAL\r\n", 'failed "REJECTED EXTERNAL"'],
    ["rejected after DATA", "DATA\r\nREJECTED EXTERNAL\r\n", 'failed "REJECTED EXTERNAL"'],
    ["a GUID of another form", "DATA\r\nOK 123\r\n", 'failed "OK 123"'],
    ["OK before it is due", `${OK}`, `failed ${JSON.stringify(OK.trim())}`],
    ["messages before BEGIN", `DATA\r\n${OK}AGREE_UNIX_FD\r\nl`, "failed bytes before BEGIN"],
    ["a line without end", "x".repeat(2000), "failed a line of more than 1 KiB"],
  ];
  for (const [name, sent, end] of talks) test(name, () => expect(run(sent)).toBe(end));
  test("reads the same byte by byte", () => {
    expect(run(talks[0]![1], 1)).toBe(talks[0]![2]);
    expect(run(talks[3]![1], 1)).toBe(talks[3]![2]);
  });
});
