"""Time limits: one heap, and one reactor call for the earliest of them."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from sys import float_info

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Timer", "Timers", "check_seconds", "is_seconds"]


def is_seconds(value: object, *, positive: bool = False) -> bool:
    """
    Whether it is a duration: a number >= 0, finite.

    :param positive: 0 is none.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    # Written so that NaN, which is neither smaller nor larger, is none, nor an integer that no float holds.
    fits = 0 <= value <= float_info.max
    return fits and not (positive and not value)


def check_seconds(option: str, value: float | None) -> None:
    """
    Refuse what is no duration.

    :raises ValueError: ``value`` is neither None nor a number of seconds >= 0;
        the text names ``option``.
    """
    # With what is given mostly first, as every call comes this way.
    if value is None or (type(value) is float and 0.0 <= value < inf) or is_seconds(value):
        return
    raise ValueError(f"{option}: {value!r} is not a number of seconds >= 0 (None means no limit)")


class Timer:
    """Something that happens once, unless cancelled before."""

    __slots__ = ("_function", "_timers", "fired", "time")

    def __init__(self, timers: Timers, time: float, function: Callable[[], None]) -> None:
        self._timers = timers
        self._function: Callable[[], None] | None = function
        self.time = time
        self.fired = False

    def cancel(self) -> None:
        """Let it not happen; nothing changes if it has already."""
        if self._function is not None:
            self._function = None
            self._timers.forget_one()


class Timers:
    """
    Time limits on one reactor.

    Most limits (of calls, of receives) are set and lifted without ever being
    reached. A ``callLater`` each would cost more than the call it guards, so
    a limit is an entry in a heap of our own, and only the earliest entry has
    a ``callLater``.

    :ivar is_busy: whether the reactor's call is kept though no limit is left,
        because another one is likely to come before :meth:`settle`.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.is_busy = False
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._live = 0
        self._wakeup: IDelayedCall | None = None
        self._wakeup_time = 0.0

    def schedule(self, delay: float, function: Callable[[], None]) -> Timer:
        """Call ``function`` after ``delay`` seconds, from the reactor."""
        timer = Timer(self, self._clock.seconds() + delay, function)
        self._count += 1
        self._live += 1
        heappush(self._heap, (timer.time, self._count, timer))
        if self._wakeup is None or timer.time < self._wakeup_time:
            self._arm()
        return timer

    def forget_one(self) -> None:
        """A timer was cancelled. It stays in the heap until it is worth cleaning up."""
        self._live -= 1
        if self._live == 0 and not self.is_busy:
            self.settle()
        # Limits far in the future, set and lifted all the time, would otherwise
        # pile up in the heap until their time comes.
        if len(self._heap) > 64 and self._live < len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2]._function is not None]
            heapify(self._heap)

    def settle(self) -> None:
        """The system is idle: drop the reactor call if no limit is left, so that nothing is scheduled."""
        self.is_busy = False
        if self._live == 0 and self._wakeup is not None:
            self._heap.clear()
            self._arm()

    def _arm(self) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if self._heap:
            self._wakeup_time = self._heap[0][0]
            delay = max(0.0, self._wakeup_time - self._clock.seconds())
            self._wakeup = self._clock.callLater(delay, self._due)

    def _due(self) -> None:
        self._wakeup = None
        now = self._clock.seconds()
        last = self._count  # what is scheduled from here on waits for the reactor, however short its delay
        try:
            while self._heap and self._heap[0][0] <= now and self._heap[0][1] <= last:
                timer = heappop(self._heap)[2]
                function = timer._function
                if function is not None:
                    timer._function = None
                    timer.fired = True
                    self._live -= 1
                    function()
        finally:  # whatever a function raises, the other limits hold
            if self._live == 0:
                self._heap.clear()
            self._arm()
