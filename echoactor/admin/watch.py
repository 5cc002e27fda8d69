"""A look at a system once a second, while somebody watches."""

from __future__ import annotations

from time import thread_time, time
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

from ..delays import Delays
from ..figures import Figures
from .recorder import Recorder
from .sample import Sample
from .text import shown
from .tree import rows_of
from .view import View, connections_in, details_of

__all__ = ["Watch", "Watcher"]

PERIOD = 1.0
"""Seconds from one look to the next."""

SHARE = 0.02
"""The share of the reactor's time that looking may take. A look at a million
actors takes a second or two; then the next one has to wait."""

PROBES = 10
"""How often in a second the delay of a delivery is taken."""


class Watcher(Protocol):
    """Somebody who watches."""

    def look(self) -> None:
        """There is something new to see."""


class Watch:
    """
    Looks at a system for all who watch. For nobody, it keeps the last happenings and does nothing else.

    :param figures: of the system that it looks at.
    :param has_others: whether its connections are in other processes, which are not seen.
    :ivar recorder: keeps the happenings.
    """

    def __init__(self, figures: Figures, has_others: bool = False) -> None:
        self.system = system = figures.system
        self._counted = figures
        self._has_others = has_others
        self.recorder = Recorder(system)
        self._began = round(time(), 3)  # tells this system from the one before and the one after
        self._started = system.reactor.seconds()
        self._watchers: dict[Watcher, None] = {}
        self._call: IDelayedCall | None = None
        self._sample: Sample | None = None
        self._figures: dict[str, Any] = {}
        self._sampling = Delays(system, self._record)
        self._delays: list[tuple[float, int]] = []  # seconds, and for how many they stand
        self._totals = (0, 0, 0)
        self._next_look = 0.0
        self._rests_until = 0.0

    def watch(self, watcher: Watcher) -> None:
        """Let ``watcher`` look from now on, and at once."""
        self._watchers[watcher] = None
        if self._call is None:
            self.recorder.start()
            self._sampling.start()
            self._tick()
        elif self.system.reactor.seconds() >= self._rests_until:
            # At once, as somebody has pressed a key; but not for those who come again and again.
            began = thread_time()
            watcher.look()
            self._rests_until = self.system.reactor.seconds() + (thread_time() - began) / SHARE

    def leave(self, watcher: Watcher) -> None:
        """Let it look no more. When it was the last, looking ends soon."""
        self._watchers.pop(watcher, None)

    def stop(self) -> None:
        """Let nobody look any more, until somebody watches again."""
        self._watchers.clear()
        if self._call is not None:
            if self._call.active():
                self._call.cancel()
            self._call = self._sample = None
            self._delays = []
            self._next_look = 0.0
            self._sampling.stop()
            self.recorder.stop()

    def close(self) -> None:
        """Let nobody look, and listen to nothing, any more."""
        self.stop()
        self.recorder.close()

    def see(self, view: View) -> dict[str, Any]:
        """
        What a watcher sees, as of the last look.

        :returns: plain data for JSON: ``system``, ``tree``, ``connections`` and ``actor``.
        """
        sample = self._sample
        assert sample is not None, "who sees must watch"
        return {
            "system": self._figures,
            "tree": rows_of(sample, view.opened, view.shut),
            "connections": connections_in(sample, view),
            "actor": details_of(self.system, sample, self.recorder, view.actor) if view.actor else None,
        }

    def _tick(self) -> None:
        reactor = self.system.reactor
        is_time = reactor.seconds() >= self._next_look
        # Not as soon as the last one leaves: who comes back with another view can see at once.
        if is_time and not self._watchers:
            self.stop()
            return
        self._call = reactor.callLater(1 / PROBES, self._tick)
        if is_time:
            began = thread_time()  # a busy machine's other processes are not the look's fault
            self._look()
            for watcher in list(self._watchers):
                watcher.look()
            # Half a tick less, so that a tick that comes a little early is not missed.
            pause = max(PERIOD, (thread_time() - began) / SHARE) - 0.5 / PROBES
            self._next_look = reactor.seconds() + pause
        self._sampling.probe()

    def _look(self) -> None:
        """Take a new sample, and the figures that go with it."""
        before, self._sample = self._sample, Sample(self.system, self._sample)
        sample, info = self._sample, self.system.info()
        traffic = self._counted.traffic()
        totals = self.system.count_handled(), traffic["bytes_in"], traffic["bytes_out"]
        rates: list[int | None] = [None, None, None]
        if before is not None:
            seconds = max(sample.time - before.time, 1e-3)
            rates = [round((new - old) / seconds) for new, old in zip(totals, self._totals, strict=True)]
        self._totals = totals
        delays, self._delays = sorted(self._delays), []
        self._figures = {
            "name": shown(self.system.label),
            "has_others": self._has_others,
            "began": self._began,
            "started": round(self._started, 2),
            "time": round(sample.time, 2),
            "period": round(sample.time - before.time, 2) if before is not None else PERIOD,
            "actors": info.actors,
            "connections": len(sample.connections),
            "waiting": sample.waiting,
            "runnable": info.runnable,
            "dead_letters": info.dead_letters,
            "messages": rates[0],
            "bytes_in": rates[1],
            "bytes_out": rates[2],
            "delay": [round(_median(delays), 6), round(delays[-1][0], 6)] if delays else None,
            "draining": self.system.is_stopping,
        }

    def _record(self, seconds: float, weight: int) -> None:
        self._delays.append((seconds, weight))


def _median(delays: list[tuple[float, int]]) -> float:
    """Of sorted seconds, each with the number of those for which it stands."""
    half = sum(weight for _, weight in delays) / 2
    for seconds, weight in delays:
        half -= weight
        if half <= 0:
            return seconds
    raise ValueError("a median of nothing")
