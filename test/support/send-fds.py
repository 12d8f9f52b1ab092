"""Sends a request with file descriptors on it: send-fds.py SOCKET COUNT. Prints what comes back."""
import os
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
read_end, write_end = os.pipe()
request = b"GET /fds HTTP/1.1\r\nHost: a\r\n\r\n"
socket.send_fds(connection, [request], [write_end] * int(sys.argv[2]))
os.close(write_end)
print(connection.makefile("rb").read().decode(), end="")
connection.close()
# Nobody holds the other end any more: reading sees the end at once.
print("closed" if os.read(read_end, 1) == b"" else "open")
