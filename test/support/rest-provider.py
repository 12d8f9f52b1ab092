"""A provider on a unix socket: Python's http.server, telling each request back as JSON.

usage: rest-provider.py PATH
/sink reads the body and tells its length; /sse sends events until the client goes; /slow waits
half a second; /cut dies within an answer (?how=length|chunked|none).
"""
import json
import os
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def body_length(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            total = 0
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                total += size
                left = size
                while left > 0:
                    left -= len(self.rfile.read(min(left, 1 << 20)))
                if size == 0:
                    break
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            return total
        left = total = int(self.headers.get("Content-Length", 0))
        while left > 0:
            got = len(self.rfile.read(min(left, 1 << 20)))
            if got == 0:
                raise ConnectionError("the body ended short")
            left -= got
        return total

    def answer(self):
        path = self.path.split("?")[0]
        if path == "/cut":
            return self.cut()
        if path == "/sse":
            return self.events()
        if path == "/slow":
            time.sleep(0.5)
        told = {
            "method": self.command,
            "path": self.path,
            "version": self.request_version,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": self.body_length(),
            "pid": os.getpid(),
        }
        content = (json.dumps(told) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(1000):
            event = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(0.05)

    def cut(self):
        how = self.path.split("how=")[-1]
        self.send_response(200)
        if how == "length":
            self.send_header("Content-Length", "1000")
        elif how == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"a\r\n0123456789\r\n" if how == "chunked" else b"0123456789")
        self.wfile.flush()
        time.sleep(0.2)
        os._exit(1)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("unix", 0)

    def handle_error(self, request, client_address):
        pass


if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
server = Server(sys.argv[1], Handler)
print("listening", flush=True)
server.serve_forever()
