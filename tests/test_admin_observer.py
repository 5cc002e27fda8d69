"""The observer of a system, over real sockets."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import stat
import time
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from echoactor import EchoFactory, ServerOptions
from echoactor.admin import Observer
from echoactor.admin.site import CONNECTIONS
from echoactor.errors import CertificateError, ListenError
from echoactor.figures import Figures

from .support import Authority, RealTestCase, reactor

TOKEN = "0123456789abcdef"


class ObserverTestCase(RealTestCase):
    def observe(self, endpoint: int | str = 0, **options: Any) -> Observer:
        """An observer that listens until the test is over."""
        observer = Observer(self.system, endpoint, **options)
        observer.setServiceParent(self.system)
        self.system.startService()
        self.addCleanup(self.system.stopService)
        return observer

    async def get(self, observer: Observer, path: str = "/healthz", **more: Any) -> tuple[int, str]:
        """Status and body of an answer."""
        answer: tuple[int, str] = await self.in_thread(self._get, observer.address, path, more)
        return answer

    def _get(self, address: Any, path: str, more: dict[str, Any]) -> tuple[int, str]:
        context = more.pop("context", None)
        if hasattr(address, "port"):
            kind: Any = http.client.HTTPConnection
            if context is not None:
                kind = http.client.HTTPSConnection
            client = kind("127.0.0.1", address.port, timeout=10, **({"context": context} if context else {}))
        else:
            client = http.client.HTTPConnection("localhost", timeout=10)
            client.sock = socket.socket(socket.AF_UNIX)
            client.sock.connect(address.name)
        try:
            client.request("GET", path, headers=more)
            with client.getresponse() as answer:
                return answer.status, answer.read().decode()
        finally:
            client.close()


class ServingTests(ObserverTestCase):
    async def test_any_system(self) -> None:
        """One line adds it to any system; it listens on the loopback interface alone."""
        observer = self.observe()
        self.assertEqual(observer.address.host, "127.0.0.1")
        for path in ("/healthz", "/readyz"):
            self.assertEqual(await self.get(observer, path), (200, "ok\n"))
        status, body = await self.get(observer, "/metrics")
        self.assertEqual(status, 200)
        self.assertIn('echoactor_actors{worker="0"}', body)
        self.assertEqual((await self.get(observer, "/"))[0], 200)

    async def test_taken_away(self) -> None:
        """An observer that is taken out of a system leaves nothing there, and may be put back."""
        before = dict(self.system.events)
        observer = self.observe()
        for _ in range(2):
            self.assertEqual(await self.get(observer), (200, "ok\n"))
            self.assertNotEqual(self.system.events, before)
            await observer.disownServiceParent()
            self.assertEqual((dict(self.system.events), self.system.samplers), (before, ()))
            self.assertIsNone(observer.address)
            observer.setServiceParent(self.system)

    async def test_stop(self) -> None:
        """When it stops, all are disconnected: who is served, and who waits in the port's queue."""
        observer = self.observe()
        stream, late = (socket.socket() for _ in range(2))
        for client in (stream, late):
            self.addCleanup(client.close)
            client.settimeout(10)
        place = ("127.0.0.1", observer.address.port)
        stream.connect(place)
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not observer._site.streams:
            await deferLater(reactor, 0.01, lambda: None)
        late.connect(place)
        await observer.disownServiceParent()
        self.assertEqual(observer._site.streams, set())
        self.assertEqual(observer._site.gate.arrivals, 2)
        await deferLater(reactor, 0, lambda: None)
        self.assertEqual(observer._site.gate.count, 0)
        with self.assertRaises(ConnectionResetError):
            late.recv(1)

    async def test_other_processes(self) -> None:
        """Figures of further processes stand beside its own, each with its worker."""
        figures = Figures(self.system)
        self.addCleanup(figures.close)
        observer = self.observe(others=lambda: deferLater(reactor, 0.01, lambda: {"7": figures.snapshot()}))
        status, body = await self.get(observer, "/metrics")
        self.assertEqual(status, 200)
        for worker in ("0", "7"):
            self.assertIn(f'echoactor_actors{{worker="{worker}"}}', body)

    async def test_other_hosts(self) -> None:
        """Requests for an unknown host are refused, on every path; a name that was given is known."""
        observer = self.observe(hosts=["echo.example"])
        for path in ("/", "/metrics", "/healthz", "/events", "/nowhere"):
            self.assertEqual((await self.get(observer, path, Host="evil.example"))[0], 421)
        self.assertEqual((await self.get(observer, Host="echo.example:9090"))[0], 200)

    async def test_token(self) -> None:
        """With a token, everything but health wants it."""
        file = self.directory / "token"
        file.write_text(TOKEN)
        observer = self.observe("tcp:0:interface=0.0.0.0", token_file=str(file))
        self.assertEqual((await self.get(observer, "/readyz"))[0], 200)
        for path in ("/", "/metrics", "/events", "/page.js", "/nowhere"):
            self.assertEqual((await self.get(observer, path))[0], 401, path)
            self.assertEqual((await self.get(observer, path, Authorization="Bearer wrong"))[0], 401, path)
        self.assertEqual((await self.get(observer, "/metrics", Authorization=f"Bearer {TOKEN}"))[0], 200)
        stream = ensureDeferred(self.get(observer, "/events", Authorization=f"Bearer {TOKEN}"))
        while not observer._site.streams:
            await deferLater(reactor, 0.01, lambda: None)
        file.write_text(TOKEN[::-1])
        observer.reload()
        # Who watches has to bring the new one.
        await self.assertFailure(stream, ConnectionResetError, http.client.HTTPException)
        self.assertEqual((await self.get(observer, "/metrics", Authorization=f"Bearer {TOKEN}"))[0], 401)

    async def test_unix(self) -> None:
        """A UNIX socket, which is its owner's alone; the file of one that died is no hindrance."""
        path = str(self.directory / "admin")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        observer = self.observe(f"unix:{path}")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(await self.get(observer), (200, "ok\n"))

    async def test_certificates(self) -> None:
        """With client_ca, only clients with a certificate get in; a reload changes the server's own."""
        authority = Authority(self.directory)
        certificate = authority.make("server.pem", "localhost")
        observer = self.observe(
            "tcp:0:interface=0.0.0.0", certificate=certificate, client_ca=str(authority.file)
        )
        context = ssl.create_default_context(cafile=str(authority.file))
        context.check_hostname = False
        try:
            await self.get(observer, context=context)
        except OSError:
            pass
        else:
            self.fail("a client without a certificate got an answer")
        context.load_cert_chain(authority.make("client.pem", "me"))
        self.assertEqual(await self.get(observer, context=context), (200, "ok\n"))
        other = Authority(self.directory, "other")
        other.make("server.pem", "localhost")
        observer.reload()
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.get(observer, context=context)
        context.load_verify_locations(other.file)
        self.assertEqual(await self.get(observer, context=context), (200, "ok\n"))

    async def test_drain(self) -> None:
        """While the server drains, it is alive and not ready, and tells so; then it is gone."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"), EchoFactory(self.system))
        observer = self.observe()
        client = await self.connect(self.client_of(server))
        client.transport.write(b"hello")
        await client.read(5)
        self.assertEqual(await self.get(observer, "/readyz"), (200, "ok\n"))
        stopped = self.system.stopService()
        self.assertEqual(await self.get(observer, "/readyz"), (503, "draining\n"))
        self.assertEqual(await self.get(observer, "/healthz"), (200, "ok\n"))
        client.transport.loseConnection()
        await stopped
        self.assertIsNone(observer.address)

    async def test_a_thousand_stalled_clients(self) -> None:
        """A thousand clients that stall keep neither a probe nor an echo from its answer."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"), EchoFactory(self.system))
        observer = self.observe()
        stream = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
        clients: list[socket.socket] = []
        try:
            for number in range(1000):
                client = socket.create_connection(("127.0.0.1", observer.address.port), timeout=10)
                clients.append(client)
                try:
                    client.sendall((b"", b"GET / HTTP/1.1\r\nX", stream, stream)[number % 4])
                except OSError:
                    pass  # its place was taken already
                # The port's queue takes 50. Whoever comes to a full one is heard a second later.
                while len(clients) - observer._site.gate.arrivals > 40:
                    await deferLater(reactor, 0)
            start = time.monotonic()
            self.assertEqual(await self.get(observer), (200, "ok\n"))
            self.assertLess(time.monotonic() - start, 5)
            echo = await self.connect(self.client_of(server))
            echo.transport.write(b"hello")
            self.assertEqual(await echo.read(5), b"hello")
            self.assertLessEqual(len(observer._site.channels), CONNECTIONS)
            echo.transport.loseConnection()
        finally:
            for client in clients:
                client.close()


class RefusalTests(ObserverTestCase):
    def why(self, *args: Any, **options: Any) -> str:
        """Why such an observer cannot be."""
        try:
            Observer(self.system, *args, **options)
        except (ValueError, CertificateError) as error:
            return str(error)
        return self.fail("it can be")

    def test_public(self) -> None:
        """What others can reach needs a token or clients' certificates; one of its own is neither."""
        for endpoint in ("tcp:0", "tcp:0:interface=0.0.0.0", r"tcp6:0:interface=\:\:"):
            self.assertIn("`token_file` is needed, or `client_ca`", self.why(endpoint))
        certificate = Authority(self.directory).make("server.pem", "localhost")
        self.assertIn("`token_file` is needed", self.why("tcp:0", certificate=certificate))

    def test_bad_values(self) -> None:
        """Each wrong value is named, and an observer that cannot be leaves nothing behind."""
        before = dict(self.system.events)
        self.assertRegex(self.why(65536), "^endpoint: 65536 is not a number from 0 to 65535$")
        for endpoint in ("tcp:x:interface=127.0.0.1", "", "-1", "127.0.0.1:9090", "localhost:9090"):
            self.assertRegex(self.why(endpoint), f"^endpoint: '{endpoint}' cannot be used")
        self.assertRegex(self.why(0, token_file="/nowhere"), "^token_file: '/nowhere': No such file")
        self.assertRegex(self.why(0, client_ca="ca.pem"), "^client_ca: 'ca.pem' needs `certificate`")
        self.assertRegex(self.why(0, certificate="/nowhere"), "^certificate: '/nowhere': No such file")
        self.assertEqual(dict(self.system.events), before)

    def test_taken(self) -> None:
        """A port that is taken is an error that names it, and nothing is left behind."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            observer = Observer(self.system, taken.getsockname()[1])
            error = self.assertRaises(ListenError, observer.startService)
        self.assertIn("cannot listen on admin, tcp:", str(error))
        self.assertIsNone(observer.address)
