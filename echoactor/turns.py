"""Turns: who runs when, in the reactor's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime

from .timers import Timers

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["RunQueue", "Runnable", "Turns"]

TURN = 1000
"""Messages handled in one turn of the reactor: half a millisecond of small
ones. More would let sockets and timers wait, fewer would spend the time in the
reactor's own loop."""


class Runnable(Protocol):
    """What stands in the run queue: actors, and waits that are over."""

    def run(self) -> int:
        """Have a turn; returns how many messages that cost."""


class RunQueue(Protocol):
    """Which runnable is next. A deque is one; a simulation brings another."""

    def append(self, runnable: Runnable, /) -> None: ...
    def popleft(self) -> Runnable: ...
    def __len__(self) -> int: ...


class Turns:
    """
    A run queue that is drained in turns of the reactor, so many messages each.

    With nothing in it, nothing is scheduled.

    :ivar current: the actor whose step this is.
    :ivar turn_time: when this turn began, in the reactor's seconds.
    :ivar delivers_at_once: whether what the reactor brings may pass by the queue.
    :ivar handled_in_turns: messages that took a turn so far; what is delivered at once takes none.
    :ivar sampler: called each time that a turn is scheduled, once for up to a
        thousand messages: the place to measure how long they wait.
    :ivar enqueue: gives something a turn, after those that wait already. It
        is the run queue's own ``append`` while a turn is scheduled or going
        on, which saves every message the question whether one is.
    """

    enqueue: Callable[[Runnable], object]

    def __init__(self, reactor: IReactorTime, run_queue: RunQueue | None) -> None:
        self.reactor = reactor
        self.timers = Timers(reactor)
        self.current: Cell | None = None
        self.turn_time = 0.0
        self.delivers_at_once = run_queue is None
        self._run_queue: RunQueue = deque() if run_queue is None else run_queue
        self._awake = False  # a turn is scheduled, or going on
        self.handled_in_turns = 0
        self.sampler: Callable[[], object] | None = None
        self.enqueue = self._enqueue_and_wake

    def count_runnable(self) -> int:
        """How many have a turn coming."""
        return len(self._run_queue)

    def _enqueue_and_wake(self, runnable: Runnable) -> None:
        self._run_queue.append(runnable)
        self.wake()

    def wake(self) -> None:
        """See that there is a turn."""
        if not self._awake:
            self._awake = self.timers.is_busy = True
            self.enqueue = self._run_queue.append
            self.reactor.callLater(0, self._turn)
            if self.sampler is not None:
                self.sampler()

    def _turn(self) -> None:
        """Let runnable actors run until none is left or the turn's budget is spent."""
        queue = self._run_queue
        budget = TURN
        self.turn_time = self.reactor.seconds()
        try:
            while queue and budget > 0:
                budget -= queue.popleft().run()
        finally:  # SystemExit and KeyboardInterrupt pass through here
            self.current = None
            self._awake = False
            self.handled_in_turns += TURN - budget
            self.enqueue = self._enqueue_and_wake
            if queue:
                self.wake()
            else:
                self.idle()

    def idle(self) -> None:
        """Nothing is left to do for now."""
        self.timers.settle()
