"""One descriptor in the place of many means the same as many."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from zope.interface import providedBy

from echoactor import ActorFactory, ActorProtocol, EndOfInput, ServerOptions, Shutdown
from echoactor.events import ConnectionClosed
from echoactor.poller import BATCH, Poller, poller_for
from echoactor.proxy_protocol import ProxyProtocolFactory

from .support import ActorTestCase, ConnectionTestCase, RealTestCase, SocketClock, make_certificate, reactor

ROOT = Path(__file__).parent.parent


class Keeps(ActorProtocol):
    """Keeps what it receives."""

    def connectionMade(self) -> None:
        self.got: list[object] = []

    def receive(self, message: Any) -> None:
        self.got.append(message)


def let_go(poller: Poller) -> None:
    """Let nothing of it be left open until garbage is collected, in another test."""
    poller.connectionLost(Failure(ConnectionLost()))
    poller.close()


class OneTests(ConnectionTestCase):
    """One connection, polled by the test itself."""

    server: Any

    def setUp(self) -> None:
        super().setUp()
        if not hasattr(select, "epoll"):
            self.skipTest("there is no epoll")

    def connect(self, protocol: Any = Keeps, transport_class: Any = None) -> socket.socket:
        factory_of: Callable[[Any], Poller | None] = Poller
        with patch("echoactor.protocol.poller_for", factory_of):
            if transport_class is None:
                client = super().connect(protocol)
            else:
                client = super().connect(protocol, transport_class)
        self.addCleanup(let_go, self.server.factory.poller)
        return client

    def readers(self) -> list[str]:
        return sorted(type(reader).__name__ for reader in self.reactor.readers)

    def test_in_order(self) -> None:
        """Bytes arrive, in order; the reactor watches nothing but the poller."""
        client = self.connect()
        self.assertEqual(self.readers(), ["Poller"])
        for piece in (b"one", b"two"):
            client.send(piece)
            self.poll(1)
        self.assertEqual(self.server.got, [b"one", b"two"])

    def test_end_with_data(self) -> None:
        """Bytes and the peer's end in one segment arrive as bytes, then the end."""
        client = self.connect()
        client.send(b"last")
        client.shutdown(socket.SHUT_WR)
        self.poll()
        self.assertEqual(self.server.got, [b"last", EndOfInput()])

    def test_end(self) -> None:
        """So does the end alone, after which nothing is watched, and no descriptor of epoll's is left."""
        client = self.connect()
        client.close()
        self.poll()
        self.assertEqual(self.server.got, [EndOfInput()])
        self.assertEqual(self.readers(), [])
        self.assertEqual(self.server.factory.poller.fileno(), -1)

    def test_half_open(self) -> None:
        """A connection that stays open after the peer's end is not read: its end would come for ever."""

        class Stays(Keeps):
            allow_half_open = True

        client = self.connect(Stays)
        client.shutdown(socket.SHUT_WR)
        self.poll(10)
        self.assertEqual(self.server.got, [EndOfInput()])
        self.assertEqual(self.readers(), [])
        self.server.transport.write(b"still")
        self.assertEqual(client.recv(10), b"still")

    def test_reset(self) -> None:
        """A reset is a connection lost, after the bytes before it."""
        reasons: list[object] = []
        self.system.events.subscribe(ConnectionClosed, lambda event: reasons.append(event.reason))
        client = self.connect()
        client.send(b"last")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self.poll()
        self.assertEqual(self.server.got, [b"last"])
        [reason] = reasons
        assert isinstance(reason, Shutdown)
        self.assertIn("lost", str(reason.detail))

    def test_pause_within(self) -> None:
        """Who pauses while handling bytes gets no more until it resumes, and then all, by the same epoll."""

        class Pauses(Keeps):
            def receive(self, message: Any) -> None:
                super().receive(message)
                self.transport.pauseProducing()

        client = self.connect(Pauses)
        number = self.server.factory.poller.fileno()
        client.send(b"one")
        self.poll()
        client.send(b"two")
        self.poll()
        self.assertEqual((self.server.got, self.readers()), ([b"one"], []))
        self.server.transport.resumeProducing()
        self.poll()
        self.assertEqual(self.server.got, [b"one", b"two"])
        self.assertEqual(self.server.factory.poller.fileno(), number)

    def test_abort(self) -> None:
        """After abortConnection nothing arrives, though somebody resumes; until the next turn it is open."""
        client = self.connect()
        client.send(b"late")
        for act in ("pauseProducing", "abortConnection", "resumeProducing"):
            getattr(self.server.transport, act)()
        self.reactor.poll()
        self.assertEqual(self.server.got, [])
        self.settle()
        with self.assertRaises(ConnectionResetError):
            client.recv(1)

    def test_pause_from_below(self) -> None:
        """Whoever stops the transport itself, as a wrapper of Twisted's may, stops the reading."""
        client = self.connect()
        self.wire.pauseProducing()
        client.send(b"one")
        self.poll()
        self.assertEqual((self.server.got, self.readers()), ([], []))
        self.wire.resumeProducing()
        self.wire.resumeProducing()
        self.poll()
        self.assertEqual((self.server.got, self.readers()), ([b"one"], ["Poller"]))

    def test_kept_by_another(self) -> None:
        """A socket that a child of this process keeps is not heard of again after its end here."""
        client = self.connect()
        kept = os.dup(self.wire.fileno())
        self.addCleanup(os.close, kept)
        poller = self.server.factory.poller
        other = Plain(poller, lambda data: None)
        self.addCleanup(other.close)
        poller.add(other)
        self.wire.connectionLost(Failure(ConnectionLost()))
        client.send(b"nobody's")
        with select.epoll.fromfd(os.dup(poller.fileno())) as epoll:
            self.assertEqual(epoll.poll(0), [])
        poller.remove(other.fileno())

    def test_the_reactor(self) -> None:
        """Its transport's reactor is the reactor for all else: what it provides, other readers, writers."""
        self.connect()
        reactor, another = self.wire.reactor, object()
        reactor.addReader(another)
        self.assertIn(another, self.reactor.readers)
        reactor.removeReader(another)
        self.assertNotIn(another, self.reactor.readers)
        self.assertEqual(reactor.seconds(), self.reactor.seconds())
        self.assertEqual(list(providedBy(reactor)), list(providedBy(self.reactor)))
        self.wire.startWriting()
        self.assertIn(self.wire, self.reactor.writers)

    def test_after_the_end(self) -> None:
        """A transport that is closed or closing is not read for: its number may be another's."""
        client = self.connect()
        poller = self.server.factory.poller
        self.wire.loseConnection()
        self.assertEqual(self.readers(), [])
        poller.take(self.wire)
        self.assertEqual(self.readers(), [])
        self.poll()
        poller.take(self.wire)
        self.assertEqual((self.readers(), client.recv(1)), ([], b""))

    def test_no_descriptor(self) -> None:
        """Where no descriptor is left for epoll, the reactor reads as ever."""
        with patch.object(select, "epoll", side_effect=OSError(24, "Too many open files")):
            client = self.connect()
        client.send(b"hello")
        self.poll()
        self.assertEqual(self.server.got, [b"hello"])
        self.assertEqual(self.readers(), ["Server"])


class Plain:
    """A transport as the poller knows it, on a real socket."""

    def __init__(self, poller: Poller, received: Callable[[bytes], object]) -> None:
        self.poller = poller
        self.peer, self.socket = socket.socketpair()
        self.socket.setblocking(False)
        self.protocol = self
        self.dataReceived = received
        self.reasons: list[Failure] = []
        self.fails = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "plain"

    def connectionLost(self, reason: Failure) -> None:
        self.reasons.append(reason)
        self.poller.remove(self.fileno())
        self.close()
        if self.fails:
            raise LookupError

    def close(self) -> None:
        self.peer.close()
        self.socket.close()


class ManyTests(ActorTestCase):
    """Many connections, and a reactor that is a list."""

    def setUp(self) -> None:
        if not hasattr(select, "epoll"):
            self.skipTest("there is no epoll")
        self.reactor = SocketClock()
        self.poller = Poller(self.reactor)
        self.addCleanup(self.poller.close)  # after those of the transports
        self.got: list[bytes] = []

    def add(self, received: Callable[[bytes], object] | None = None) -> Plain:
        transport = Plain(self.poller, received or self.got.append)
        self.addCleanup(transport.close)
        self.addCleanup(self.poller.remove, transport.fileno())
        self.poller.add(transport)
        return transport

    def test_error(self) -> None:
        """An exception ends its connection only, and is logged once, even if its end raises another."""

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        broken, other = self.add(fail), self.add()
        broken.fails = True
        for transport in (broken, other):
            transport.peer.send(b"x")
        self.poller.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        [reason] = broken.reasons
        self.assertTrue(reason.check(ZeroDivisionError))
        self.assertEqual((other.reasons, self.got), ([], [b"x"]))

    def test_closed_by_another(self) -> None:
        """A connection that another one's handler closes in the same batch is not read from."""

        def close(data: bytes) -> None:
            self.got.append(data)
            for transport in pair:
                if transport.dataReceived is close:
                    self.poller.remove(transport.fileno())

        pair = [self.add(close), self.add(close)]
        for transport in pair:
            transport.peer.send(b"x")
        self.poller.doRead()
        self.assertEqual(self.got, [b"x"])

    def test_number_used_again(self) -> None:
        """A connection that gets the number of one that ended in the same batch keeps its place."""
        later: list[Plain] = []

        def replace(data: bytes) -> None:
            number = first.fileno()
            self.poller.remove(number)
            first.close()
            later.append(self.add())
            self.assertIn(number, (later[0].fileno(), later[0].peer.fileno()))
            raise ZeroDivisionError

        first = self.add(replace)
        first.peer.send(b"x")
        self.poller.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        later[0].peer.send(b"y")
        self.poller.doRead()
        self.assertEqual((self.got, later[0].reasons), ([b"y"], []))

    def test_the_last_and_another(self) -> None:
        """The last connection's end, with a new one in the same call, keeps the descriptor."""

        def replace(data: bytes) -> None:
            self.poller.remove(first.fileno())
            self.poller.close()
            self.add()

        first = self.add(replace)
        before = self.poller.fileno()
        first.peer.send(b"x")
        self.poller.doRead()
        self.assertEqual(self.poller.fileno(), before)
        self.assertEqual(self.reactor.readers, {self.poller})

    def test_closed(self) -> None:
        """It holds no descriptor when the last connection has gone, in a batch or not, and begins anew."""

        def end(data: bytes) -> None:
            self.poller.remove(first.fileno())
            self.poller.close()

        first = self.add(end)
        first.peer.send(b"x")
        self.poller.doRead()
        self.assertEqual((self.poller.fileno(), self.reactor.readers), (-1, set()))
        second = self.add()
        second.peer.send(b"again")
        self.poller.doRead()
        self.assertEqual(self.got, [b"again"])
        self.poller.remove(second.fileno())
        self.poller.close()
        self.assertEqual(self.poller.fileno(), -1)

    def test_batch(self) -> None:
        """More sockets than a batch has are read over two turns, none of them twice before all."""
        many = [self.add(lambda data: self.got.append(data)) for _ in range(BATCH + 20)]
        for number, transport in enumerate(many):
            transport.peer.send(b"%d" % number)
        self.poller.doRead()
        self.assertEqual(len(self.got), BATCH)
        self.poller.doRead()
        self.assertEqual(sorted(self.got), sorted(b"%d" % number for number in range(len(many))))

    def test_lost(self) -> None:
        """When the reactor lets go of all, each connection ends, though one of them raises."""
        many = [self.add() for _ in range(3)]
        many[0].fails = True
        reason = Failure(ConnectionLost())
        self.poller.connectionLost(reason)
        self.assertEqual([transport.reasons for transport in many], [[reason]] * 3)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)


class WhereTests(ActorTestCase):
    def test_where(self) -> None:
        """There is one where the platform has epoll and the reactor watches descriptors, else none."""
        self.assertIsNone(poller_for(Clock()))
        if hasattr(select, "epoll"):
            self.assertIsInstance(poller_for(reactor), Poller)
            self.patch(select, "epoll", None)
            del select.epoll
        self.assertIsNone(poller_for(reactor))

    def test_reactors(self) -> None:
        """Hundreds of connections are served on each reactor, timers fire meanwhile, and nothing is left."""
        program = """
            import gc, os, socket, sys
            from twisted.internet import {name}reactor
            {name}reactor.install()
            from twisted.internet import reactor
            from twisted.internet.threads import deferToThread
            from echoactor import ActorSystem, EchoFactory
            system = ActorSystem(reactor)
            factory = EchoFactory(system)
            port = reactor.listenTCP(0, factory, 1024, interface="127.0.0.1")
            clients, late = [], []

            def begin():
                address = ("127.0.0.1", port.getHost().port)
                clients.extend(socket.create_connection(address, timeout=20) for _ in range(300))
                for client in clients:
                    client.send(b"hello")
                reactor.callLater(0, late.append, 1)
                deferToThread(lambda: {{client.recv(100) for client in clients}}).addCallback(check)

            def check(answers):
                print(answers, late)
                for client in clients:
                    client.close()
                end()

            def end():
                if factory.poller.fileno() >= 0:
                    reactor.callLater(0.01, end)
                    return
                print(system.count_actors(), factory.poller.fileno(), factory.poller in reactor.getReaders())
                client = socket.create_connection(("127.0.0.1", port.getHost().port))
                reactor.callLater(0.1, reactor.stop)  # with a connection open
                reactor.callLater(0, client.setblocking, True)
                clients[:] = [client]

            reactor.callWhenRunning(begin)
            reactor.callLater(20, reactor.crash)
            reactor.run()
            print(system.count_actors(), factory.poller.fileno())
            """
        for name in ("epoll", "poll", "select", "asyncio"):
            result = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(program.format(name=name))],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=30,
                check=False,
            )
            self.assertEqual(result.stdout, "{b'hello'} [1]\n0 -1 False\n0 -1\n", name)


class RealTests(RealTestCase):
    def answering(self) -> tuple[ActorFactory, list[Any]]:
        """A factory of connections that answer, and pause at ``pause``; and those that it has made."""
        made: list[Any] = []

        class Answers(ActorProtocol):
            def connectionMade(self) -> None:
                made.append(self)

            def receive(self, message: Any) -> None:
                match message:
                    case b"pause":
                        self.transport.pauseProducing()
                    case bytes():
                        self.transport.write(message)

        factory = ActorFactory(self.system)
        factory.protocol = Answers
        return factory, made

    async def test_start_tls(self) -> None:
        """After startTLS what is read goes through TLS; nothing of it is taken for clear text."""
        pem = make_certificate(self.directory).read_bytes()
        got: list[bytes] = []

        class Upgrades(ActorProtocol):
            def receive(self, message: Any) -> None:
                match message:
                    case b"upgrade":
                        self.transport.write(b"go")
                        self.transport.startTLS(PrivateCertificate.loadPEM(pem).options())
                    case bytes():
                        got.append(message)
                        self.transport.write(message)

        factory = ActorFactory(self.system)
        factory.protocol = Upgrades
        client = await self.connect(await self.serve_tcp(factory))
        client.transport.write(b"upgrade")
        await client.read(2)
        client.transport.startTLS(optionsForClientTLS("localhost", Certificate.loadPEM(pem)))
        client.transport.write(b"secret")
        self.assertEqual(await client.read(8), b"gosecret")
        self.assertEqual(b"".join(got), b"secret")
        client.transport.loseConnection()
        await client.closed

    async def test_tls(self) -> None:
        """What is below TLS is read by the poller too, and heeds a pause."""
        factory, made = self.answering()
        client = await self.connect(await self.listen_tls(factory))
        client.transport.write(b"secret")
        self.assertEqual(await client.read(6), b"secret")
        [protocol] = made
        accepted = protocol.transport._transport.transport
        watched: Any = reactor
        if factory.poller is not None and type(accepted) is tcp.Server:
            self.assertIn(factory.poller, watched.getReaders())
            self.assertNotIn(accepted, watched.getReaders())
        client.transport.write(b"pause")
        await self.until(lambda: protocol.transport.is_held_back())
        client.transport.write(b"later")
        await deferLater(reactor, 0.05)
        self.assertEqual(client.got, b"secret")
        protocol.transport.resumeProducing()
        self.assertEqual(await client.read(11), b"secretlater")
        client.transport.loseConnection()
        await client.closed

    async def test_proxy_protocol(self) -> None:
        """A connection that is handed over after its header is served like others, and half-closes."""
        factory, made = self.answering()
        factory.use(ServerOptions(trusted_proxies=("127.0.0.1",)))
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        host = await self.serve(endpoint, ProxyProtocolFactory(factory, factory))
        with socket.create_connection(("127.0.0.1", host.port)) as peer:
            peer.setblocking(False)
            peer.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello")
            await self.until(lambda: made)
            peer.send(b" again")
            peer.shutdown(socket.SHUT_WR)
            answer = await self.in_thread(self.read_all, peer)
        self.assertEqual(answer, b"hello again")
        self.assertEqual(made[0].transport.getPeer().host, "192.0.2.1")

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await deferLater(reactor, 0.005)

    def read_all(self, peer: socket.socket) -> bytes:
        peer.settimeout(10)
        return b"".join(iter(lambda: peer.recv(100), b""))

    async def test_idle_costs_nothing(self) -> None:
        """Connections that are open, half-closed or paused keep nothing busy."""

        class Stays(Keeps):
            allow_half_open = True

        factory = ActorFactory(self.system)
        factory.protocol = Stays
        endpoint = await self.serve_tcp(factory)
        idle, ended = await self.connect(endpoint), await self.connect(endpoint)
        ended.transport.loseWriteConnection()
        await deferLater(reactor, 0.05)
        before = os.times()
        done: Deferred[None] = deferLater(reactor, 0.3)
        await done
        after = os.times()
        self.assertLess(after.user + after.system - before.user - before.system, 0.15)
        factory.abort()
        for client in (idle, ended):
            await client.closed
