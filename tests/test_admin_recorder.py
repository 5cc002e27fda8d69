"""The last happenings."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address

from echoactor import Actor, ActorFactory, ActorProtocol, Address, ChildSpec, SupervisorSpec
from echoactor.admin.recorder import KEPT, REASONS, VISITS, Recorder
from echoactor.events import (
    ActorCrashed,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    DrainFinished,
    DrainStarted,
    Events,
)

from .support import ActorTestCase, Adder
from .test_admin_tree import connect

PEER = IPv4Address("TCP", "192.0.2.1", 4000)


class Fragile(Actor):
    def receive(self, message: Any) -> None:
        raise ValueError(f"{message}")


class FragileProtocol(ActorProtocol):
    def receive(self, message: Any) -> None:
        raise ValueError(f"{message}")


class RecorderTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.kept = Recorder(self.system)

    def kinds(self, serial: int = 0) -> list[tuple[str, str]]:
        return [(happening.kind, happening.text) for happening in self.kept.since(serial)]

    def crash(self, times: int = 1) -> None:
        for number in range(times):
            self.spawn(Fragile).send(number)
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), times)

    def test_a_restart(self) -> None:
        """A crash and the restart after it are kept, with name and reason, under both addresses."""
        child = ChildSpec(Fragile, id="fragile", name="fragile")
        self.system.start_child(ChildSpec(SupervisorSpec([child]), id="house"))
        self.settle()
        old = self.system.whereis("fragile")
        self.clock.advance(5)
        self.system.send("fragile", "\x1b[1mno")
        self.settle()
        new = self.system.whereis("fragile")
        assert old is not None and new is not None
        self.assertEqual(
            self.kinds(),
            [("crashed", rf"fragile {old}: ValueError: \x1b[1mno"), ("restarted", f"fragile as {new}")],
        )
        [crashed, restarted] = self.kept.since(0)
        self.assertEqual((crashed.actor, restarted.actor), (old.number, new.number))
        self.assertEqual((crashed.time, crashed.serial, restarted.serial), (5.0, 1, 2))
        for address in (old, new):
            who, reason, traceback = self.kept.last_crash(address.number) or ("", "", "")
            self.assertEqual((who, reason), ("fragile", r"ValueError: \x1b[1mno"))
            self.assertIn("in receive", traceback)
        self.assertIsNone(self.kept.last_crash(self.spawn(Adder).number))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_large_reasons(self) -> None:
        """Of a reason so much is kept as is shown, however large a client made it."""
        address = self.spawn(Fragile)
        address.send("x" * 1_000_000)
        self.settle()
        kept = self.kept.last_crash(address.number) or ()
        self.assertLess(sum(map(len, kept)), 4000)
        self.flushLoggedErrors(ValueError)

    def test_who(self) -> None:
        """A crash says who it was: a child's id, a connection's peer, else the class."""
        for name, address in (
            ("first", self.child(Fragile, "first")),
            ("Fragile", self.spawn(Fragile)),
            ("192.0.2.1:4000", self.connection()),
        ):
            address.send("no")
            self.settle()
            self.assertEqual(self.kinds()[0], ("crashed", f"{name} {address}: ValueError: no"))
            self.assertEqual((self.kept.last_crash(address.number) or [""])[0], name)
            self.kept = Recorder(self.system)
        for number in range(300):  # more than a tree shows
            last = self.child(Fragile, f"child {number}")
        last.send("no")
        self.settle()
        self.assertEqual(self.kinds()[0], ("crashed", f"child 299 {last}: ValueError: no"))
        self.kept = Recorder(self.system)
        # An event from elsewhere, in nobody's turn, still is told.
        self.system.events.emit(ActorCrashed(address, "lost", None))
        self.assertEqual(self.kinds(), [("crashed", f"{address}: lost")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 4)

    def child(self, kind: type[Actor], name: str) -> Address:
        """One that a supervisor has started."""
        started = self.system.start_child(ChildSpec(kind, id=name, restart="temporary"))
        self.settle()
        address = self.successResultOf(started)
        assert address is not None
        return address

    def connection(self) -> Address:
        """One that raises what it is sent."""
        factory = ActorFactory(self.system)
        factory.protocol = FragileProtocol
        address: Address = connect(factory, 4000).address
        return address

    def test_visits(self) -> None:
        """Connections that come and go push out no crash, and stand among the others in their order."""
        self.crash()
        self.kept.start()
        address = self.spawn(Adder)
        for _ in range(200):
            self.system.events.emit(ConnectionOpened(address, PEER))
            self.system.events.emit(ConnectionClosed(address, PEER, "normal"))
        self.crash()
        kinds = [kind for kind, _ in self.kinds()]
        self.assertEqual(kinds, ["crashed", *["opened", "closed"] * (VISITS // 2), "crashed"])
        self.assertEqual([one.serial for one in self.kept.since(399)], [400, 401, 402])

    def test_only_while_watched(self) -> None:
        """That connections come and go is kept while somebody watches, and else nobody listens."""
        address = self.spawn(Adder)
        events: Events = self.system.events
        before = dict(events)
        self.kept.start()
        events.emit(ConnectionOpened(address, PEER))
        events.emit(ConnectionClosed(address, PEER, "normal"))
        self.kept.stop()
        events.emit(ConnectionOpened(address, PEER))
        self.assertEqual(dict(events), before)
        self.assertNotIn(ConnectionOpened, events)
        self.assertEqual(
            self.kinds(), [("opened", f"192.0.2.1:4000 is {address}"), ("closed", "192.0.2.1:4000: normal")]
        )

    def test_servers(self) -> None:
        """Refusals and drains are kept from the start."""
        for event in (
            ConnectionRefused(PEER, "too many\n"),
            ConnectionRefused(None, "no trusted proxy"),
            DrainStarted(1200),
            DrainFinished(3),
        ):
            self.system.events.emit(event)
        self.assertEqual(
            self.kinds(),
            [
                ("refused", r"192.0.2.1:4000: too many\n"),
                ("refused", "somebody: no trusted proxy"),
                ("draining", "1,200 connections go on"),
                ("drained", "3 connections aborted"),
            ],
        )

    def test_bounds(self) -> None:
        """A storm of crashes leaves the last ones, and the reasons of some more."""
        self.crash(KEPT + 10)
        happenings = self.kept.since(0)
        self.assertEqual([one.serial for one in happenings], list(range(11, KEPT + 11)))
        self.assertEqual([one.serial for one in self.kept.since(KEPT + 8)], [KEPT + 9, KEPT + 10])
        self.assertEqual(self.kept.since(KEPT + 10), [])
        self.crash(REASONS)
        kept = [number for number in range(2 * REASONS) if self.kept.last_crash(number) is not None]
        last = self.kept.since(0)[-1].actor
        assert last is not None
        self.assertEqual(kept, list(range(last - REASONS + 1, last + 1)))
