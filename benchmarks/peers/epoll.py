"""
The limit for Python: an echo server with nothing in it but ``select.epoll``, ``recv`` and ``send``.

usage: epoll.py PORT
"""

import select
import socket
import sys


def serve(listener: socket.socket) -> None:
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    accepts = listener.fileno()
    connections: dict[int, socket.socket] = {}
    unsent: dict[int, bytes] = {}  # what sockets did not take; while there is any, nothing is read
    while True:
        for number, event in poll.poll():
            if number == accepts:
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
                continue
            connection = connections[number]
            data = unsent.pop(number, b"")
            sent = 0
            try:
                data = data or connection.recv(65_536)
                sent = connection.send(data)
            except BlockingIOError:
                if not data:
                    continue
            except OSError:
                data = b""
            if not data:
                connections.pop(number).close()
            elif sent < len(data):
                unsent[number] = data[sent:]
                poll.modify(number, select.EPOLLOUT)
            elif event == select.EPOLLOUT:
                poll.modify(number, select.EPOLLIN)


serve(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024))
