// A provider on a unix socket for node and for Bun: node:http, telling each request back as JSON.
// usage: node|bun rest-provider.cjs PATH
"use strict";
const http = require("node:http");

const server = http.createServer((request, response) => {
  let body = 0;
  request.on("data", (chunk) => {
    body += chunk.length;
  });
  request.on("end", () => {
    const headers = [];
    for (let i = 0; i < request.rawHeaders.length; i += 2)
      headers.push([request.rawHeaders[i].toLowerCase(), request.rawHeaders[i + 1]]);
    const { method, url: path, httpVersion } = request;
    response.setHeader("Content-Type", "application/json");
    response.end(`${JSON.stringify({ method, path, version: `HTTP/${httpVersion}`, headers, body })}\n`);
  });
});
server.listen(process.argv[2], () => console.log("listening"));
