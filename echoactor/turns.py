"""Turns: who runs when, in the reactor's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .timers import Timers

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["RunQueue", "Runnable", "Sampler", "Turns"]

TURN = 1000
"""Messages handled in one turn of the reactor: half a millisecond of small
ones. More would let sockets and timers wait, fewer would spend the time in the
reactor's own loop."""


LOOK = 64
"""Messages from one look of a sampler to the next; each look takes as long as one."""


class Runnable(Protocol):
    """What stands in the run queue: actors, and waits that are over."""

    def run(self) -> int:
        """Have a turn; returns how many messages that cost."""


class RunQueue(Protocol):
    """Which runnable is next. A deque is one; a simulation brings another."""

    def append(self, runnable: Runnable, /) -> None: ...
    def popleft(self) -> Runnable: ...
    def __len__(self) -> int: ...


class Sampler(Protocol):
    """Looks at the run queue; see :class:`~echoactor.delays.Delays`."""

    def look(self, handled: int, waiting: int, since: float | None) -> None:
        """See how many messages were handled since the last look, and how many actors wait now."""


class Turns:
    """
    A run queue that is drained in turns of the reactor, so many messages each.

    With nothing in it, nothing is scheduled.

    :ivar current: the actor whose step this is.
    :ivar turn_time: when this turn began, in the reactor's seconds.
    :ivar delivers_at_once: whether what the reactor brings may pass by the queue.
    :ivar samplers: look at the run queue now and then, to tell how long one waits in it.
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
        self.samplers: tuple[Sampler, ...] = ()
        self.enqueue = self._enqueue_and_wake
        self._scheduled: IDelayedCall  # the next turn; of it, samplers learn when it was

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
            self._scheduled = self.reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        """Let runnable actors run until none is left or the turn's budget is spent."""
        queue = self._run_queue
        budget = TURN
        self.turn_time = self.reactor.seconds()
        try:
            if self.samplers:
                self._have_sampled_turns(queue, budget)
            else:
                while queue and budget > 0:
                    budget -= queue.popleft().run()
        finally:  # SystemExit and KeyboardInterrupt pass through here
            self.current = None
            self._awake = False
            self.enqueue = self._enqueue_and_wake
            if queue:
                self.wake()
            else:
                self.idle()

    def _have_sampled_turns(self, queue: RunQueue, budget: int) -> None:
        """The same as in ``_turn``, with looks at the queue: soon at first, as one may wake many others."""
        self._look(0, self._scheduled.getTime())
        share = 1
        while queue and budget > 0:
            left = share
            try:
                while queue and left > 0:
                    left -= queue.popleft().run()
            finally:
                self._look(share - left, None)
            budget -= share - left
            share = min(2 * share, LOOK, budget)

    def _look(self, handled: int, since: float | None) -> None:
        waiting = len(self._run_queue)
        for sampler in self.samplers:
            sampler.look(handled, waiting, since)

    def idle(self) -> None:
        """Nothing is left to do for now."""
        self.timers.settle()
