"""The figures of a system: plain numbers, counted while it runs and read when somebody looks."""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from .connection import Connection
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

SAMPLED = 256
"""One message in so many is represented by a sample of the delay."""

TICK = 0.25
"""Seconds from one look at the reactor's lag to the next: often enough to see a
stall of that length, and four calls a second that nobody feels."""

DELAYS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Seconds: from a turn with nothing to do to what somebody at the other end complains of."""

LENGTHS = (0, 1, 10, 100, 1_000, 10_000, 100_000)
"""Messages in a mailbox: none, the one that is on its way, and the sizes of a problem."""

REFUSALS = frozenset(
    (
        "handshake timeout",
        "its address is denied",
        "its address is not allowed",
        "it is no trusted proxy",
        "the server stops",
        "too many connections",
        "too many connections of its address",
    )
)
"""Reasons that are told apart. The others are about headers and quote what strangers
send; a label of each would be as many time series as they like."""


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


class _Probe:
    """
    Stands in the run queue as an actor does that has got a message, and takes the time until its turn.

    So no message is looked at, and no clock is read for one.
    """

    __slots__ = ("_figures", "_messages", "_since")

    def __init__(self, figures: Figures, messages: int) -> None:
        self._figures = figures
        self._messages = messages
        self._since = figures.system.reactor.seconds()

    def run(self) -> int:
        """Its turn has come."""
        figures = self._figures
        figures.delay.add(max(0.0, figures.system.reactor.seconds() - self._since), self._messages)
        return 1


class Figures:
    """
    What a system has done since this was made, and what it does.

    :param system: whose figures they are.
    :ivar delay: seconds that messages wait for the turn of their actor.
    :ivar lag: seconds by which the reactor's timed calls are late.
    """

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.delay = Histogram(DELAYS)
        self.lag = Histogram(DELAYS)
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._sampled = system.handled_in_turns
        self._tick: IDelayedCall | None = None
        subscribe = system.events.subscribe
        self._subscriptions = [
            subscribe(ActorSpawned, self._counter("spawned")),
            subscribe(ActorCrashed, self._counter("crashed")),
            subscribe(ActorRestarted, self._counter("restarted")),
            subscribe(ConnectionOpened, self._counter("accepted")),
            subscribe(ConnectionClosed, self._closed),
            subscribe(ConnectionRefused, self._was_refused),
        ]

    def start(self) -> None:
        """Begin to sample the delay and the lag."""
        if self._tick is None:
            self.system.sampler = self._sample
            self._wait()

    def stop(self) -> None:
        """Sample no more."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = self.system.sampler = None

    def close(self) -> None:
        """Count no more."""
        self.stop()
        for unsubscribe in self._subscriptions:
            unsubscribe()

    def snapshot(self) -> dict[str, Any]:
        """
        All figures, now.

        :returns: numbers, texts, lists and dicts of these alone, so that a process can send it to another.
        """
        system, counts = self.system, self._counts
        mailbox = Histogram(LENGTHS)
        empty = connections = 0
        received, sent = counts["bytes_in"], counts["bytes_out"]
        messages_in, messages_out = counts["messages_in"], counts["messages_out"]
        for cell in system.cells():
            if cell.arrived is None and cell.backlog is None:
                empty += 1
            else:
                mailbox.add(cell.count_unread())
            actor = cell.actor
            if isinstance(actor, Connection):
                connections += 1
                received += actor.bytes_in
                sent += actor.bytes_out
                messages_in += actor.messages_in
                messages_out += actor.messages_out
        mailbox.add(0, empty)
        return {
            "connections": {
                "open": connections,
                "limit": sum(server.max_connections for server in system.servers),
                "accepted": counts["accepted"],
                "refused": dict(self._refused),
            },
            "bytes": {"in": received, "out": sent},
            "messages": {"in": messages_in, "out": messages_out},
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

    def _counter(self, name: str) -> Callable[[object], None]:
        def count(_: object) -> None:
            self._counts[name] += 1

        return count

    def _closed(self, event: ConnectionClosed) -> None:
        counts = self._counts
        counts["bytes_in"] += event.bytes_in
        counts["bytes_out"] += event.bytes_out
        counts["messages_in"] += event.messages_in
        counts["messages_out"] += event.messages_out

    def _was_refused(self, event: ConnectionRefused) -> None:
        self._refused[event.reason if event.reason in REFUSALS else "bad header"] += 1

    def _sample(self) -> None:
        """
        A turn was scheduled: now and then, let a probe wait for it, behind what waits already.

        It stands for the messages that were handled in turns since the last one.
        """
        due = (self.system.handled_in_turns - self._sampled) // SAMPLED
        if due > 0:
            self._sampled += due * SAMPLED
            self.system.enqueue(_Probe(self, due))

    def _wait(self) -> None:
        due = self.system.reactor.seconds() + TICK
        self._tick = self.system.reactor.callLater(TICK, self._look, due)

    def _look(self, due: float) -> None:
        self.lag.add(max(0.0, self.system.reactor.seconds() - due))
        # Also where few messages take turns, as in an echo: what would one sent now have to wait?
        self.system.enqueue(_Probe(self, 1))
        self._wait()


def count_descriptors() -> int:
    """How many files and sockets are open; 0 where the system does not tell, as in a chroot."""
    try:
        return len(os.listdir("/dev/fd")) - 1  # without the one that lists them
    except OSError:
        return 0
