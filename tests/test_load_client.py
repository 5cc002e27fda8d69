"""The load client against servers that behave, and servers that do not: real sockets, in one event loop."""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from echoactor.load import client
from echoactor.load.client import Load, _Schedule, new_loop
from echoactor.load.figures import Figures, Second
from echoactor.load.options import LoadOptions

from .support import ActorTestCase, Authority


class Echo(asyncio.Protocol):
    """Behaves."""

    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.close()  # Python 3.10 complains of TLS transports that only their peer closed


class Counting(Echo):
    """Does something else once it has answered so many bytes."""

    LIMIT = 1000
    answered = 0

    def data_received(self, data: bytes) -> None:
        self.answered += len(data)
        if self.answered < self.LIMIT:
            self.transport.write(data)
        else:
            self.misbehave(data)

    def misbehave(self, data: bytes) -> None:
        raise NotImplementedError  # each server in its own way


class Flips(Counting):
    def misbehave(self, data: bytes) -> None:
        self.transport.write(data[:-1] + bytes([data[-1] ^ 1]))


class Shortens(Counting):
    def misbehave(self, data: bytes) -> None:
        self.answered = 0
        self.transport.write(data[:-1])


class AnswersHalf(Counting):
    def misbehave(self, data: bytes) -> None:
        self.transport.write(data[: len(data) // 2])


class Closes(Counting):
    def misbehave(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


class Resets(Counting):
    def misbehave(self, data: bytes) -> None:
        self.transport.abort()


class Repeats(Counting):
    def misbehave(self, data: bytes) -> None:
        self.transport.write(data * 2)


class Greets(Echo):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(b"220 welcome\r\n")


class Silent(asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        pass


class MixesUp(Echo):
    """Answers each on the connection before."""

    last: Any = None

    def data_received(self, data: bytes) -> None:
        (MixesUp.last or self.transport).write(data)
        MixesUp.last = self.transport


class Stalls(Echo):
    """Answers nothing for 0.3 s, once."""

    begin = 0.0

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        Stalls.begin = Stalls.begin or now + 0.2
        wait = Stalls.begin + 0.3 - now if now > Stalls.begin else 0
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.transport.write, data)
        else:
            self.transport.write(data)


class Told:
    """In a connection's place: what the schedule tells it."""

    due = 0

    def schedule(self, first: float, gap: float) -> None:
        self.times = first, gap

    def send_due(self, due: int) -> None:
        self.due = due


class LoadTestCase(ActorTestCase):
    """Runs a server and the client in one event loop."""

    def setUp(self) -> None:
        super().setUp()
        self.figures = Figures()
        self.seconds: list[Second] = []
        self.opened: list[int] = []
        self.host = "127.0.0.1"
        self.tls: ssl.SSLContext | None = None

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def run_load(
        self,
        protocol: type[asyncio.BaseProtocol],
        during: Callable[[Load], object] | None = None,
        while_opening: bool = False,
        **options: Any,
    ) -> Figures:
        """
        Put load on a server that speaks so.

        :param during: called when the load runs, a tenth of a second after its last connection has opened.
        :param while_opening: it is called a tenth of a second after the start, whatever is open then.
        """
        loop = self.new_loop()
        self.addCleanup(loop.close)

        async def run() -> None:
            server = await loop.create_server(protocol, self.host, 0, ssl=self.tls)
            port = server.sockets[0].getsockname()[1]
            # The time for answers is one that no busy machine exceeds; who wants it to be over gives another.
            chosen = {"host": self.host, "connections": 3, "duration": 0.2, "timeout": 15.0, **options}

            def opened(count: int) -> None:
                self.opened.append(count)
                if during is not None and not while_opening and count == chosen["connections"]:
                    loop.call_later(0.1, during, load)

            try:
                load = Load(LoadOptions(port=port, **chosen), self.figures, [opened], [self.seconds.append])
                if during is not None and while_opening:
                    loop.call_later(0.1, during, load)
                await load.run()
            finally:
                server.close()

        try:
            loop.run_until_complete(asyncio.wait_for(run(), 60))
        finally:
            loop.run_until_complete(asyncio.sleep(0.2))  # what was closed ends, on its server's side too
        return self.figures

    def serve_tls(self, *names: str) -> str:
        """Let the server have a certificate; returns the file of its authority."""
        authority = Authority(self.temporary_directory())
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(authority.make("server.pem", *names))
        return str(authority.file)


class UvloopTestCase(LoadTestCase):
    """Runs them on uvloop's event loop."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        try:
            import uvloop
        except ImportError:
            raise SkipTest("uvloop is not installed") from None
        loop = new_loop()
        self.assertIsInstance(loop, uvloop.Loop)
        return loop


class LoadTests(LoadTestCase):
    """On asyncio's own event loop."""

    def test_closed_loop(self) -> None:
        """Messages go back and forth for the duration, and nothing is wrong."""
        start = time.perf_counter()
        figures = self.run_load(Echo, size=100, timeout=30)
        self.assertLess(time.perf_counter() - start, 25)  # it waits for answers, not for the time for them
        self.assertEqual((figures.errors, figures.unsent), ({}, 0))
        self.assertGreaterEqual(figures.messages, 3)
        self.assertGreaterEqual(figures.elapsed, 0.2)
        self.assertEqual(self.opened, [1, 2, 3])
        self.assertTrue(0 < figures.cpu_share < 1.5, figures.cpu_share)

    def test_sizes(self) -> None:
        """From one byte to megabytes, one at a time and many."""
        for size in (1, 1_000, 3_000_000):
            for pipeline in (1, 7):
                figures = self.run_load(Echo, size=size, pipeline=pipeline, timeout=10)
                self.assertEqual(figures.errors, {})
                self.assertGreaterEqual(figures.messages, 3 * pipeline)
                self.figures = Figures()

    def test_rate(self) -> None:
        """At a rate, as many messages are sent as are due, in turn over the connections."""
        figures = self.run_load(Echo, rate=500.0, duration=0.5)
        self.assertEqual(figures.errors, {})
        # What the end of the sending found still waiting for an answer before it is not sent.
        self.assertEqual(figures.messages + figures.unsent, 250)
        self.assertGreater(figures.messages, 125)

    def test_rate_below_one_a_connection(self) -> None:
        """A rate may be lower than the number of connections."""
        figures = self.run_load(Echo, rate=8.0, connections=20, duration=0.5)
        self.assertEqual((figures.errors, figures.messages), ({}, 4))

    def test_rate_too_high(self) -> None:
        """What is due while nothing is answered is counted as not sent."""
        figures = self.run_load(Silent, rate=1000.0, connections=1, timeout=0.1)
        self.assertEqual(figures.errors, {"unanswered": 1})
        self.assertEqual(figures.unsent, 199)

    def test_rate_absurd(self) -> None:
        """A rate that no client could keep ends with the duration all the same."""
        start = time.perf_counter()
        figures = self.run_load(Echo, rate=1e15, pipeline=10, timeout=5)
        self.assertLess(time.perf_counter() - start, 10)
        self.assertEqual(figures.errors, {})
        self.assertGreaterEqual(figures.messages, 30)
        self.assertGreater(figures.unsent, 1e12)

    def test_rate_interrupted(self) -> None:
        """An interrupt leaves no timer behind: its signal would end the process."""
        figures = self.run_load(Echo, Load.interrupt, rate=0.05, duration=100.0)
        self.assertEqual((figures.errors, figures.messages), ({}, 1))
        self.assertEqual(signal.getitimer(signal.ITIMER_REAL), (0.0, 0.0))

    def test_coordinated_omission(self) -> None:
        """A stall shows in the p99 of a schedule, as all that was due meanwhile waited."""
        Stalls.begin = 0.0
        figures = self.run_load(Stalls, rate=400.0, connections=4, duration=1.5, timeout=5)
        self.assertEqual(figures.errors, {})
        # Of 600 messages, some 120 were due in the stall.
        self.assertGreater(figures.histogram.get_value_at_percentile(99), 200_000)
        self.assertGreater(figures.histogram.get_value_at_percentile(90), 100_000)

    def test_seconds(self) -> None:
        """Each second has its figures, the last what is left; together they are all."""
        figures = self.run_load(Echo, duration=2.0, rate=100.0)
        self.assertIn(len(self.seconds), (1, 2))  # one, if the machine stood still when the first was over
        self.assertEqual(sum(second.messages for second in self.seconds), figures.messages)
        self.assertAlmostEqual(sum(second.length for second in self.seconds), self.seconds[-1].end)
        self.assertGreaterEqual(self.seconds[-1].end, 2.0)

    def test_wrong_bytes(self) -> None:
        """Each way of sending other bytes back is seen, on each connection."""
        for protocol in (Flips, Shortens, Repeats, Greets):
            figures = self.run_load(protocol, pipeline=4, duration=15.0)  # it ends with the last connection
            self.assertEqual(figures.errors, {"wrong byte": 3}, protocol)
            self.figures = Figures()

    def test_mixed_up(self) -> None:
        """What comes back on another connection is wrong there."""
        MixesUp.last = None
        figures = self.run_load(MixesUp, duration=1.0, timeout=1.0)
        self.assertIn("wrong byte", figures.errors)

    def test_lost(self) -> None:
        """A connection that the server ends is lost; with the last one, the run is over."""
        for protocol in (Closes, Resets):
            start = time.perf_counter()
            figures = self.run_load(protocol, duration=15.0)
            self.assertEqual(figures.errors, {"connection lost": 3}, protocol)
            self.assertLess(time.perf_counter() - start, 10)
            self.figures = Figures()

    def test_some_lost(self) -> None:
        """The others go on when one is lost."""
        first = iter([Closes])
        figures = self.run_load(lambda: next(first, Echo)(), duration=1.0)  # type: ignore[arg-type]  # two kinds
        self.assertEqual(figures.errors, {"connection lost": 1})
        self.assertGreaterEqual(figures.elapsed, 1.0)

    def test_unanswered(self) -> None:
        """Messages that are never answered, or half, are errors when the time for them is over."""
        figures = self.run_load(Silent, pipeline=5, timeout=1.0)
        self.assertEqual((figures.errors, figures.messages), ({"unanswered": 15}, 0))
        self.figures = Figures()
        figures = self.run_load(AnswersHalf, duration=1.0, timeout=1.0)
        self.assertEqual(figures.errors, {"unanswered": 3})
        self.assertIn("the first with 32 of its 64 bytes, after 15 answers", figures.details[0])
        self.figures = Figures()
        figures = self.run_load(Shortens, duration=1.0, timeout=1.0)
        self.assertEqual(figures.errors, {"unanswered": 3})
        self.assertIn("the first with 63 of its 64 bytes, after 15 answers", figures.details[0])

    def test_late_answers(self) -> None:
        """An answer that comes after the sending has ended, but in time, counts."""

        class Late(Echo):
            def data_received(self, data: bytes) -> None:
                asyncio.get_running_loop().call_later(0.4, self.transport.write, data)

        figures = self.run_load(Late)
        self.assertEqual((figures.errors, figures.messages), ({}, 3))
        self.assertGreaterEqual(figures.elapsed, 0.39)
        self.assertGreaterEqual(figures.histogram.get_min_value(), 390_000)

    def test_interrupted(self) -> None:
        """An interrupt ends the sending; what was measured stays."""
        start = time.perf_counter()
        figures = self.run_load(Echo, Load.interrupt, duration=15.0)
        self.assertLess(time.perf_counter() - start, 10)
        self.assertEqual(figures.errors, {})
        self.assertGreaterEqual(figures.messages, 3)

    def test_interrupted_twice(self) -> None:
        """A second interrupt ends the waiting for answers."""

        def interrupt(load: Load) -> None:
            load.interrupt()
            asyncio.get_running_loop().call_later(0.1, load.interrupt)

        start = time.perf_counter()
        figures = self.run_load(Silent, interrupt, duration=15.0, timeout=15.0)
        self.assertLess(time.perf_counter() - start, 10)
        self.assertEqual(figures.errors, {"unanswered": 3})

    def test_tls_lost(self) -> None:
        """Wrong bytes and lost connections are seen through TLS too."""
        self.serve_tls("localhost")
        figures = self.run_load(Flips, tls=True, insecure=True, duration=15.0)
        self.assertEqual(figures.errors, {"wrong byte": 3})
        self.figures = Figures()
        figures = self.run_load(Resets, tls=True, insecure=True, duration=15.0)
        self.assertEqual(figures.errors, {"connection lost": 3})

    def test_errors_of_its_own(self) -> None:
        """An exception that nobody caught is counted, and not printed among the figures."""
        figures = self.run_load(Echo, lambda load: 1 / 0)
        self.assertEqual(figures.errors, {"client error": 1})
        self.assertIn("ZeroDivisionError", figures.details[0])


class ScheduleTests(SynchronousTestCase):
    """On a clock that the test sets; no signal comes, as no timer runs out."""

    def setUp(self) -> None:
        self.now = 100.0
        self.patch(client, "perf_counter", lambda: self.now)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        self.connections = [Told(), Told()]
        connections: Any = self.connections
        self.schedule = _Schedule(connections, rate=0.01, start=100.0, duration=1000.0)

    def due(self) -> list[int]:
        self.schedule.send_due()
        return [connection.due for connection in self.connections]

    def timer(self) -> float:
        return signal.getitimer(signal.ITIMER_REAL)[0]

    def test_in_turn(self) -> None:
        """Each connection has its part of the schedule, one after the other."""
        self.assertEqual([connection.times for connection in self.connections], [(100, 200), (200, 200)])
        self.assertEqual(self.due(), [1, 0])
        self.assertTrue(99 < self.timer() <= 100.1)
        self.now = 150.0
        self.assertEqual(self.due(), [1, 0])
        self.assertTrue(49 < self.timer() <= 50.1)
        self.now = 399.0
        self.assertEqual(self.due(), [2, 1])

    def test_end(self) -> None:
        """It ends with the duration, however late it is noticed, and sets no timer."""
        self.now = 9999.0
        self.assertEqual(self.due(), [5, 5])
        self.assertEqual(self.timer(), 0)

    def test_signal_after_the_stop(self) -> None:
        """A signal that the loop still had at the stop sends nothing, and sets no timer."""
        self.assertEqual(self.due(), [1, 0])
        self.schedule.stop()
        self.assertEqual(self.timer(), 0)
        self.now = 500.0
        self.assertEqual(self.due(), [1, 0])
        self.assertEqual(self.timer(), 0)


class UvloopTests(UvloopTestCase, LoadTests):
    """The same on uvloop's."""
