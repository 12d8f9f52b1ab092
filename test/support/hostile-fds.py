"""Opens one connection to a link and leaves in it what a close() waits for: hostile-fds.py SOCKET

The fd is a TCP connection with unsent bytes and SO_LINGER: whoever closes it last waits for 20 s.
Says "left" and keeps the TCP peer until its standard input ends.
"""
import socket
import struct
import sys

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(("127.0.0.1", 0))
listener.listen(1)
stuck = socket.create_connection(listener.getsockname())
other, _ = listener.accept()
stuck.setblocking(False)
try:
    while True:
        stuck.send(b"x" * 65536)
except BlockingIOError:
    pass
stuck.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
socket.send_fds(link, [b"y"], [stuck.fileno()])
stuck.close()
link.close()
print("left", flush=True)
sys.stdin.read()
