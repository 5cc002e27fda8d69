"""The figures of a system."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from echoactor import ActorFactory, ActorProtocol, ChildSpec, EchoProtocol
from echoactor.delays import SAMPLED
from echoactor.events import ConnectionClosed, ConnectionRefused
from echoactor.figures import DELAYS, REFUSALS, TICK, Figures, Histogram
from echoactor.gate import Gate
from echoactor.options import ServerOptions

from .support import ActorTestCase, Adder, ConnectionTestCase, Recorder


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
        """Each living actor is in the histogram with what waits for it."""
        _, waiter = self.spawn(Adder), self.spawn(Adder)
        for _ in range(50):
            waiter.send(1)
        mailbox = self.figures.snapshot()["mailbox"]
        self.assertEqual(dict(zip(mailbox["bounds"], mailbox["counts"], strict=False))[0], 1)
        self.assertEqual((mailbox["counts"][3], sum(mailbox["counts"]), mailbox["sum"]), (1, 2, 50))

    def test_refusals(self) -> None:
        """Refusals are counted by reason; reasons that quote what strangers send are all one."""
        for number in range(1000):
            self.system.events.emit(ConnectionRefused(None, f"no PROXY header: b'{number}'"))
        self.system.events.emit(ConnectionRefused(None, "its address is denied"))
        refused = self.figures.snapshot()["connections"]["refused"]
        told = {"bad header": 1000, "its address is denied": 1}
        # All are there from the start: a rate needs a number before the first.
        self.assertEqual(refused, dict.fromkeys(REFUSALS, 0) | told)

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
        """Open connections are counted with what they have taken so far, and after their end, too."""
        figures = Figures(self.system)
        self.addCleanup(figures.close)
        client = self.connect(EchoProtocol)
        for _ in range(3):
            client.sendall(b"hello")
            self.poll()
        snapshot = figures.snapshot()
        self.assertEqual(snapshot["connections"]["open"], 1)
        self.assertEqual((snapshot["connections"]["accepted"], snapshot["messages"]["in"]), (1, 3))
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
        """Connections that are open already when the figures are made are in them."""
        client = self.connect(EchoProtocol)
        client.sendall(b"hello")
        self.poll()
        figures = Figures(self.system)
        self.addCleanup(figures.close)
        snapshot = figures.snapshot()
        self.assertEqual((snapshot["connections"]["open"], snapshot["bytes"]), (1, {"in": 5, "out": 5}))

    def test_reasons_of_the_gate(self) -> None:
        """Each reason of the gate's is told apart."""
        figures = Figures(self.system)
        self.addCleanup(figures.close)
        gate = Gate(ServerOptions(max_connections=1))
        gate.admit(None)
        why = [gate.admit(None)]
        gate.is_open = False
        why.append(gate.admit(None))
        for reason in why:
            assert reason is not None
            self.system.events.emit(ConnectionRefused(None, reason))
        refused = figures.snapshot()["connections"]["refused"]
        self.assertEqual({reason for reason, count in refused.items() if count}, set(why))
