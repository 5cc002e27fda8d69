"""The figures of a system: plain numbers, counted while it runs and read when somebody looks."""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from .connection import Connection
from .delays import Delays
from .events import (
    ActorCrashed,
    ActorRestarted,
    ActorSpawned,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
)
from .system import ActorSystem

__all__ = ["DELAYS", "LENGTHS", "REFUSALS", "Figures", "Histogram"]

TICK = 0.25
"""Seconds from one look at the reactor's lag to the next: often enough to see a
stall of that length, and four calls a second that nobody feels."""

DELAYS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Seconds: from a turn with nothing to do to what somebody at the other end complains of."""

LENGTHS = (0, 1, 10, 100, 1_000, 10_000, 100_000)
"""Messages in a mailbox: none, the one that is on its way, and the sizes of a problem."""

REFUSALS = (
    "aborted",
    "bad header",
    "handshake timeout",
    "it is no trusted proxy",
    "its address is denied",
    "its address is not allowed",
    "shutdown timeout",
    "the server stops",
    "too many connections",
    "too many connections of its address",
)
"""Reasons, as far as their first colon, that are told apart: what comes after it quotes what
strangers send, and a label of each would be as many time series as they like."""

OTHER_REFUSALS = "other"

TRAFFIC = ("bytes_in", "bytes_out", "messages_in", "messages_out")
"""What is counted of a connection; both it and the event of its end have these."""


class Histogram:
    """
    How often a value was how large.

    :param bounds: upper ends of the buckets but the last, which has none; rising.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def snapshot(self) -> dict[str, Any]:
        """``bounds``, ``counts`` of each bucket, and the ``sum`` of all values."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.total}


class Figures:
    """
    What a system has done since this was made, and what it does.

    :param system: whose figures they are.
    :ivar delay: seconds that actors wait for their turn, once they have a message.
    :ivar lag: seconds by which the reactor's timed calls are late.
    """

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.delay = Histogram(DELAYS)
        self.lag = Histogram(DELAYS)
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._refused.update(dict.fromkeys(REFUSALS, 0))  # a rate needs a number before the first
        self._delays = Delays(system, self.delay.add)
        self._tick: IDelayedCall | None = None
        self._subscriptions: list[Callable[[], None]] = []
        self._open: dict[int, Connection] = {}
        self._count()

    def start(self) -> None:
        """Begin to sample the delay and the lag; count on, after :meth:`close`."""
        self._count()
        if self._tick is None:
            self._delays.start()
            self._wait()

    def stop(self) -> None:
        """Sample no more."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
            self._delays.stop()

    def close(self) -> None:
        """Count no more."""
        self.stop()
        for unsubscribe in self._subscriptions:
            unsubscribe()
        self._subscriptions = []
        self._counts.update(_traffic_of(self._open.values()))
        self._open = {}

    def traffic(self) -> dict[str, int]:
        """
        What connections have received and sent so far, closed ones included.

        :returns: ``bytes_in``, ``bytes_out``, ``messages_in``, ``messages_out``.
        """
        still_open = _traffic_of(self._open.values())
        return {name: self._counts[name] + still_open[name] for name in TRAFFIC}

    def snapshot(self) -> dict[str, Any]:
        """
        All figures, now.

        :returns: numbers, texts, lists and dicts of these alone, so that a process can send it to another.
        """
        system, counts = self.system, self._counts
        mailbox = Histogram(LENGTHS)
        empty = 0
        for cell in system.cells():
            if cell.arrived is None and cell.backlog is None:
                empty += 1
            else:
                mailbox.add(cell.count_unread())
        mailbox.add(0, empty)
        traffic = self.traffic()
        return {
            "connections": {
                "open": len(self._open),
                "limit": sum(server.max_connections for server in system.servers),
                "accepted": counts["accepted"],
                "refused": dict(self._refused),
            },
            "bytes": {"in": traffic["bytes_in"], "out": traffic["bytes_out"]},
            "messages": {"in": traffic["messages_in"], "out": traffic["messages_out"]},
            "actors": {
                "alive": system.count_actors(),
                "spawned": counts["spawned"],
                "crashed": counts["crashed"],
                "restarted": counts["restarted"],
            },
            "handled": system.count_handled(),
            "dead_letters": system.dead_letters,
            "mailbox": mailbox.snapshot(),
            "delay": self.delay.snapshot(),
            "lag": self.lag.snapshot(),
            "descriptors": {
                "open": count_descriptors(),
                "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            },
        }

    def _count(self) -> None:
        """Listen to the events, and find the connections that are open."""
        if self._subscriptions:
            return
        # From the transport's begin to its end. The actor may end before it, when TLS is still to close, or
        # after it, when it awaits; added up over living actors, a counter would go backwards.
        self._open = {
            cell.address.number: cell.actor
            for cell in self.system.cells()
            if isinstance(cell.actor, Connection) and not cell.actor.transport.is_closed
        }
        self._counts.subtract(_traffic_of(self._open.values()))  # what was done while nobody counted
        subscribe = self.system.events.subscribe
        self._subscriptions = [
            subscribe(ActorSpawned, self._counter("spawned")),
            subscribe(ActorCrashed, self._counter("crashed")),
            subscribe(ActorRestarted, self._counter("restarted")),
            subscribe(ConnectionOpened, self._opened),
            subscribe(ConnectionClosed, self._closed),
            subscribe(ConnectionRefused, self._was_refused),
        ]

    def _counter(self, name: str) -> Callable[[object], None]:
        def count(_: object) -> None:
            self._counts[name] += 1

        return count

    def _opened(self, event: ConnectionOpened) -> None:
        self._counts["accepted"] += 1
        cell = self.system.find(event.address)
        if cell is not None and isinstance(cell.actor, Connection):
            self._open[event.address.number] = cell.actor

    def _closed(self, event: ConnectionClosed) -> None:
        self._open.pop(event.address.number, None)
        for name in TRAFFIC:
            self._counts[name] += getattr(event, name)

    def _was_refused(self, event: ConnectionRefused) -> None:
        reason = event.reason.partition(":")[0]
        self._refused[reason if reason in REFUSALS else OTHER_REFUSALS] += 1

    def _wait(self) -> None:
        due = self.system.reactor.seconds() + TICK
        self._tick = self.system.reactor.callLater(TICK, self._look, due)

    def _look(self, due: float) -> None:
        self.lag.add(max(0.0, self.system.reactor.seconds() - due))
        # Also where few messages take turns, as in an echo: what would one sent now have to wait?
        self._delays.probe()
        self._wait()


def _traffic_of(connections: Iterable[Connection]) -> dict[str, int]:
    """What they have received and sent."""
    # One by one: by their names it takes nearly twice as long, and there may be ten thousand.
    bytes_in = bytes_out = messages_in = messages_out = 0
    for connection in connections:
        bytes_in += connection.bytes_in
        bytes_out += connection.bytes_out
        messages_in += connection.messages_in
        messages_out += connection.messages_out
    return dict(zip(TRAFFIC, (bytes_in, bytes_out, messages_in, messages_out), strict=True))


def count_descriptors() -> int:
    """How many files and sockets are open; 0 where the system does not tell, as in a chroot."""
    try:
        return len(os.listdir("/dev/fd")) - 1  # without the one that lists them
    except OSError:
        return 0
