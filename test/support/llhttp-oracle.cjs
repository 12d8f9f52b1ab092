// The second opinion on HTTP: Node's own parser (llhttp, strict), behind a pipe. Run by node, not by Bun.
//
// stdin:  cases, each: u32le length of what follows, u8 kind (0 requests, 1 responses), u8 number of
//         responses that answer HEAD, then that many u8 (index of the response), then the bytes.
// stdout: one line of JSON a case: { messages: [...], error: code or null, rest: bytes not parsed }.
"use strict";
const { HTTPParser, methods } = require("_http_common");

const MAX_HEAD = 1024 * 1024;

function newMessage(headers) {
  return { headers: headers ?? [], trailers: [], body: 0, complete: false };
}

function parse(kind, heads, bytes) {
  const parser = new HTTPParser();
  const messages = [];
  let early = [];
  let current;
  parser.initialize(kind === 0 ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, MAX_HEAD, 0);
  parser[HTTPParser.kOnMessageBegin | 0] = () => {
    current = undefined;
    early = [];
  };
  parser[HTTPParser.kOnHeaders | 0] = (headers, url) => {
    if (current === undefined) early.push(...headers);
    else current.trailers.push(...headers);
    if (url) early.url = (early.url ?? "") + url;
  };
  parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, headers, method, url, status, _reason, upgrade) => {
    current = newMessage([...early, ...(headers ?? [])]);
    Object.assign(current, { version: `${major}.${minor}`, upgrade });
    if (kind === 0) Object.assign(current, { method: methods[method], url: (early.url ?? "") + (url ?? "") });
    else current.status = status;
    messages.push(current);
    const final = messages.filter((m) => !(m.status >= 100 && m.status < 200)).length - 1;
    return kind === 1 && !(status >= 100 && status < 200) && heads.includes(final) ? 1 : 0;
  };
  parser[HTTPParser.kOnBody | 0] = (chunk, _start, length) => {
    current.body += length ?? chunk.length;
  };
  parser[HTTPParser.kOnMessageComplete | 0] = () => {
    current.complete = true;
    current = undefined;
    early = [];
  };
  const used = parser.execute(bytes);
  const failed = used instanceof Error;
  const error = failed ? `${used.code}: ${used.reason}` : null;
  parser.close();
  const names = ({ headers, trailers, ...rest }) => ({ ...rest, headers: fields(headers), trailers: fields(trailers) });
  return { messages: messages.map(names), error, rest: failed ? 0 : bytes.length - used };
}

/** Only what the test looks at: the fields that read as identity. */
function fields(flat) {
  const found = [];
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i].toLowerCase().replaceAll("_", "-");
    if (name.startsWith("x-pv-")) found.push(`${name}: ${flat[i + 1]}`);
  }
  return found;
}

let pending = Buffer.alloc(0);
process.stdin.on("data", (chunk) => {
  pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
  let at = 0;
  const lines = [];
  while (pending.length - at >= 4) {
    const length = pending.readUInt32LE(at);
    if (pending.length - at - 4 < length) break;
    const record = pending.subarray(at + 4, at + 4 + length);
    const heads = [...record.subarray(2, 2 + record[1])];
    lines.push(JSON.stringify(parse(record[0], heads, record.subarray(2 + record[1]))));
    at += 4 + length;
  }
  pending = pending.subarray(at);
  if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
});
