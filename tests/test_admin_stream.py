"""What those who watch are sent."""

from __future__ import annotations

import json
import os
import resource
import time
from http.client import HTTPConnection
from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from echoactor import ChildSpec, EchoFactory
from echoactor.admin import watch
from echoactor.admin.access import Access
from echoactor.admin.page import page_parts
from echoactor.admin.recorder import KEPT
from echoactor.admin.site import STALL, STREAMS, Site
from echoactor.admin.stream import BYTES_PER_SECOND, LIFETIME
from echoactor.admin.watch import Watch
from echoactor.events import ConnectionRefused
from echoactor.figures import Figures
from echoactor.protocol import ConnectionSupervisor

from .support import ActorTestCase, Adder
from .test_admin_tree import connect
from .test_command import NODAEMON, CommandTestCase

MANY = 10_000


class Wire(StringTransport):
    """A client's connection."""

    channel: Any
    aborted = False

    def abortConnection(self) -> None:
        """It is closed."""
        if not self.aborted:
            self.aborted = True
            self.channel.connectionLost(Failure(ConnectionAborted()))


class StreamTestCase(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        root = Resource()
        self.patch(watch, "thread_time", lambda: 0.0)  # a collection of garbage in a look makes it a slow one
        self.watch = Watch(Figures(self.system))
        for path, part in page_parts(self.watch).items():
            root.putChild(path, part)
        self.site = Site(root, Access(None, []), self.system.timers, self.clock)

    def open(self, path: str = "/events", method: str = "GET") -> Wire:
        """A client that asks for this."""
        channel = self.site.buildProtocol(None)
        wire = Wire()
        wire.channel = channel
        channel.makeConnection(wire)
        self.addCleanup(wire.abortConnection)
        channel.dataReceived(f"{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return wire

    def events(self, wire: Wire) -> list[dict[str, Any]]:
        """What it was sent since this was asked last."""
        lines = wire.value().splitlines()
        wire.clear()
        return [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]

    def look(self) -> None:
        """Let a second pass."""
        for _ in range(10):
            self.pass_time(0.1)


class StreamTests(StreamTestCase):
    def test_first(self) -> None:
        """A stream begins with all that there is to see."""
        self.spawn(Adder)
        wire = self.open("/events?actor=a1")
        self.assertIn(b"Content-Type: text/event-stream; charset=utf-8\r\n", wire.value())
        [first] = self.events(wire)
        self.assertEqual(sorted(first), ["actor", "connections", "system", "tree"])
        self.assertEqual((first["system"]["actors"], first["actor"]["kind"]), (1, "Adder"))
        wire = self.open()
        [second] = self.events(wire)
        self.assertIsNone(second["actor"])

    def test_lifetime(self) -> None:
        """A stream ends after a while, also for who reads nothing, and says that another is to be begun."""
        wire = self.open()
        self.pass_time(LIFETIME - 1)
        self.assertFalse(wire.disconnecting)
        self.events(wire)
        self.pass_time(2)
        self.assertTrue(wire.value().endswith(b"event: again\ndata: {}\n\n"), wire.value())
        self.assertTrue(wire.disconnecting)

    def test_only_what_is_new(self) -> None:
        """Later it is sent what has changed: with nothing going on, figures alone."""
        address = self.spawn(Adder)
        wire = self.open()
        self.look()
        self.events(wire)
        self.look()
        self.look()
        quiet = self.events(wire)
        self.assertGreaterEqual(len(quiet), 2)
        self.assertEqual({key for event in quiet for key in event}, {"system"})
        address.send(1)
        self.look()
        self.look()
        self.assertEqual(list(self.events(wire)[0]), ["system", "tree"])

    def test_happenings(self) -> None:
        """Each happening is sent once; of a storm, the last ones."""
        for number in range(5):
            self.system.events.emit(ConnectionRefused(None, f"{number}"))
        wire = self.open()
        [event] = self.events(wire)
        self.assertEqual([text for _, _, _, text, _ in event["events"]], [f"somebody: {n}" for n in range(5)])
        for number in range(1000):
            self.system.events.emit(ConnectionRefused(None, f"{number}"))
        self.look()
        self.look()
        sent = [one for event in self.events(wire) for one in event.get("events", ())]
        self.assertEqual([one[0] for one in sent], list(range(1006 - KEPT, 1006)))
        [event] = self.events(self.open("/events?since=1003"))
        self.assertEqual([one[0] for one in event["events"]], [1004, 1005])

    def test_slow(self) -> None:
        """A watcher that does not read is sent nothing, and is cut off after a while; others go on."""
        slow, other = self.open(), self.open()
        slow.channel.pauseProducing()
        slow.clear()
        for _ in range(5):
            self.look()
        self.assertEqual(slow.value(), b"")
        self.assertGreater(len(self.events(other)), 3)
        slow.channel.resumeProducing()
        self.look()
        self.look()
        self.assertGreater(len(self.events(slow)), 0)
        slow.channel.pauseProducing()
        self.pass_time(STALL + 1)
        self.assertTrue(slow.aborted)
        self.assertFalse(other.aborted)

    def test_all_leave(self) -> None:
        """Soon after the last one has left, nothing is left that runs."""
        wires = [self.open(), self.open()]
        for wire in wires:
            self.assertTrue(self.clock.calls)
            wire.abortConnection()
        self.look()
        self.assertEqual(self.clock.calls, [])

    def test_another_view(self) -> None:
        """Who comes back with another view sees at once, and costs no look of its own."""
        self.spawn(Adder)
        wire = self.open()
        [first] = self.events(wire)
        self.pass_time(0.3)
        wire.abortConnection()
        [second] = self.events(self.open("/events?actor=a1"))
        self.assertEqual(second["system"], first["system"])
        self.assertEqual(second["actor"]["kind"], "Adder")

    def test_too_many(self) -> None:
        """There is an end of how many watch."""
        for _ in range(STREAMS):
            self.open()
        wire = self.open()
        self.assertTrue(wire.value().startswith(b"HTTP/1.0 503 "), wire.value())
        self.assertTrue(wire.value().endswith(b"as many watch as can; one has to leave first\n"))

    def test_head(self) -> None:
        """HEAD tells what it is, and begins no stream."""
        wire = self.open(method="HEAD")
        self.assertIn(b"text/event-stream", wire.value())
        self.assertEqual(len(self.site.streams), 0)

    def test_files(self) -> None:
        """The page and its files are there, as what they are."""
        for path, kind in (
            ("/", b"text/html; charset=utf-8"),
            ("/page.css", b"text/css; charset=utf-8"),
            ("/page.js", b"text/javascript; charset=utf-8"),
            ("/icon.svg", b"image/svg+xml"),
        ):
            wire = self.open(path)
            self.assertTrue(wire.value().startswith(b"HTTP/1.0 200 "))
            self.assertIn(b"Content-Type: " + kind + b"\r\n", wire.value())

    def test_pace(self) -> None:
        """However much changes, no more is sent than so many bytes a second."""
        factory = EchoFactory(self.system)
        self.system.start_child(ChildSpec(ConnectionSupervisor, factory, id="c" * 500))
        self.settle()
        protocols = [connect(factory, port) for port in range(1000, 1300)]
        self.settle()
        names = ",".join(f"a{number}" for number in range(10)) + ",m2"
        wires = [self.open(f"/events?rows=100&open={names}&search={'1' if end else ''}") for end in range(2)]
        for wire in wires:
            wire.clear()
        seconds = 60
        for _ in range(seconds):
            for protocol in protocols:
                protocol.dataReceived(b"x")
            self.look()
        for wire in wires:
            self.assertGreater(len(wire.value()), seconds * BYTES_PER_SECOND / 4)
            self.assertLess(len(wire.value()), (seconds + 2) * BYTES_PER_SECOND)


class ManyTests(CommandTestCase):
    def test_many_connections(self) -> None:
        """With 10,000 idle connections a stream takes little of the network, and of the server's time."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < MANY + 500:
            self.skipTest(f"{MANY + 500} descriptors are needed, and {hard} may be had")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        options = ("--port", "0", "--admin", "0", "--max-connections", str(MANY + 10))
        with self.serving(*NODAEMON, "echoactor", *options) as child:
            admin = self.wait_for(lambda: len(self.ports()) == 2 and self.ports()[-1], "the page's port")
            for number in range(1, MANY + 1):
                client = self.connect()
                if number % 500 == 0:
                    self.check_one(client)  # all are in: who comes to a full queue is heard a second later
            web = HTTPConnection("127.0.0.1", admin, timeout=20)
            self.addCleanup(web.close)
            web.request("GET", "/events?rows=30")
            response = web.getresponse()
            seen: dict[str, Any] = {}

            def read() -> int:
                line = response.readline()
                if line.startswith(b"data:"):
                    seen.update(json.loads(line[5:]))
                return len(line)

            self.wait_for(lambda: read() and seen, "the first view")
            self.assertEqual((seen["system"]["connections"], seen["connections"]["found"]), (MANY, MANY))
            self.assertEqual(len(seen["connections"]["rows"]), 30)
            began, used = time.monotonic(), cpu_seconds(child.pid)
            size, seconds = 0, 0.0
            while seconds < 5:
                size += read()
                seconds = time.monotonic() - began
            share = (cpu_seconds(child.pid) - used) / seconds
            self.assertLess(size / seconds, BYTES_PER_SECOND)
            self.assertLess(share, 0.05)


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process has used (proc(5))."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
