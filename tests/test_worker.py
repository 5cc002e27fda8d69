"""A worker's orders and its log; the whole process is in ``test_workers.py``."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, Logger, LogLevel, eventFromJSON, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.events import ConnectionOpened
from echoactor.pipe import Done, Drain, Pipe, Serve, Tell, decode
from echoactor.testing import ClockSystem
from echoactor.worker import Orders, PipeLog

from .support import ActorTestCase


class Transport(StringTransport):
    """One end of a pipe, in memory."""

    def sent(self) -> list[Any]:
        """What was sent since this was asked last."""
        messages = [decode(line) for line in self.value().splitlines()]
        self.clear()
        return messages


def connected_pipe() -> tuple[Pipe, Transport]:
    pipe = Pipe(lambda *_: None, lambda: None)
    transport = Transport()
    pipe.makeConnection(transport)
    return pipe, transport


class PipeLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        pipe, self.transport = connected_pipe()
        self.observer = PipeLog(pipe)
        self.log = Logger("echoactor.test", observer=self.observer)

    def events(self) -> list[LogEvent]:
        """What was sent since this was asked last."""
        return [eventFromJSON(said.event) for said in self.transport.sent()]

    def test_lines(self) -> None:
        """Each event is sent with its level, logger and fields; an object in it as its text."""
        self.log.debug("it is {size} of {what}", size=1, what=Transport)
        self.log.error("two\nlines")
        first, second = self.events()
        self.assertEqual((first["log_level"], first["log_namespace"]), (LogLevel.debug, "echoactor.test"))
        self.assertEqual((formatEvent(first), first["size"]), (f"it is 1 of {Transport}", 1))
        self.assertEqual((second["log_level"], formatEvent(second)), (LogLevel.error, "two\nlines"))

    def test_traceback(self) -> None:
        """A failure comes with its traceback."""
        try:
            raise ValueError("wrong")
        except ValueError:
            self.log.failure("crashed")
        [event] = self.events()
        self.assertEqual((event["log_level"], formatEvent(event)), (LogLevel.critical, "crashed"))
        self.assertRegex(event["log_failure"].getTraceback(), r"(?s)^Traceback .*ValueError: wrong\n$")

    def test_old_events(self) -> None:
        """What is logged in Twisted's old way has no level, and is sent, too."""
        self.observer({"log_format": "old", "log_time": 0.0})
        self.assertEqual([formatEvent(event) for event in self.events()], ["old"])

    def test_slow_parent(self) -> None:
        """While the parent does not read, lines are left out, and counted."""
        self.observer.pauseProducing()
        for _ in range(3):
            self.log.info("lost")
        self.assertEqual(self.transport.sent(), [])
        self.observer.resumeProducing()
        self.log.info("again")
        lines = [formatEvent(event) for event in self.events()]
        self.assertEqual(lines, ["3 lines were left out, as the log is slow", "again"])
        self.observer.resumeProducing()
        self.assertEqual(self.transport.sent(), [])

    def test_is_told_of_a_slow_parent(self) -> None:
        """The pipe knows whom to pause, until the log stops."""
        self.assertIs(self.transport.producer, self.observer)
        stopped = self.observer.stop()
        self.assertIsNone(self.transport.producer)
        self.assertTrue(self.transport.disconnecting)
        self.assertNoResult(stopped)


class OrdersTests(ActorTestCase):
    def test_ends_once(self) -> None:
        """However often a worker is told to drain (also by the loss of its pipe), its reactor stops once."""
        stops: list[None] = []
        self.clock.stop = lambda: stops.append(None)  # type: ignore[attr-defined]
        orders = self.spawn(Orders)
        for _ in range(2):
            orders.send((Drain(), []))
        self.settle()
        self.assertEqual(len(stops), 1)

    def test_errors_are_answers(self) -> None:
        """An order that fails is answered with what is wrong, and the next is carried out."""
        pipe, transport = connected_pipe()
        orders = self.spawn(Orders)
        orders.send(pipe)
        options = ServerOptions(tls_port=0, certificate="/nowhere.pem")
        orders.send((Serve(options, ()), []))
        self.settle()
        self.assertEqual(transport.sent(), [Done("certificate: '/nowhere.pem': No such file or directory")])
        orders.send((Serve(ServerOptions(), ()), []))
        orders.send((Tell(), []))
        self.settle()
        served, told = transport.sent()
        self.assertEqual(served, Done())
        self.assertEqual((told.figures["connections"], told.figures["arrivals"]), (0, 0))

    def test_samples_only_when_watched(self) -> None:
        """What ``/metrics`` wants is counted and sampled when that was ordered, and only then."""
        for is_watched in (False, True):
            system = ClockSystem(self.clock)
            pipe, transport = connected_pipe()
            orders = system.spawn(Orders)
            orders.send(pipe)
            orders.send((Serve(ServerOptions(), (), is_watched=is_watched), []))
            orders.send((Tell(), []))
            system.settle()
            self.assertEqual("snapshot" in transport.sent()[1].figures, is_watched)
            self.assertEqual(bool(system.samplers), is_watched)
            self.assertEqual(ConnectionOpened in system.events, is_watched)
