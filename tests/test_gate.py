"""Who may come in."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.gate import Gate

ONE, TWO = IPv4Address("TCP", "192.0.2.1", 1), IPv4Address("TCP", "192.0.2.2", 1)
MAPPED = IPv6Address("TCP", "::ffff:192.0.2.1", 2)
LOCAL = UNIXAddress(b"/run/echo")


def gate(**options: Any) -> Gate:
    return Gate(ServerOptions(**options))


class GateTests(SynchronousTestCase):
    def test_limit(self) -> None:
        """Up to the limit connections come in; one that leaves makes room."""
        it = gate(max_connections=2)
        self.assertEqual([it.admit(ONE), it.admit(TWO), it.room], [None, None, 0])
        self.assertEqual(it.admit(ONE), "too many connections")
        it.leave(ONE)
        self.assertEqual((it.admit(TWO), it.count, it.arrivals), (None, 2, 4))

    def test_watchers(self) -> None:
        """Watchers hear when the limit is reached and when there is room again, and of nothing else."""
        it, heard = gate(max_connections=2), []
        it.watch(lambda: heard.append(it.room))
        for action in (it.admit, it.admit, it.admit, it.leave, it.leave):
            action(ONE)
        self.assertEqual(heard, [0, 1])
        it.max_connections = 0
        it.max_connections = 3
        self.assertEqual(heard, [0, 1, 0, 3])

    def test_lowered(self) -> None:
        """With a lower limit nobody comes in until enough have left."""
        it = gate(max_connections=3)
        for _ in range(3):
            it.admit(ONE)
        it.max_connections = 1
        self.assertEqual((it.count, it.room), (3, 0))
        it.leave(ONE)
        it.leave(ONE)
        self.assertEqual(it.admit(ONE), "too many connections")
        it.leave(ONE)
        self.assertIsNone(it.admit(ONE))

    def test_per_address(self) -> None:
        """One client's connections are counted over both of its names; others are not concerned."""
        it = gate(max_connections_per_address=2)
        self.assertEqual([it.admit(ONE), it.admit(MAPPED)], [None, None])
        self.assertEqual(it.admit(MAPPED), "too many connections of its address")
        self.assertEqual([it.admit(TWO), it.admit(LOCAL), it.admit(LOCAL), it.admit(LOCAL)], [None] * 4)
        it.leave(ONE)
        self.assertIsNone(it.admit(ONE))
        for peer in (ONE, MAPPED, TWO, LOCAL, LOCAL, LOCAL):
            it.leave(peer)
        self.assertEqual((it.count, it._by_host), (0, {}))

    def test_allow_and_deny(self) -> None:
        """Who is denied stays out, and with a list of the allowed, all others do, too."""
        both = gate(allow=["192.0.2.0/24"], deny=["192.0.2.1"])
        self.assertEqual([both.admit(ONE), both.admit(MAPPED)], ["its address is denied"] * 2)
        self.assertIsNone(both.admit(TWO))
        self.assertEqual(both.admit(IPv4Address("TCP", "198.51.100.1", 1)), "its address is not allowed")
        self.assertIsNone(both.admit(LOCAL))
        self.assertIsNone(both.admit(None))
        self.assertIsNone(gate(deny=["198.51.100.0/24"]).admit(ONE))
        self.assertEqual(both.count, 3)

    def test_closed(self) -> None:
        """Through a closed gate nobody comes in."""
        it = gate()
        it.is_open = False
        self.assertEqual((it.admit(ONE), it.count), ("the server stops", 0))

    def test_waiting_no_more(self) -> None:
        """Who cancels the wait is forgotten."""
        it = gate()
        it.admit(None)
        waiting = it.wait_for(0)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(it._waiting, [])

    def test_cancelled_by_another(self) -> None:
        """Who hears that it is so may cancel who waits for the same."""
        it = gate()
        it.admit(None)
        first, second = it.wait_for(0), it.wait_for(0)
        first.addCallback(lambda _: second.cancel())
        it.leave(None)
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_wait_for(self) -> None:
        """One can wait until no more than so many are left; at once, if that is so."""
        it = gate()
        self.successResultOf(it.wait_for(0))
        for _ in range(3):
            it.admit(ONE)
        one, none = it.wait_for(1), it.wait_for(0)
        it.leave(ONE)
        self.assertNoResult(one)
        it.leave(ONE)
        self.successResultOf(one)
        self.assertNoResult(none)
        it.leave(ONE)
        self.successResultOf(none)
