"""The figures of a system."""

from __future__ import annotations

import gc
import json
import os
import resource
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from echoactor import ActorFactory, ActorProtocol, ChildSpec, EchoFactory, EchoProtocol, Server
from echoactor.delays import SAMPLED
from echoactor.events import ConnectionClosed, ConnectionRefused
from echoactor.figures import DELAYS, REFUSALS, TICK, Figures, Histogram
from echoactor.options import ServerOptions
from echoactor.proxy_protocol import ProxyProtocolFactory

from .support import ActorTestCase, Adder, ConnectionTestCase, Recorder, Stuck

CLIENT = IPv4Address("TCP", "192.0.2.1", 1)
OTHER = IPv4Address("TCP", "198.51.100.1", 1)

SOFT_LIMIT = 300
"""Of open files: more than a test has, and not what the hard one would be."""

MOST_FILES = 4096
"""The kernel gives the lowest number that is free, so none that is open is above."""


def is_open(descriptor: int) -> bool:
    """Whether a number is a descriptor."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class HistogramTests(ActorTestCase):
    def test_buckets(self) -> None:
        """A value is counted in the first bucket whose end it does not pass; the last bucket has no end."""
        histogram = Histogram((0, 1, 10))
        for value in (0, 0.5, 1, 10, 11, 1000):
            histogram.add(value)
        histogram.add(1, 5)
        self.assertEqual(histogram.snapshot(), {"bounds": [0, 1, 10], "counts": [1, 7, 1, 2], "sum": 1027.5})


class FiguresTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.figures = Figures(self.system)
        self.addCleanup(self.figures.close)

    def test_plain(self) -> None:
        """A snapshot can be sent to another process: it is as good after a way through JSON."""
        self.spawn(Adder)
        snapshot = self.figures.snapshot()
        self.assertEqual(json.loads(json.dumps(snapshot)), snapshot)

    def test_actors(self) -> None:
        """Actors that began, crashed, were restarted and live are counted, messages, and dead letters."""
        self.system.start_child(ChildSpec(Adder, name="adder"))
        self.settle()
        before = self.figures.snapshot()
        adder = self.system.whereis("adder")
        assert adder is not None
        for message in (1, 2, ValueError("boom"), "late"):
            adder.send(message)
        self.settle()
        after = self.figures.snapshot()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        difference = {name: after["actors"][name] - before["actors"][name] for name in after["actors"]}
        self.assertEqual(difference, {"alive": 0, "spawned": 1, "crashed": 1, "restarted": 1})
        self.assertEqual(before["actors"]["alive"], self.system.count_actors())
        self.assertGreaterEqual(after["handled"] - before["handled"], 3)
        adder.send("nobody")
        self.assertEqual(self.figures.snapshot()["dead_letters"], after["dead_letters"] + 1)

    def test_mailboxes(self) -> None:
        """Each living actor is in the histogram with all that waits for it, also while it awaits."""
        _, waiter, stuck = self.spawn(Adder), self.spawn(Adder), self.spawn(Stuck)
        for _ in range(6):
            stuck.send(1)
        self.settle()
        self.assertEqual(self.lengths(), ({0: 2, 10: 1}, 5))
        for _ in range(50):
            waiter.send(1)
        for _ in range(30):
            stuck.send(1)
        self.assertEqual(self.lengths(), ({0: 1, 100: 2}, 50 + 5 + 30))

    def lengths(self) -> tuple[dict[float, int], float]:
        """How many mailboxes are how long, by the ends of their buckets, and the sum of the lengths."""
        mailbox = self.figures.snapshot()["mailbox"]
        buckets = zip([*mailbox["bounds"], float("inf")], mailbox["counts"], strict=True)
        return {end: count for end, count in buckets if count}, mailbox["sum"]

    def test_limits(self) -> None:
        """The limit of connections is that of all servers, and the limit of descriptors the one in force."""
        for limit in (3, 5):
            server = Server(EchoFactory(self.system), ServerOptions(max_connections=limit))
            server.setServiceParent(self.system)
        self.system.startService()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT_LIMIT, limits[1]))
        snapshot = self.figures.snapshot()
        self.assertEqual(
            (snapshot["connections"]["limit"], snapshot["descriptors"]["limit"]), (3 + 5, SOFT_LIMIT)
        )

    def test_descriptors(self) -> None:
        """All descriptors that are open are counted, and not the one that it takes to count them."""
        gc.collect()  # what others left to it may have descriptors
        there = sum(is_open(number) for number in range(MOST_FILES))
        self.assertEqual(self.figures.snapshot()["descriptors"]["open"], there)

    def test_refusals(self) -> None:
        """Refusals are counted by reason; what strangers send, or a program says, is no label."""
        for number in range(1000):
            self.system.events.emit(ConnectionRefused(None, f"bad header: no PROXY header: b'{number}'"))
            self.system.events.emit(ConnectionRefused(None, f"{number} is not liked"))
        self.system.events.emit(ConnectionRefused(None, "its address is denied"))
        refused = self.figures.snapshot()["connections"]["refused"]
        told = {"bad header": 1000, "its address is denied": 1, "other": 1000}
        # All are there from the start: a rate needs a number before the first.
        self.assertEqual(refused, dict.fromkeys(REFUSALS, 0) | told)

    def test_reasons(self) -> None:
        """Each reason for which a client is refused is told apart, whoever gives it."""
        for options, *peers in (
            (ServerOptions(max_connections=1), OTHER, CLIENT),
            (ServerOptions(max_connections_per_address=1), CLIENT, CLIENT),
            (ServerOptions(deny=["192.0.2.0/24"]), OTHER, CLIENT),
            (ServerOptions(allow=["198.51.100.0/24"]), OTHER, CLIENT),
        ):
            factory = EchoFactory(self.system)
            factory.use(options)
            for peer in peers:
                factory.buildProtocol(peer)
        self.refuse_before_a_header()
        self.system.stopService()
        self.settle()
        EchoFactory(self.system).buildProtocol(CLIENT)
        refused = self.figures.snapshot()["connections"]["refused"]
        self.assertEqual(refused, dict.fromkeys(REFUSALS, 1) | {"the server stops": 2, "bad header": 2})

    def refuse_before_a_header(self) -> None:
        """Refuse a stranger, and proxies that say something else, or nothing until something ends."""
        factory = EchoFactory(self.system)
        options = ServerOptions(trusted_proxies=["192.0.2.0/24"], handshake_timeout=10, shutdown_timeout=2)
        server = Server(factory, options)
        proxies = ProxyProtocolFactory(factory, factory)
        proxies.buildProtocol(OTHER)
        waiting: list[Any] = []
        for _ in range(3):
            waiting.append(proxies.buildProtocol(CLIENT))
            waiting[-1].makeConnection(StringTransport())
        waiting[0].dataReceived(b"GET")
        waiting[1].readConnectionLost()
        factory.abort()
        for seconds in (11, 1):
            proxies.buildProtocol(CLIENT).makeConnection(StringTransport())
            self.pass_time(seconds)
        server.drain()
        self.pass_time(2)
        proxies.buildProtocol(CLIENT)

    def test_closed(self) -> None:
        """What a connection has sent and received stays counted when it is gone."""
        peer: Any = None
        for _ in range(2):
            event = ConnectionClosed(self.spawn(Recorder, []), peer, "normal", None, 5, 7, 1, 2, 1.0)
            self.system.events.emit(event)
        snapshot = self.figures.snapshot()
        self.assertEqual(
            (snapshot["bytes"], snapshot["messages"]), ({"in": 10, "out": 14}, {"in": 2, "out": 4})
        )

    def test_stop(self) -> None:
        """Nothing is scheduled when nobody samples, and nothing is left after it."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.figures.start()
        self.figures.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.figures.stop()
        self.settle()
        self.assertEqual((self.clock.getDelayedCalls(), self.system.samplers), ([], ()))

    def test_close(self) -> None:
        """Nobody listens to events any more."""
        self.assertIn(ConnectionClosed, self.system.events)
        self.figures.close()
        self.assertNotIn(ConnectionClosed, self.system.events)
        self.figures.start()
        self.assertIn(ConnectionClosed, self.system.events)
        self.figures.close()


class LagTests(ActorTestCase):
    def test_lag(self) -> None:
        """The lag is by how much the reactor is late."""
        figures = Figures(self.system)
        figures.start()
        self.addCleanup(figures.close)
        for late in (0.0, 0.0, 0.3):
            self.clock.advance(TICK + late)
        lag = figures.snapshot()["lag"]
        self.assertEqual(
            dict(zip(lag["bounds"], lag["counts"], strict=False)),
            dict.fromkeys(DELAYS, 0) | {0.0001: 2, 0.5: 1},
        )
        self.assertAlmostEqual(lag["sum"], 0.3)


class DelayTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.figures = Figures(self.system)
        self.figures.start()
        self.addCleanup(self.figures.close)

    def test_messages(self) -> None:
        """What samples tell of the delay is in the histogram, for as many as they stand for."""
        self.let_many_wait()
        self.assertEqual(self.figures.delay.counts[DELAYS.index(0.05)], 2 * SAMPLED)

    def let_many_wait(self) -> None:
        for receiver in [self.spawn(Adder) for _ in range(2 * SAMPLED)]:
            receiver.send(1)
        self.clock.rightNow += 0.03
        self.settle()

    def test_idle(self) -> None:
        """With nothing to do, one probe a tick says so."""
        self.pass_time(10 * TICK)
        self.assertEqual(self.figures.delay.counts[0], sum(self.figures.delay.counts))
        self.assertGreaterEqual(self.figures.delay.counts[0], 9)

    def test_two(self) -> None:
        """Two that look at one system have the same figures, and one goes on when the other ends."""
        other = Figures(self.system)
        other.start()
        self.let_many_wait()
        self.assertEqual(other.delay.counts, self.figures.delay.counts)
        other.close()
        self.let_many_wait()
        self.assertEqual(self.figures.delay.counts[DELAYS.index(0.05)], 4 * SAMPLED)


class ConnectionFiguresTests(ConnectionTestCase):
    def test_open(self) -> None:
        """Open connections are counted with what they have done so far, and after their end, too."""

        class Twice(ActorProtocol):
            def receive(self, message: Any) -> None:
                if isinstance(message, bytes):
                    self.transport.write(message)
                    self.transport.write(message)

        figures = Figures(self.system)
        self.addCleanup(figures.close)
        client = self.connect(Twice)
        for _ in range(3):
            client.sendall(b"hello")
            self.poll()
        snapshot = figures.snapshot()
        self.assertEqual((snapshot["connections"]["open"], snapshot["connections"]["accepted"]), (1, 1))
        self.assertEqual(snapshot["bytes"], {"in": 15, "out": 30})
        self.assertEqual(snapshot["messages"], {"in": 3, "out": 6})
        client.close()
        self.poll()
        snapshot = figures.snapshot()
        self.assertEqual((snapshot["connections"]["open"], snapshot["connections"]["accepted"]), (0, 1))
        self.assertGreaterEqual(snapshot["messages"]["in"], 3)

    def test_two_ends(self) -> None:
        """An actor and its transport end one after the other: nothing is counted twice or forgotten."""

        class Awaits(ActorProtocol):
            async def receive(self, message: Any) -> None:
                await Deferred()

        figures = Figures(self.system)
        self.addCleanup(figures.close)
        factory = ActorFactory(self.system)
        seen: list[tuple[int, int]] = []

        def look() -> None:
            self.system.settle()
            snapshot = figures.snapshot()
            seen.append((snapshot["bytes"]["in"], snapshot["connections"]["open"]))

        for protocol in (EchoProtocol, Awaits):
            factory.protocol = protocol
            connection: Any = factory.buildProtocol(None)
            connection.makeConnection(StringTransport())
            connection.dataReceived(b"hello")
            look()
            if protocol is EchoProtocol:
                connection.address.exit("shutdown")
                look()
                connection.connectionLost()
            else:
                connection.connectionLost()
                look()
                connection.address.exit("kill")
            look()
        self.assertEqual(seen, [(5, 1), (5, 1), (5, 0), (10, 1), (10, 0), (10, 0)])

    def test_closed_for_a_while(self) -> None:
        """What is done while nobody counts is not counted, and nothing that was is lost."""
        clients = [self.connect(EchoProtocol) for _ in range(2)]
        figures = Figures(self.system)
        self.addCleanup(figures.close)

        def send() -> int:
            for client in clients:
                client.sendall(b"hello")
            for _ in range(3):
                self.poll()
            count: int = figures.snapshot()["bytes"]["in"]
            return count

        seen = [send()]
        figures.close()
        seen.append(send())
        clients.pop().close()
        self.poll()
        figures.start()
        seen += [figures.snapshot()["bytes"]["in"], send()]
        self.assertEqual(seen, [10, 10, 10, 15])

    def test_made_later(self) -> None:
        """Connections that are open already when the figures are made are in them; what they did is not."""
        client = self.connect(EchoProtocol)
        client.sendall(b"hello")
        self.poll()
        figures = Figures(self.system)
        self.addCleanup(figures.close)
        snapshot = figures.snapshot()
        self.assertEqual((snapshot["connections"]["open"], snapshot["bytes"]), (1, {"in": 0, "out": 0}))
        client.sendall(b"again!")
        self.poll()
        self.assertEqual(figures.snapshot()["bytes"], {"in": 6, "out": 6})
