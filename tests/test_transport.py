"""Writing at once means the same as writing later, only sooner."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import ITCPTransport, ITLSTransport

from echoactor import ActorProtocol, ServerOptions, Shutdown
from echoactor.events import ActorEnded

from .support import ConnectionTestCase, Producer

BIG = bytes(range(256)) * 4096  # 1 MiB: more than the sockets hold


class Silent(ActorProtocol):
    """Receives and does nothing; the test writes."""

    def receive(self, message: Any) -> None: ...


class Subclassed(tcp.Server):
    """A transport that may do something to what is written."""


class WriteTests(ConnectionTestCase):
    def test_at_once(self) -> None:
        """With nothing buffered, bytes are at the peer before the reactor turns."""
        client = self.connect(Silent)
        self.server.transport.write(b"hello")
        self.server.transport.writeSequence([b" ", b"world"])
        self.assertEqual(client.recv(100), b"hello world")
        self.assertEqual(self.reactor.writers, set())

    def test_counts(self) -> None:
        """What is written is counted, also what waits for a full socket, but nothing after our own end."""
        client = self.connect(Silent)
        for piece in (b"hello", BIG, b"world"):
            self.server.transport.write(piece)
        got = 0
        while got < len(BIG) + 10:
            got += len(self.read_some(client) or b"")
        self.assertEqual(self.server.transport.bytes_out, len(BIG) + 10)
        self.assertGreaterEqual(self.server.transport.messages_out, 3)
        self.server.transport.loseWriteConnection()
        self.server.transport.write(b"late")
        self.assertEqual(self.server.transport.bytes_out, len(BIG) + 10)

    def test_order_when_the_socket_is_full(self) -> None:
        """What the socket does not take goes out later, in order, with all written after it."""
        client = self.connect(Silent)
        for piece in (b"first", BIG, b"second", BIG, b"third"):
            self.server.transport.write(piece)
        self.server.transport.loseConnection()
        self.assertEqual(self.read_all(client), b"first" + BIG + b"second" + BIG + b"third")

    def test_at_once_again_after_draining(self) -> None:
        """After all that was buffered is sent, bytes go out at once again."""
        client = self.connect(Silent)
        self.server.transport.write(BIG)
        got = 0
        while got < len(BIG):
            got += len(self.read_some(client) or b"")
        self.poll()
        self.assertEqual(self.reactor.writers, set())
        self.server.transport.write(b"at once")
        self.assertEqual(client.recv(100), b"at once")

    def test_reading_stops_meanwhile(self) -> None:
        """While the peer does not take what was written, nothing is read from it."""
        client = self.connect(Silent)
        self.assertIn(self.wire, self.reactor.readers)
        self.server.transport.write(BIG)
        self.assertNotIn(self.wire, self.reactor.readers)
        while self.wire not in self.reactor.readers:
            self.read_some(client)
        self.assertEqual(self.reactor.writers, set())

    def test_never_past_a_subclass(self) -> None:
        """A transport that is not exactly Twisted's own gets every write itself, later."""
        client = self.connect(Silent, Subclassed)
        written: list[bytes] = []
        self.patch(Subclassed, "write", lambda _, data: written.append(data))
        self.server.transport.write(b"hello")
        self.assertEqual(written, [b"hello"])
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.recv(1)

    def test_only_bytes(self) -> None:
        """Text and bytearrays are refused, as on any Twisted transport."""
        self.connect(Silent)
        for wrong in ("text", bytearray(b"x"), 5):
            with self.assertRaises(TypeError):
                self.server.transport.write(wrong)

    def test_after_the_connection(self) -> None:
        """Writing after the connection is gone does nothing, however it went."""
        for end in ("loseConnection", "abortConnection"):
            self.connect(Silent)
            transport = self.server.transport
            getattr(transport, end)()
            self.poll()
            self.assertTrue(transport.is_closed)
            transport.write(b"late")
            transport.writeSequence([b"late"])
            transport.loseConnection()
        self.settle()

    def test_peer_is_gone(self) -> None:
        """Writing to a peer that has reset the connection raises nothing; the loss is reported in its way."""
        client = self.connect(Silent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        for _ in range(3):
            self.server.transport.write(b"hello?")
        self.poll()
        self.assertTrue(self.server.transport.is_closed)
        self.assertEqual(self.system.count_actors(), 0)

    def test_nothing_after_abort(self) -> None:
        """What is written after an abort does not reach the peer."""
        client = self.connect(Silent)
        self.server.transport.abortConnection()
        self.server.transport.write(b"late")
        self.poll()
        with self.assertRaises(ConnectionResetError):
            client.recv(100)

    def test_bounded(self) -> None:
        """What waits for a peer that does not read is bounded; past that the connection is aborted."""
        reasons: list[Any] = []
        self.system.events.subscribe(ActorEnded, lambda event: reasons.append(event.reason))
        for transport_class in (tcp.Server, Subclassed):
            client = self.connect(Silent, transport_class)
            self.server.factory.use(ServerOptions(max_write_buffer=len(BIG)))
            written = 0
            while not reasons and written < 100:
                self.server.transport.write(BIG)
                written += 1
                self.poll()
            # The first write is taken by the transport, the second waits, the third is too much.
            self.assertEqual((written, reasons), (3, [Shutdown("slow consumer")]))
            reasons.clear()
            client.close()

    def test_slow_is_not_stalled(self) -> None:
        """A peer that reads slowly, but does, gets all of what is more than may wait at once."""
        for transport_class in (tcp.Server, Subclassed):
            client = self.connect(Silent, transport_class)
            self.server.factory.use(ServerOptions(max_write_buffer=len(BIG) // 2))
            sent, got = bytearray(), bytearray()
            for number in range(200):
                piece = bytes([number]) * 20_000
                self.server.transport.write(piece)
                sent += piece
                while len(sent) - len(got) > len(BIG) // 3:
                    got += self.read_some(client) or b""
            self.server.transport.loseConnection()
            got += self.read_all(client)
            self.assertEqual(got, sent)

    def test_small_writes_in_order(self) -> None:
        """Many small writes that have to wait arrive whole and in order, whatever the transport."""
        for transport_class in (tcp.Server, Subclassed):
            client = self.connect(Silent, transport_class)
            self.server.transport.write(BIG)
            expected = bytearray(BIG)
            for number in range(50_000):
                piece = number.to_bytes(3, "big")
                self.server.transport.write(piece)
                expected += piece
            self.server.transport.loseConnection()
            self.assertEqual(self.read_all(client), expected)

    def test_half_close(self) -> None:
        """loseWriteConnection sends what was written, then the end, also from a full socket."""
        for data in (b"bye", BIG):
            client = self.connect(Silent)
            self.server.transport.write(data)
            self.server.transport.loseWriteConnection()
            self.assertEqual(self.read_all(client), data)
            self.assertFalse(self.server.transport.is_closed)
            self.assertIn(self.wire, self.reactor.readers)


class ReadingTests(ConnectionTestCase):
    def test_pause_and_resume(self) -> None:
        """The user's pause holds until the user's resume, whatever else stops and goes on."""
        client = self.connect(Silent)
        self.server.transport.pauseProducing()
        self.server.transport.write(BIG)
        for _ in range(200):
            self.read_some(client)
        self.assertEqual((self.reactor.writers, self.reactor.readers), (set(), set()))
        self.server.transport.resumeProducing()
        self.assertIn(self.wire, self.reactor.readers)


class ProducerTests(ConnectionTestCase):
    def test_users_producer(self) -> None:
        """A user may register a producer at any time, even while our own waits for the buffer to drain."""
        for before in (b"", BIG):
            client = self.connect(Silent)
            transport, producer = self.server.transport, Producer()
            transport.write(before)
            transport.registerProducer(producer, True)
            transport.write(BIG)
            self.assertIn("pause", producer.told)
            transport.unregisterProducer()
            transport.write(b"after")
            transport.loseConnection()
            self.assertEqual(self.read_all(client), before + BIG + b"after")

    def test_unregistered_after_closing(self) -> None:
        """A producer may be unregistered after loseConnection, as is usual; the connection closes."""
        client = self.connect(Silent)
        transport = self.server.transport
        transport.registerProducer(Producer(), True)
        transport.write(BIG)
        transport.loseConnection()
        transport.unregisterProducer()
        self.assertEqual(self.read_all(client), BIG)
        self.poll()
        self.assertTrue(transport.is_closed)

    def test_backpressure_with_a_users_producer(self) -> None:
        """With a user's producer, too, nothing is read while the peer does not take what was written."""
        client = self.connect(Silent)
        transport, producer = self.server.transport, Producer()
        transport.registerProducer(producer, True)
        transport.write(BIG)
        self.assertEqual((producer.told, self.wire in self.reactor.readers), (["pause"], False))
        while self.wire not in self.reactor.readers:
            self.read_some(client)
        self.assertEqual(producer.told, ["pause", "resume"])
        transport.abortConnection()
        self.poll()
        self.assertEqual(producer.told[-1], "stop")

    def test_pushes_much(self) -> None:
        """A producer that writes more at each resume than fits is paused, and never taken for too much."""
        transport: Any = None

        class Pushes(Producer):
            left = len(BIG) * 20

            def resumeProducing(self) -> None:
                for _ in range(4):
                    if self.left:
                        self.left -= len(BIG) // 4
                        transport.write(BIG[: len(BIG) // 4])
                if not self.left:
                    transport.unregisterProducer()
                    transport.loseConnection()

        client = self.connect(Silent)
        self.server.factory.use(ServerOptions(max_write_buffer=4 * len(BIG)))
        transport, producer = self.server.transport, Pushes()
        transport.registerProducer(producer, True)
        producer.resumeProducing()
        self.assertEqual(len(self.read_all(client)), len(BIG) * 20)

    def test_stops_badly(self) -> None:
        """A producer that raises when it is stopped keeps nobody from hearing that the connection is gone."""

        class Raises(Producer):
            def stopProducing(self) -> None:
                raise ValueError("no")

        self.connect(Silent)
        self.server.transport.registerProducer(Raises(), True)
        self.server.transport.abortConnection()
        self.poll()
        self.assertEqual((self.system.count_actors(), self.server.factory.gate.count), (0, 0))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_second_producer(self) -> None:
        """A second producer is refused, as on any Twisted transport."""
        self.connect(Silent)
        self.server.transport.registerProducer(Producer(), True)
        with self.assertRaises(RuntimeError):
            self.server.transport.registerProducer(Producer(), True)

    def test_unregister_nothing(self) -> None:
        """Unregistering without having registered does nothing."""
        client = self.connect(Silent)
        self.server.transport.unregisterProducer()
        self.server.transport.write(b"at once")
        self.assertEqual(client.recv(100), b"at once")


class FaceTests(ConnectionTestCase):
    def test_is_the_transport(self) -> None:
        """It has the interfaces and the attributes of the Twisted transport behind it."""
        self.connect(Silent)
        transport = self.server.transport
        self.assertTrue(ITCPTransport.providedBy(transport))
        self.assertTrue(ITLSTransport.providedBy(transport))
        self.assertIs(transport.getHandle(), self.wire.getHandle())
        self.assertTrue(transport.getTcpNoDelay())
        self.assertIn("ConnectionTransport", repr(transport))
        with self.assertRaises(AttributeError):
            transport.nonsense  # noqa: B018  # it raises
