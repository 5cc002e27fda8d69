"""
A load generator in Python: for TLS, and where no C compiler is. Slower than load.c, and its table says so.

usage: load.py messages|tls HOST PORT CONNECTIONS SIZE SECONDS

It prints what load.c prints, and ends as load.c does, when its input does.
"""

import selectors
import socket
import ssl
import sys
import time


class Client:
    """One connection: sends a message, reads it back whole, checks it."""

    def __init__(self, client: socket.socket, message: bytes) -> None:
        self.socket = client
        self.message = message
        self.answer = bytearray()
        self.since = 0.0

    def send(self) -> None:
        self.answer.clear()
        self.since = time.perf_counter()
        self.socket.sendall(self.message)

    def receive(self) -> bool:
        """Take what has come; whether the message is whole."""
        while True:
            data = self.socket.recv(len(self.message) - len(self.answer))
            if not data:
                sys.exit("load: connection lost")
            self.answer += data
            if len(self.answer) == len(self.message):
                if self.answer != self.message:
                    sys.exit("load: wrong byte")
                return True
            # What TLS has decrypted already is no event for a selector.
            if not (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
                return False


def connect(mode: str, host: str, port: int) -> socket.socket:
    client = socket.create_connection((host, port), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if mode == "tls":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the server's certificate is made for the run
        return context.wrap_socket(client)
    return client


def main(mode: str, host: str, port: int, connections: int, size: int, seconds: float) -> None:
    message = bytes((i * 31 + 7) % 256 for i in range(size))
    selector = selectors.DefaultSelector()
    clients = []
    for _ in range(connections):
        client = Client(connect(mode, host, port), message)
        client.send()
        while not client.receive():
            pass
        clients.append(client)
        selector.register(client.socket, selectors.EVENT_READ, client)
    print("ready", flush=True)
    latencies: list[float] = []
    cpu = time.process_time()
    start = time.perf_counter()
    for client in clients:
        client.send()
    while time.perf_counter() - start < seconds:
        for key, _ in selector.select(0.1):
            if key.data.receive():
                latencies.append(time.perf_counter() - key.data.since)
                key.data.send()
    took = time.perf_counter() - start
    cpu = time.process_time() - cpu
    latencies.sort()
    p50, p99, p999 = (
        latencies[int(part * len(latencies))] if latencies else 0 for part in (0.5, 0.99, 0.999)
    )
    figures = f"count={len(latencies)} took={took:.6f} cpu={cpu:.6f}"
    print(f"{figures} p50={p50:.9f} p99={p99:.9f} p999={p999:.9f}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _, mode, host, port, connections, size, seconds = sys.argv
    main(mode, host, int(port), int(connections), int(size), float(seconds))
