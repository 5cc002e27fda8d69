"""Behind a real HAProxy."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from .support import Authority
from .test_command import NODAEMON, PATIENCE, CommandTestCase

CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    retries 3
    option redispatch 1

frontend echo
    bind 127.0.0.1:{port}
    default_backend instances

backend instances
    balance roundrobin
{servers}
"""


class HAProxyTestCase(CommandTestCase):
    """Servers as child processes, and a HAProxy before them."""

    def setUp(self) -> None:
        super().setUp()
        path = shutil.which("haproxy")
        if path is None:
            raise SkipTest("haproxy is not installed")
        self.haproxy = path

    def server(self, *options: str) -> tuple[subprocess.Popen[bytes], int, Path]:
        """Start a server; returns it, its port, and its log."""
        log = self.directory / f"{len(list(self.directory.iterdir()))}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(
                (*NODAEMON, *"--pidfile= echoactor --interface 127.0.0.1 --access-log -".split(), *options),
                cwd=self.directory,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        pattern = re.compile(r"listening on IPv4Address\(.*port=(\d+)\)")
        found = self.wait_for(lambda: pattern.search(log.read_text()), "listening")
        return child, int(found[1]), log

    @contextlib.contextmanager
    def proxy(self, *servers: str) -> Iterator[None]:
        """HAProxy in front of servers; ``self.port`` is where it listens."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        lines = "\n".join(f"    server s{number} {server}" for number, server in enumerate(servers))
        configuration = self.directory / "haproxy.cfg"
        configuration.write_text(CONFIGURATION.format(port=self.port, servers=lines))
        child = subprocess.Popen((self.haproxy, "-db", "-f", str(configuration)), stderr=subprocess.DEVNULL)
        try:
            self.wait_for(self.is_reachable, "HAProxy listening")
            yield
        finally:
            child.kill()
            child.wait()

    def is_reachable(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True


def says(log: Path, words: str) -> bool:
    """Whether a log has these words."""
    return words in log.read_text()


def descriptors(child: subprocess.Popen[bytes]) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{child.pid}/fd"))


class PeerTests(HAProxyTestCase):
    def test_client_is_known(self) -> None:
        """With both versions of the header, the server knows the client's address; half-close works."""
        child, port, log = self.server("--port", "0", "--trusted-proxies", "127.0.0.1")
        for version in (
            "send-proxy",
            "send-proxy-v2",
            "send-proxy-v2-ssl",
            "send-proxy-v2 proxy-v2-options crc32c",
        ):
            with self.proxy(f"127.0.0.1:{port} {version}"):
                self.check_echo()
                with self.connect() as client:
                    host, number = client.getsockname()
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5), b"hello")
                peer = f"{host}:{number} "
                said = functools.partial(says, log, peer)
                self.wait_for(said, f"{peer}, by {version}")
        child.terminate()
        self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", log.read_text())

    def test_health_checks(self) -> None:
        """HAProxy's checks, with the header of its own connections, leave the server in use."""
        child, port, log = self.server("--port", "0", "--trusted-proxies", "127.0.0.1")
        with self.proxy(f"127.0.0.1:{port} check inter 50ms fall 1 check-send-proxy send-proxy-v2"):
            for _ in range(10):
                self.check_echo()
                time.sleep(0.05)  # HAProxy's own clock
        child.terminate()
        self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", log.read_text())

    def test_tls_inside(self) -> None:
        """TLS passes HAProxy unopened, after the header."""
        authority = Authority(self.directory)
        certificate = authority.make("x.pem", "localhost")
        _, port, log = self.server(
            "--tls-port", "0", "--certificate", certificate, "--trusted-proxies", "127.0.0.1"
        )
        context = ssl.create_default_context(cafile=str(authority.file))
        with self.proxy(f"127.0.0.1:{port} send-proxy-v2"), self.connect() as plain:
            number = plain.getsockname()[1]
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"hello")
                self.assertEqual(client.recv(5), b"hello")
            self.wait_for(lambda: f"127.0.0.1:{number} " in log.read_text(), "the client's address")

    def test_lists_go_by_the_client(self) -> None:
        """Who is denied is so behind the proxy, too, and the proxy is not."""
        _, port, log = self.server(
            "--port", "0", "--trusted-proxies", "127.0.0.1", "--deny", "127.0.0.2,127.0.0.1/32"
        )
        with self.proxy(f"127.0.0.1:{port} send-proxy source 127.0.0.1"):
            for source, answer in (("127.0.0.3", b"hello"), ("127.0.0.2", b"")):
                with socket.create_connection(("127.0.0.1", self.port), PATIENCE, (source, 0)) as client:
                    client.sendall(b"hello")
                    got = b""
                    with contextlib.suppress(ConnectionResetError):
                        got = client.recv(5)
                    self.assertEqual(got, answer)
        self.assertIn("its address is denied", log.read_text())


class RollingTests(HAProxyTestCase):
    def test_one_drains(self) -> None:
        """Of two instances one drains, ends and comes back: no client sees an error."""
        first = self.server("--port", "0", "--trusted-proxies", "127.0.0.1")
        second = self.server("--port", "0", "--trusted-proxies", "127.0.0.1")
        errors: list[str] = []
        served = [0] * 6
        is_over = threading.Event()

        def come_and_go(place: int) -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                data = f"{place}/{number};".encode() * 100
                try:
                    with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as client:
                        client.sendall(data)
                        client.shutdown(socket.SHUT_WR)
                        got = b""
                        while piece := client.recv(65536):
                            got += piece
                    if got != data:
                        errors.append(f"{place}/{number}: {len(got)} bytes of {len(data)}")
                except OSError as error:
                    errors.append(f"{place}/{number}: {error}")
                served[place] += 1

        servers = [f"127.0.0.1:{port} send-proxy-v2" for _, port, _ in (first, second)]
        threads = [threading.Thread(target=come_and_go, args=(place,)) for place in range(len(served))]
        with self.proxy(*servers):
            stays: Any = self.connect()  # a client that needs a while
            stays.sendall(b"one")
            self.assertEqual(stays.recv(3), b"one")
            # Whoever has a connection more serves it, as long as it is the only one.
            self.wait_for(lambda: descriptors(first[0]) != descriptors(second[0]), "its server")
            draining, _, draining_log = max(first, second, key=lambda server: descriptors(server[0]))
            for thread in threads:
                thread.start()
            try:
                self.wait_for(lambda: min(served) > 10, "the crowd")
                draining.send_signal(signal.SIGTERM)
                self.wait_for(lambda: "draining" in draining_log.read_text(), "draining")
                stays.sendall(b"two")
                self.assertEqual(stays.recv(3), b"two")
                before = min(served)
                self.wait_for(lambda: min(served) > before + 10, "the crowd during the drain")
                stays.shutdown(socket.SHUT_WR)
                self.assertEqual(stays.recv(1), b"")
                self.assertEqual(draining.wait(PATIENCE), 0)
                before = min(served)
                self.wait_for(lambda: min(served) > before + 10, "the crowd after the drain")
            finally:
                is_over.set()
                for thread in threads:
                    thread.join(PATIENCE)
        self.assertEqual(errors, [])
