"""Twisted's own tests of reactors on uvloop's transports, and what these do not ask."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import twisted.internet
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer

from .support import Client, Producer, Relay, make_certificate

try:
    import uvloop

    from echoactor.uvloopreactor import UvloopReactor

    MISSING = ""
except ImportError:
    MISSING = "uvloop is not installed"

PATIENCE = 20.0  # seconds until something that hangs fails its test
ROOT = Path(__file__).parent.parent
LARGE = bytes(range(256)) * 64 * 1024  # 16 MiB: more than the kernel takes

Case = TypeVar("Case", bound="ReactorTestCase")
Body = Coroutine[Any, Any, None]


def on_uvloop(test: Callable[[Case], Body]) -> Callable[[Case], None]:
    """Run a test on a reactor of its own: ``self.reactor``."""

    @wraps(test)
    def run(self: Case) -> None:
        self.run_here(test(self))

    return run


class ReactorTestCase(SynchronousTestCase):
    """Runs a new reactor in each test, whatever runs the tests."""

    def setUp(self) -> None:
        if MISSING:
            raise SkipTest(MISSING)

    def run_here(self, test: Body) -> None:
        loop = uvloop.new_event_loop()
        self.addCleanup(loop.close)
        self.reactor = reactor = UvloopReactor(loop)
        self.patch(twisted.internet, "reactor", reactor)  # TLS takes its clock from there
        outcome: list[Any] = []

        def start() -> None:
            running = Deferred.fromCoroutine(test)
            running.addBoth(outcome.append)
            running.addBoth(lambda _: reactor.stop())

        reactor.callWhenRunning(start)
        watchdog = reactor.callLater(PATIENCE, reactor.crash)
        reactor.run(installSignalHandlers=False)
        for error in outcome:
            if isinstance(error, Failure):
                error.raiseException()
        self.assertEqual(reactor.getDelayedCalls(), [watchdog], "it hangs, or a call is left")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what comes in the loop's own time."""
        while not condition():
            await deferLater(self.reactor, 0.001)

    async def connect(self, server: Protocol) -> socket.socket:
        """Connect to a server's protocol; nobody reads for the client's end."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(lambda: server), interface="127.0.0.1")
        peer = socket.socket()
        self.addCleanup(peer.close)
        peer.connect(("127.0.0.1", port.getHost().port))
        peer.setblocking(False)
        await self.until(lambda: server.connected)
        await port.stopListening()
        return peer

    async def connect_through(self, server: Protocol) -> tuple[Client, Relay]:
        """Connect a client to a server's protocol, through a relay that keeps what is on the wire."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(lambda: server), interface="127.0.0.1")
        relay = Relay(self.reactor, port.getHost().port)
        between = self.reactor.listenTCP(0, relay, interface="127.0.0.1")
        client = await self.client(between.getHost().port)
        await self.until(lambda: server.connected)
        await port.stopListening()
        await between.stopListening()
        return client, relay

    async def client(self, port: int) -> Client:
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port)
        client: Client = await connectProtocol(endpoint, Client())
        return client

    async def read(self, peer: socket.socket, size: int) -> bytes:
        """Read so many bytes from a socket, or until the end."""
        got = bytearray()
        while len(got) < size:
            try:
                data = peer.recv(size - len(got))
            except BlockingIOError:
                await deferLater(self.reactor, 0.001)
                continue
            if not data:
                break
            got += data
        return bytes(got)


class Server(Protocol):
    """Keeps what it gets, and why it ended."""

    transport: Any
    reason: Failure | None = None

    def __init__(self) -> None:
        self.got = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None, "lost twice"
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Server):
    """Goes on writing after the peer's end."""

    told = ""

    def readConnectionLost(self) -> None:
        self.told += "read "

    def writeConnectionLost(self) -> None:
        self.told += "write "


@implementer(IPullProducer)
class Pulled:
    """Writes a piece whenever it is asked."""

    def __init__(self, transport: Any, pieces: int) -> None:
        self.transport = transport
        self.pieces = pieces
        self.largest = 0

    def resumeProducing(self) -> None:
        if self.pieces:
            self.pieces -= 1
            self.transport.write(b"x" * 300_000)
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        self.pieces = 0


def run_child(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program on the reactor, with every warning an error."""
    if MISSING:
        raise SkipTest(MISSING)
    begin = "from echoactor import uvloopreactor\nuvloopreactor.install()\n"
    return run_python(*options, "-c", begin + textwrap.dedent(program))


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )


@cache
def twisted_suites() -> tuple[Any, Any]:
    """What came of Twisted's own tests on uvloop's reactor and on the epoll reactor."""
    if MISSING:
        raise SkipTest(MISSING)

    def run(reactor: str) -> Any:
        result = run_python("-W", "ignore", "-m", "tests.twisted_suite", reactor)
        return json.loads(result.stdout.splitlines()[-1])

    with ThreadPoolExecutor() as pool:
        mine, theirs = pool.map(run, ("uvloop", "epoll"))
    return mine, theirs


def everybody_may_run(program: str) -> bool:
    """Whether any user may run a program."""
    path = Path(program).resolve()
    return all(step.stat().st_mode & 1 for step in (path, *path.parents))


class TwistedsTests(SynchronousTestCase):
    """Twisted's tests of its own reactors."""

    def test_as_many(self) -> None:
        """As many tests run as on the epoll reactor, and none is skipped."""
        mine, theirs = twisted_suites()
        self.assertEqual(mine["ran"], theirs["ran"])
        self.assertGreater(mine["ran"], 280)
        self.assertEqual(mine["skipped"], {})

    def test_none_fails(self) -> None:
        """All pass; but that no other user may run root's own Python, by which two of them want to look."""
        mine, theirs = twisted_suites()
        failed = mine["failed"]
        expected: set[str] = set()
        if os.getuid() == 0 and not everybody_may_run(sys.executable):
            looks = {f"{kind}ProcessTestsBuilder_Tests.test_changeUID" for kind in ("", "PTY")}
            expected = looks & theirs["failed"].keys()
        self.assertEqual({name: text for name, text in failed.items() if name not in expected}, {})


class ReadingTests(ReactorTestCase):
    @on_uvloop
    async def test_before_anybody_reads(self) -> None:
        """What comes while the protocol has paused is kept, in order, the end too."""

        class Paused(Server):
            def connectionMade(self) -> None:
                self.transport.pauseProducing()

        server = Paused()
        peer = await self.connect(server)
        peer.send(b"early ")
        await deferLater(self.reactor, 0.02)
        peer.send(b"later")
        peer.shutdown(socket.SHUT_WR)
        await deferLater(self.reactor, 0.02)
        self.assertEqual((server.got, server.reason), (b"", None))
        server.transport.resumeProducing()
        await self.until(lambda: server.reason)
        self.assertEqual(server.got, b"early later")

    @on_uvloop
    async def test_resumed_twice(self) -> None:
        """Pausing and resuming more than once in a turn makes up no empty read."""
        reads: list[bytes] = []

        class Paused(Server):
            def connectionMade(self) -> None:
                self.transport.pauseProducing()

            def dataReceived(self, data: bytes) -> None:
                reads.append(data)

        server = Paused()
        peer = await self.connect(server)
        peer.send(b"early")
        await deferLater(self.reactor, 0.02)
        for _ in range(3):
            server.transport.resumeProducing()
            server.transport.pauseProducing()
        server.transport.resumeProducing()
        await self.until(lambda: reads)
        peer.send(b"more")
        await self.until(lambda: len(reads) > 1)
        self.assertEqual(reads, [b"early", b"more"])
        server.transport.abortConnection()
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_paused_within(self) -> None:
        """A protocol that pauses while it is given bytes gets no more until it resumes."""

        class Pauses(Server):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()

        server = Pauses()
        peer = await self.connect(server)
        peer.send(b"one")
        await self.until(lambda: server.got)
        peer.send(b"two")
        await deferLater(self.reactor, 0.02)
        self.assertEqual(server.got, b"one")
        server.transport.resumeProducing()
        await self.until(lambda: len(server.got) > 3)
        self.assertEqual(server.got, b"onetwo")
        peer.close()
        server.transport.resumeProducing()
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_nothing_after_abort(self) -> None:
        """Who has aborted is given nothing more, even if it resumes."""
        server = Server()
        peer = await self.connect(server)
        server.transport.pauseProducing()
        peer.send(b"hello")
        await deferLater(self.reactor, 0.02)
        server.transport.abortConnection()
        server.transport.resumeProducing()
        await self.until(lambda: server.reason)
        self.assertEqual(server.got, b"")

    @on_uvloop
    async def test_half_close(self) -> None:
        """After the peer's end it can be written to, and closed; what comes back is whole."""
        server = HalfCloseable()
        peer = await self.connect(server)
        peer.send(b"hello")
        peer.shutdown(socket.SHUT_WR)
        await self.until(lambda: server.told)
        server.transport.write(b"answer " + server.got)
        server.transport.loseConnection()
        self.assertEqual(await self.read(peer, 100), b"answer hello")
        await self.until(lambda: server.reason)
        self.assertEqual(server.told, "read ")

    @on_uvloop
    async def test_half_close_costs_nothing(self) -> None:
        """A connection whose peer has half-closed keeps nothing busy."""
        server = HalfCloseable()
        peer = await self.connect(server)
        peer.shutdown(socket.SHUT_WR)
        await self.until(lambda: server.told)
        before = os.times()
        await deferLater(self.reactor, 0.3)
        after = os.times()
        self.assertLess(after.user + after.system - before.user - before.system, 0.15)
        server.transport.abortConnection()
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_reset(self) -> None:
        """A peer's reset is a connection lost."""
        server = Server()
        peer = await self.connect(server)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await self.until(lambda: server.reason)
        assert server.reason is not None
        self.assertTrue(server.reason.check(ConnectionLost))

    @on_uvloop
    async def test_error(self) -> None:
        """An exception in dataReceived is logged once and ends its connection alone."""

        class Fails(Server):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        server, other = Fails(), Server()
        peer, neighbour = await self.connect(server), await self.connect(other)
        peer.send(b"x")
        await self.until(lambda: server.reason)
        assert server.reason is not None
        self.assertTrue(server.reason.check(ZeroDivisionError))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        neighbour.send(b"x")
        await self.until(lambda: other.got)
        other.transport.loseConnection()
        await self.until(lambda: other.reason)

    @on_uvloop
    async def test_error_at_the_end(self) -> None:
        """An exception in connectionLost or readConnectionLost is in Twisted's log, once."""

        class Fails(Server):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                super().connectionLost(reason)
                raise ZeroDivisionError

        @implementer(IHalfCloseableProtocol)
        class FailsEarlier(HalfCloseable):
            def readConnectionLost(self) -> None:
                raise ZeroDivisionError

        for server in (Fails(), FailsEarlier()):
            peer = await self.connect(server)
            peer.close()
            # What mypy cannot infer is the type of a lambda's default.
            await self.until(lambda server=server: server.reason)  # type: ignore[misc]
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1, server)


class WritingTests(ReactorTestCase):
    @on_uvloop
    async def test_before_it_is_ready(self) -> None:
        """What is written while uvloop still takes the socket over arrives, before what is written later."""

        class Greets(Server):
            def connectionMade(self) -> None:
                self.transport.write(b"one ")
                self.transport.writeSequence([b"two ", b"three "])

        server = Greets()
        peer = await self.connect(server)
        server.transport.write(b"four")
        server.transport.loseConnection()
        self.assertEqual(await self.read(peer, 100), b"one two three four")
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_greets_and_closes(self) -> None:
        """A connection that is written to and closed, or aborted, in connectionMade, ends well."""

        class Short(Server):
            def connectionMade(self) -> None:
                self.transport.write(b"bye")
                getattr(self.transport, self.ending)()

            def __init__(self, ending: str) -> None:
                super().__init__()
                self.ending = ending

        closed, aborted = Short("loseConnection"), Short("abortConnection")
        self.assertEqual(await self.read(await self.connect(closed), 10), b"bye")
        peer = await self.connect(aborted)
        with self.assertRaises(ConnectionResetError):
            await self.read(peer, 10)
        await self.until(lambda: closed.reason and aborted.reason)
        assert aborted.reason is not None
        self.assertTrue(aborted.reason.check(ConnectionAborted))

    @on_uvloop
    async def test_order(self) -> None:
        """Writes of all sizes and both kinds keep their order, also when the kernel takes no more."""
        server = Server()
        peer = await self.connect(server)
        expected = bytearray()
        for number in range(400):
            piece = bytes([number % 256]) * (1 + number * number % 70_001)
            expected += piece
            if number % 7:
                server.transport.write(piece)
            else:
                server.transport.writeSequence([piece[:10], piece[10:]])
        server.transport.loseConnection()
        self.assertEqual(await self.read(peer, len(expected) + 1), expected)
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_loses_nothing(self) -> None:
        """Closing delivers all that was written, though the kernel's buffer is full and the peer slow."""
        server = Server()
        peer = await self.connect(server)
        server.transport.write(LARGE)
        server.transport.loseConnection()
        await deferLater(self.reactor, 0.02)
        self.assertIsNone(server.reason)
        self.assertEqual(await self.read(peer, len(LARGE) + 1), LARGE)
        await self.until(lambda: server.reason)
        assert server.reason is not None
        self.assertTrue(server.reason.check(ConnectionDone))

    @on_uvloop
    async def test_abort_drops(self) -> None:
        """Aborting drops what is buffered, and resets."""
        server = Server()
        peer = await self.connect(server)
        server.transport.write(LARGE)
        server.transport.abortConnection()
        server.transport.write(b"after")
        await self.until(lambda: server.reason)
        await deferLater(self.reactor, 0.02)
        with self.assertRaises(ConnectionResetError):
            await self.read(peer, len(LARGE))

    @on_uvloop
    async def test_after_half_close(self) -> None:
        """What is written after our own half-close is ignored, and the other way stays open."""
        server = HalfCloseable()
        peer = await self.connect(server)
        server.transport.write(b"last")
        server.transport.loseWriteConnection()
        await self.until(lambda: server.told)
        server.transport.write(b"ignored")
        self.assertEqual(await self.read(peer, 100), b"last")
        peer.send(b"still read")
        await self.until(lambda: server.got)
        self.assertIsNone(server.reason)
        peer.close()
        await self.until(lambda: server.told == "write read ")
        server.transport.loseConnection()
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_after_the_end(self) -> None:
        """Whatever is asked of a transport after its end does nothing and leaves nothing with the reactor."""
        server = Server()
        (await self.connect(server)).close()
        transport = server.transport
        await self.until(lambda: server.reason)
        for _ in range(2):
            transport.write(b"x")
            transport.writeSequence([b"x"])
            transport.loseConnection()
            transport.loseWriteConnection()
            transport.abortConnection()
            transport.pauseProducing()
            transport.resumeProducing()
            producer = Producer()
            transport.registerProducer(producer, False)
            self.assertEqual(producer.told, ["stop"])
        await deferLater(self.reactor, 0.01)
        self.assertNotIn(transport, self.reactor.getReaders() + self.reactor.getWriters())

    @on_uvloop
    async def test_only_bytes(self) -> None:
        """Something that is not bytes is refused, as by Twisted's other transports."""
        server = Server()
        peer = await self.connect(server)
        await deferLater(self.reactor, 0.01)
        for wrong in ("text", None, bytearray(b"x")):
            self.assertRaises(TypeError, server.transport.write, wrong)
        server.transport.write(b"right")
        server.transport.loseConnection()
        self.assertEqual(await self.read(peer, 100), b"right")
        await self.until(lambda: server.reason)


class ProducerTests(ReactorTestCase):
    @on_uvloop
    async def test_push(self) -> None:
        """A push producer is paused when much waits, and resumed when all of it is sent."""
        server, producer = Server(), Producer()
        peer = await self.connect(server)
        server.transport.registerProducer(producer, True)
        server.transport.write(b"little")
        self.assertEqual(producer.told, [])
        server.transport.write(LARGE)
        self.assertEqual(producer.told, ["pause"])
        self.assertEqual(len(await self.read(peer, len(LARGE) + 6)), len(LARGE) + 6)
        await self.until(lambda: producer.told == ["pause", "resume"])
        server.transport.unregisterProducer()
        server.transport.loseConnection()
        await self.until(lambda: server.reason)
        self.assertEqual(producer.told, ["pause", "resume"])

    @on_uvloop
    async def test_bounded(self) -> None:
        """With a peer that does not read, a producer that obeys keeps less than its last piece in memory."""
        server = Server()
        peer = await self.connect(server)

        class Obeys(Producer):
            written = 0
            paused = False

            def resumeProducing(self) -> None:
                self.paused = False
                while not self.paused and self.written < len(LARGE):
                    self.written += 50_000
                    server.transport.write(bytes(50_000))

            def pauseProducing(self) -> None:
                self.paused = True

        producer = Obeys()
        server.transport.registerProducer(producer, True)
        producer.resumeProducing()
        await deferLater(self.reactor, 0.05)
        stalled = producer.written
        await deferLater(self.reactor, 0.05)
        self.assertEqual(producer.written, stalled)
        self.assertLess(stalled, len(LARGE))
        held = server.transport._uv.get_write_buffer_size() + server.transport._tempDataLen
        self.assertLessEqual(held, 150_000)
        await self.read(peer, len(LARGE))
        self.assertGreaterEqual(producer.written, len(LARGE))
        server.transport.abortConnection()
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_pull(self) -> None:
        """A pull producer is asked for a piece at a time until it is done."""
        server = Server()
        peer = await self.connect(server)
        server.transport.registerProducer(Pulled(server.transport, 30), False)
        self.assertEqual(len(await self.read(peer, 10_000_000)), 9_000_000)
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_stopped(self) -> None:
        """A producer is told to stop when the connection ends."""
        server, producer = Server(), Producer()
        peer = await self.connect(server)
        server.transport.registerProducer(producer, True)
        peer.close()
        await self.until(lambda: server.reason)
        self.assertEqual(producer.told, ["stop"])

    @on_uvloop
    async def test_fails(self) -> None:
        """A producer that raises when it is told to pause is logged by Twisted and its connection aborted."""
        server = Server()
        peer = await self.connect(server)

        class Fails(Producer):
            def pauseProducing(self) -> None:
                raise ZeroDivisionError

        server.transport.registerProducer(Fails(), True)
        server.transport.write(LARGE)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.until(lambda: server.reason)
        assert server.reason is not None
        self.assertTrue(server.reason.check(ConnectionAborted))
        peer.close()


class TLSTests(ReactorTestCase):
    """No clear text on the wire, and all of it at the other end."""

    def setUp(self) -> None:
        super().setUp()
        with TemporaryDirectory() as directory:
            pem = make_certificate(Path(directory)).read_bytes()
        self.server_options = PrivateCertificate.loadPEM(pem).options()
        self.client_options = optionsForClientTLS("localhost", Certificate.loadPEM(pem))

    async def check(self, start: Callable[[Any], None]) -> None:
        """Start TLS on both sides, talk, and look at the wire."""
        server = Server()
        client, relay = await self.connect_through(server)
        server.transport.write(b"clear")
        await client.read(5)
        start(server.transport)
        server.transport.write(b"secret one, ")
        server.transport.writeSequence([b"secret two, ", b"secret three"])
        client.transport.startTLS(self.client_options)
        client.transport.write(b"secret four")
        await client.read(len(b"clearsecret one, secret two, secret three"))
        await self.until(lambda: server.got == b"secret four")
        server.transport.write(b"secret five")
        await client.read(len(b"clearsecret one, secret two, secret threesecret five"))
        self.assertIn(b"clear", relay.wire)
        self.assertNotIn(b"secret", relay.wire)
        client.transport.loseConnection()
        await client.closed
        await self.until(lambda: server.reason)

    @on_uvloop
    async def test_start(self) -> None:
        """After startTLS, on either side, no written byte is on the wire in clear text."""
        await self.check(lambda transport: transport.startTLS(self.server_options))

    @on_uvloop
    async def test_start_with_a_producer(self) -> None:
        """Nor if a producer is registered, which startTLS takes from the transport and gives back."""

        def start(transport: Any) -> None:
            transport.registerProducer(Producer(), True)
            transport.startTLS(self.server_options)
            self.assertIsNone(transport._write_now)
            transport.unregisterProducer()
            self.assertIsNone(transport._write_now)

        await self.check(start)

    @on_uvloop
    async def test_listen(self) -> None:
        """A port of listenSSL echoes much, and nothing of it is on the wire in clear text."""

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)  # type: ignore[union-attr]  # it is connected

        port = self.reactor.listenSSL(
            0, Factory.forProtocol(Echo), self.server_options, interface="127.0.0.1"
        )
        relay = Relay(self.reactor, port.getHost().port)
        between = self.reactor.listenTCP(0, relay, interface="127.0.0.1")
        client = await self.client(between.getHost().port)
        client.transport.startTLS(self.client_options)
        sent = b"secret, " * 50_000
        client.transport.write(sent)
        self.assertEqual(await client.read(len(sent)), sent)
        self.assertNotIn(b"secret", relay.wire)
        client.transport.loseConnection()
        await client.closed
        await port.stopListening()
        await between.stopListening()


class ConnectingTests(ReactorTestCase):
    @on_uvloop
    async def test_refused(self) -> None:
        """A refused connection is Twisted's error."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with self.assertRaises(ConnectionRefusedError):
                await self.client(unused.getsockname()[1])

    @on_uvloop
    async def test_timeout(self) -> None:
        """So is one that takes too long: a port whose queue is full."""
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for waiting in (first, second):
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", full.getsockname()[1], timeout=0.1)
            with self.assertRaises(TimeoutError):
                await connectProtocol(endpoint, Client())

    @on_uvloop
    async def test_ipv6(self) -> None:
        """IPv6 works at both ends."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            raise SkipTest("this machine has no IPv6") from None
        server = Server()
        port = self.reactor.listenTCP(0, Factory.forProtocol(lambda: server), interface="::1")
        client = await connectProtocol(TCP6ClientEndpoint(self.reactor, "::1", port.getHost().port), Client())
        client.transport.write(b"hello")
        await self.until(lambda: server.got)
        self.assertEqual(server.transport.getPeer().host, "::1")
        client.transport.loseConnection()
        await client.closed
        await port.stopListening()

    @on_uvloop
    async def test_adopted_port(self) -> None:
        """A port that somebody else has opened is served by uvloop's transports."""
        server = Server()
        with socket.create_server(("127.0.0.1", 0)) as opened:
            factory = Factory.forProtocol(lambda: server)
            port = self.reactor.adoptStreamPort(opened.fileno(), socket.AF_INET, factory)
        client = await self.client(port.getHost().port)
        client.transport.write(b"hello")
        await self.until(lambda: server.got == b"hello")
        self.assertTrue(server.transport._is_handed_over)
        client.transport.abortConnection()
        await client.closed
        await port.stopListening()

    @on_uvloop
    async def test_adopted_connection(self) -> None:
        """So is a connection that somebody else has accepted."""
        server = Server()
        with socket.create_server(("127.0.0.1", 0)) as opened:
            client = await self.client(opened.getsockname()[1])
            accepted, _ = opened.accept()
        with accepted:
            self.reactor.adoptStreamConnection(
                accepted.fileno(), socket.AF_INET, Factory.forProtocol(lambda: server)
            )
        client.transport.write(b"hello")
        await self.until(lambda: server.got == b"hello")
        server.transport.write(b"answer")
        await client.read(6)
        client.transport.loseConnection()
        await client.closed

    @on_uvloop
    async def test_listed(self) -> None:
        """Who reads and writes is listed, and removeAll removes it: trial finds what a test has left."""
        server = Server()
        peer = await self.connect(server)
        self.assertIn(server.transport, self.reactor.getReaders())
        server.transport.write(LARGE)
        self.assertIn(server.transport, self.reactor.getWriters())
        self.assertIn(server.transport, self.reactor.removeAll())
        self.assertNotIn(server.transport, self.reactor.getReaders() + self.reactor.getWriters())
        server.transport.connectionLost(Failure(ConnectionLost()))
        peer.close()

    @on_uvloop
    async def test_freed(self) -> None:
        """A connection that has ended is freed without the garbage collector."""
        references: list[Any] = []

        class Echo(Server):
            def connectionMade(self) -> None:
                references.extend((weakref.ref(self), weakref.ref(self.transport)))

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)

        port = self.reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
        peer = socket.create_connection(("127.0.0.1", port.getHost().port))
        peer.setblocking(False)
        peer.send(b"hello")
        self.assertEqual(await self.read(peer, 5), b"hello")
        gc.collect()
        gc.disable()
        try:
            peer.close()
            await self.until(lambda: [reference() for reference in references] == [None, None])
        finally:
            gc.enable()
        await port.stopListening()


class LogTests(ReactorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.prefixes: dict[str, str] = {}

        def observe(event: Any) -> None:
            [line] = event["message"] or [""]
            self.prefixes[line] = event["system"].partition(",")[0]

        log.addObserver(observe)
        self.addCleanup(log.removeObserver, observe)

    @on_uvloop
    async def test_prefix(self) -> None:
        """Log lines have a connection's prefix while its bytes are handled, and not in calls it scheduled."""
        reactor = self.reactor

        class Logs(Server):
            def connectionMade(self) -> None:
                self.transport.pauseProducing()

            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                log.msg(data.decode())
                reactor.callLater(0, log.msg, "call after " + data.decode())
                reactor.callFromThread(log.msg, "thread after " + data.decode())

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                super().connectionLost(reason)
                log.msg("lost")

        server = Logs()
        peer = await self.connect(server)
        log.msg("nobody")
        peer.send(b"early")
        await deferLater(self.reactor, 0.02)
        server.transport.resumeProducing()
        await self.until(lambda: server.got)
        peer.send(b"later")
        await self.until(lambda: len(server.got) > 5)
        peer.close()
        await self.until(lambda: "lost" in self.prefixes)
        self.assertLessEqual(
            {
                **dict.fromkeys(("early", "later", "lost"), "Logs"),
                **dict.fromkeys(("nobody", "call after early", "call after later"), "-"),
                **dict.fromkeys(("thread after early", "thread after later"), "-"),
            }.items(),
            self.prefixes.items(),
        )


class RestOfTheReactorTests(ReactorTestCase):
    @on_uvloop
    async def test_threads(self) -> None:
        """Threads get work done, and what they call comes back into the reactor's."""
        self.assertEqual(await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), sum, [1, 2]), 3)

    def test_loop_of_its_own(self) -> None:
        """A reactor is of a loop of uvloop's."""
        reactor = UvloopReactor()
        self.assertIsInstance(reactor._asyncioEventloop, uvloop.Loop)
        for selectable in reactor.removeAll():
            selectable.connectionLost(Failure(ConnectionDone()))
        reactor._asyncioEventloop.close()

    def test_quiet_end(self) -> None:
        """A program that stops with open connections and unsent bytes ends without a warning."""
        result = run_child(
            """
            import socket
            from twisted.internet import reactor, protocol

            class Writes(protocol.Protocol):
                def connectionMade(self):
                    self.transport.write(bytes(10_000_000))

            port = reactor.listenTCP(0, protocol.Factory.forProtocol(Writes), interface="127.0.0.1")
            address = ("127.0.0.1", port.getHost().port)
            reactor.connectTCP(*address, protocol.ClientFactory.forProtocol(protocol.Protocol))
            with socket.create_connection(address), socket.socket() as late:
                reactor.callLater(0.2, late.connect, address)
                reactor.callLater(0.2, reactor.callLater, 0, reactor.stop)
                reactor.run()
            print("over")
            """,
            *("-X", "dev", "-W", "error"),
        )
        self.assertEqual((result.stdout, result.returncode), ("over\n", 0))

    def test_processes(self) -> None:
        """Children that end while the loop waits are noticed at once, also those of before it ran."""
        result = run_child(
            """
            from twisted.internet import reactor, protocol
            import sys

            class Child(protocol.ProcessProtocol):
                left = 3
                def processEnded(self, reason):
                    print(reason.value.exitCode)
                    Child.left -= 1
                    if not self.left:
                        reactor.stop()

            def spawn(status):
                program = f"import sys; sys.exit({status})"
                reactor.spawnProcess(Child(), sys.executable, [sys.executable, "-c", program], env=None)

            spawn(1)
            reactor.callWhenRunning(spawn, 1)
            reactor.callLater(0.5, spawn, 1)
            hangs = reactor.callLater(15, reactor.stop)
            reactor.run()
            print(hangs.active())
            """
        )
        self.assertEqual(result.stdout, "1\n1\n1\nTrue\n")

    def test_signals(self) -> None:
        """SIGINT and SIGTERM stop the reactor while it waits."""
        for name in ("SIGINT", "SIGTERM"):
            result = run_child(
                f"""
                import os, signal, threading
                from twisted.internet import reactor
                reactor.addSystemEventTrigger("before", "shutdown", print, "stops")
                reactor.callWhenRunning(
                    threading.Timer(0.2, os.kill, (os.getpid(), signal.{name})).start)
                hangs = reactor.callLater(15, reactor.stop)
                reactor.run()
                print(hangs.active())
                """
            )
            self.assertEqual(result.stdout, "stops\nTrue\n", name)


class InstallingTests(SynchronousTestCase):
    """How it is chosen."""

    def command(self, script: str, *arguments: str, without: bool = False) -> Any:
        """Run one of Twisted's commands, perhaps as if uvloop was not installed."""
        hide = "sys.modules['uvloop'] = None; " if without else ""
        run = {
            "twistd": "from twisted.scripts.twistd import run; run()",
            "trial": "from twisted.scripts.trial import run; run()",
            "twist": "from twisted.application.twist._twist import Twist; Twist.main()",
        }[script]
        return run_python("-c", f"import sys; {hide}sys.argv[0] = {script!r}; {run}", *arguments)

    def test_not_installed(self) -> None:
        """Without uvloop, choosing it ends twistd, twist and trial with one line and status 1."""
        for script, arguments in (
            ("twistd", ("-n", "--pidfile=", "--reactor=uvloop", "echoactor")),
            ("twist", ("--reactor=uvloop", "echoactor")),
            ("trial", ("--reactor=uvloop", "tests.test_echo")),
        ):
            result = self.command(script, *arguments, without=True)
            line = "--reactor=uvloop needs the package uvloop: pip install 'echoactor[uvloop]'\n"
            self.assertEqual((result.stdout, result.returncode), (line, 1), script)

    def test_listed(self) -> None:
        """--help-reactors lists it."""
        if MISSING:
            raise SkipTest(MISSING)
        result = self.command("twistd", "--help-reactors")
        self.assertRegex(result.stdout, r"(?m)^ +uvloop\s+uvloop's event loop and its own TCP transports")
        self.assertEqual(result.returncode, 0)
