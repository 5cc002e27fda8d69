"""The echo on the real reactor, with real sockets and real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import DeferredList
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    wrapServerTLS,
)
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from echoactor import ActorFactory, ActorProtocol, EchoFactory, EchoProtocol, Server, ServerOptions

from .support import Producer, RealTestCase, Relay, make_certificate

reactor: Any = global_reactor


def send_close_and_read(port: int, certificate: str, size: int) -> bytes:
    """What is read last, by a TLS client that sends, sends close_notify, and only then begins to read."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=certificate)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(10)
        wire.connect(("127.0.0.1", port))
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.sendall(outgoing.read())
                incoming.write(wire.recv(65536))
        tls.write(bytes(size))
        try:
            tls.unwrap()
        except ssl.SSLWantReadError:
            pass

        def send() -> None:
            try:
                wire.sendall(outgoing.read())
            except OSError:
                pass  # the server has closed; what it sent before is still there to read

        sending = threading.Thread(target=send)
        sending.start()
        time.sleep(0.2)  # so that the server's way back fills up
        data = b"?"
        while data:
            data = wire.recv(1 << 20)
        sending.join()
        return data


class EchoTests(RealTestCase):
    async def test_tcp(self) -> None:
        """Bytes come back over TCP, in pieces and in bulk, on many connections at once."""
        endpoint = await self.serve_tcp()
        clients = [await self.connect(endpoint) for _ in range(20)]
        expected = [bytes([number]) * 200_000 for number in range(20)]
        for client, data in zip(clients, expected, strict=True):
            for start in range(0, len(data), 30_000):
                client.transport.write(data[start : start + 30_000])
        for client, data in zip(clients, expected, strict=True):
            self.assertEqual(await client.read(len(data)), data)
            client.transport.loseConnection()
        await DeferredList([client.closed for client in clients])

    async def test_half_close(self) -> None:
        """A client that sends and half-closes gets every byte back, then the end; a hundred times."""
        endpoint = await self.serve_tcp()
        for size in [5] * 90 + [1_000_000] * 10:
            client = await self.connect(endpoint)
            client.transport.write(b"x" * size)
            client.transport.loseWriteConnection()
            self.assertEqual(len(await client.closed), size)

    async def test_never_reads(self) -> None:
        """A client that never reads stops being read, while others are served."""
        taken: list[int] = []

        class Echo(EchoProtocol):
            def dataReceived(self, data: bytes) -> None:
                taken[self.number] += len(data)
                super().dataReceived(data)

            def connectionMade(self) -> None:
                self.number = len(taken)
                taken.append(0)

        factory = ActorFactory(self.system)
        factory.protocol = Echo
        endpoint = await self.serve_tcp(factory)
        stalled = await self.connect(endpoint)
        while not taken:
            await deferLater(reactor, 0.001)
        other = await self.connect(endpoint)
        stalled.transport.pauseProducing()
        total = 64 * 1024 * 1024
        stalled.transport.write(bytes(total))
        for number in range(1, 200):
            other.transport.write(b"x" * 1000)
            await other.read(number * 1000)
        self.assertLess(taken[0], total // 2)
        for client in (stalled, other):
            client.transport.abortConnection()
            await client.closed

    async def test_unix(self) -> None:
        """The echo works on a UNIX socket, half-close and all."""
        path = str(self.directory / "echo.sock")
        await self.serve(UNIXServerEndpoint(reactor, path))
        client = await self.connect(UNIXClientEndpoint(reactor, path))
        client.transport.write(b"x" * 500_000)
        await client.read(500_000)
        client.transport.loseWriteConnection()
        self.assertEqual(len(await client.closed), 500_000)

    async def test_tls(self) -> None:
        """The echo works under TLS, in both directions at once, and a slow reader stops the reading."""
        client = await self.connect(await self.listen_tls())
        data = bytes(range(256)) * 8192
        client.transport.write(data)
        self.assertEqual(await client.read(len(data)), data)
        client.transport.loseConnection()
        await client.closed

    async def test_tls_closed_under_backpressure(self) -> None:
        """A TLS client that sends, closes its side and reads late gets an end, and nothing is left."""
        pem = make_certificate(self.directory)
        plain = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        options = PrivateCertificate.loadPEM(pem.read_bytes()).options()
        host = await self.serve(wrapServerTLS(options, plain))
        for size in range(3_000_000, 3_040_000, 4000):
            end = await deferToThread(send_close_and_read, host.port, str(pem), size)
            self.assertEqual(end, b"")
        while self.system.count_actors() or self.system._resources:
            await deferLater(reactor, 0.01)

    async def test_tls_order(self) -> None:
        """Under TLS all writes arrive in order: before and after the handshake, and with a producer."""
        test = self
        pieces = [b"%d" % number * 20_000 for number in range(10)]

        class Writes(ActorProtocol):
            def connectionMade(self) -> None:
                self.transport.write(pieces[0])
                self.transport.write(b"small")

            def receive(self, message: Any) -> None:
                for wrong in ("text", 5):
                    with test.assertRaises(TypeError):
                        self.transport.write(wrong)
                self.transport.write(pieces[1])
                self.transport.writeSequence(pieces[2:5])
                self.transport.registerProducer(Producer(), True)
                self.transport.write(pieces[5])
                self.transport.write(b"small")
                self.transport.unregisterProducer()
                for piece in pieces[6:]:
                    self.transport.write(piece)
                self.transport.loseConnection()

        factory = ActorFactory(self.system)
        factory.protocol = Writes
        client = await self.connect(await self.listen_tls(factory))
        await client.read(len(pieces[0]) + 5)
        client.transport.write(b"go")
        expected = [pieces[0], b"small", *pieces[1:6], b"small", *pieces[6:]]
        self.assertEqual(await client.closed, b"".join(expected))

    async def test_tls_server_speaks_first(self) -> None:
        """A greeting written before the TLS handshake is over arrives, however large, and reading goes on."""
        greeting = b"welcome" * 100_000

        class Greets(ActorProtocol):
            def connectionMade(self) -> None:
                self.transport.write(greeting)

            def receive(self, message: Any) -> None:
                match message:
                    case bytes():
                        self.transport.write(message)

        factory = ActorFactory(self.system)
        factory.protocol = Greets
        client = await self.connect(await self.listen_tls(factory))
        await client.read(len(greeting))
        client.transport.write(b"thanks")
        self.assertEqual(await client.read(len(greeting) + 6), greeting + b"thanks")
        client.transport.loseConnection()
        await client.closed


class StartTLSTests(RealTestCase):
    async def test_no_clear_text(self) -> None:
        """After startTLS no written byte reaches the wire in clear text, and all arrive through TLS."""
        await self.check()

    async def test_with_a_producer(self) -> None:
        """The same with a producer of the user's registered, which hears of the buffer as before."""
        producer = Producer()
        await self.check(producer)
        self.assertEqual(producer.told[-1], "stop")

    async def check(self, producer: Producer | None = None) -> None:
        pem = make_certificate(self.directory).read_bytes()

        class Upgrades(ActorProtocol):
            def receive(self, message: Any) -> None:
                match message:
                    case b"upgrade":
                        self.transport.write(b"clear")
                        if producer is not None:
                            self.transport.registerProducer(producer, True)
                        self.transport.startTLS(PrivateCertificate.loadPEM(pem).options())
                        self.transport.write(b"secret one, ")
                        self.transport.write(b"secret two")
                    case bytes():
                        self.transport.write(message)

        factory = ActorFactory(self.system)
        factory.protocol = Upgrades
        host = await self.serve(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), factory)
        relay = Relay(reactor, host.port)
        client = await self.connect(await self.serve_tcp(relay))
        client.transport.write(b"upgrade")
        self.assertEqual(await client.read(5), b"clear")
        client.transport.startTLS(optionsForClientTLS("localhost", Certificate.loadPEM(pem)))
        await client.read(len(b"clearsecret one, secret two"))
        client.transport.write(b" secret three")
        answer = await client.read(len(b"clearsecret one, secret two secret three"))
        self.assertEqual(answer, b"clearsecret one, secret two secret three")
        self.assertIn(b"clear", relay.wire)
        self.assertNotIn(b"secret", relay.wire)
        client.transport.loseConnection()
        await client.closed


class ComposingTests(RealTestCase):
    async def test_server_in_a_system(self) -> None:
        """A Server under a system under a MultiService serves, and stops with it; no socket is left."""
        parent = MultiService()
        self.system.setServiceParent(parent)
        server = Server(EchoFactory(self.system), ServerOptions(port=0, interface="127.0.0.1"))
        server.setServiceParent(self.system)
        parent.privilegedStartService()
        parent.startService()
        [host] = server.addresses
        client = await self.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", host.port))
        client.transport.write(b"hello")
        await client.read(5)
        stopped = parent.stopService()
        client.transport.write(b" again")  # it is served on
        await client.read(11)
        client.transport.loseConnection()
        await stopped
        self.assertEqual(await client.closed, b"hello again")
        self.assertEqual((self.system.count_actors(), server.addresses), (0, []))

    async def test_stop_flushes(self) -> None:
        """What was read before the stop is echoed before the connection closes."""
        endpoint = await self.serve_tcp()
        client = await self.connect(endpoint)
        client.transport.write(b"x" * 100_000)
        await client.read(1)
        read = len(client.got)
        await self.system.stopService()
        self.assertGreaterEqual(len(await client.closed), read)

    async def test_crash_in_a_connection(self) -> None:
        """A connection that crashes is closed; its neighbours and the listener go on."""

        class Fragile(ActorProtocol):
            def receive(self, message: Any) -> None:
                match message:
                    case bytes():
                        self.transport.write(bytes([100 // message[0]]))

        factory = ActorFactory(self.system)
        factory.protocol = Fragile
        endpoint = await self.serve_tcp(factory)
        victim, neighbour = await self.connect(endpoint), await self.connect(endpoint)
        victim.transport.write(b"\0")
        await victim.closed
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        neighbour.transport.write(b"\1")
        self.assertEqual(await neighbour.read(1), bytes([100]))
        later = await self.connect(endpoint)
        for client in (neighbour, later):
            client.transport.loseConnection()
            await client.closed
