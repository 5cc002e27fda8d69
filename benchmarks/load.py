"""
The load generator where no C compiler is: slower, so rows that it drove say so.

usage: load.py HOST PORT CONNECTIONS SIZE SECONDS
prints: messages seconds cpu_seconds
"""

import selectors
import socket
import sys
import time


def main(host: str, port: int, connections: int, size: int, seconds: float) -> None:
    message = bytes((i * 31 + 7) % 256 for i in range(size))
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        client = socket.create_connection((host, port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client, selectors.EVENT_READ, bytearray())
        client.sendall(message)
    messages = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for key, _ in selector.select(0.1):
            data = key.fileobj.recv(size - len(key.data))
            if not data:
                sys.exit("load: connection lost")
            key.data.extend(data)
            if len(key.data) == size:
                if key.data != message:
                    sys.exit("load: wrong byte")
                key.data.clear()
                messages += 1
                key.fileobj.sendall(message)
    print(messages, time.perf_counter() - start, time.process_time())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
