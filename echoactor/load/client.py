"""The load itself: opens connections, lets them send for a while, waits for the last answers, closes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil, inf
from time import perf_counter
from typing import Any

from .connection import Connection
from .figures import Figures, Second
from .opening import NotConnected, Opener
from .options import LoadOptions

__all__ = ["Load", "new_loop"]

TICK = 0.1
"""Seconds from one look at whether all is done to the next."""

GRAIN = 0.0001
"""Seconds that a schedule is exact to: below it, the waking costs more than the sending."""

CLOSING = 1.0
"""Seconds for connections to close; then they are aborted."""


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop where that is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Load:
    """
    Puts load on a server. To be made and run in an event loop of the main thread.

    :param options: what load, on which server.
    :param figures: where what it comes to is collected.
    :param on_open: each is called with the number of connections that are open, when one more is.
    :param on_second: each is called with the figures of a second, when it is over.
    :raises LoadError: there can not be as many connections, or the file with authorities cannot be used.
    """

    def __init__(
        self,
        options: LoadOptions,
        figures: Figures,
        on_open: Sequence[Callable[[int], None]] = (),
        on_second: Sequence[Callable[[Second], None]] = (),
    ) -> None:
        self._options = options
        self._figures = figures
        self._on_second = on_second
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._failed_itself)
        self._lost: set[Connection] = set()
        self._opener = Opener(options, figures, self._lost.add, on_open)
        self._connections = self._opener.connections
        self._interrupted = self._loop.create_future()
        self._next_second = 0.0

    async def run(self) -> None:
        """
        Put it on, for as long as the options say.

        :raises NotConnected: no connection could be made, or an interrupt came before all were.
        """
        try:
            await self._open_unless_interrupted()
            start = perf_counter()
            self._next_second = start + 1
            self._figures.begin(start)
            with self._sending(start):
                await self._watch(start + self._options.duration, self._all_lost)
            await self._wait_for_answers()
        finally:
            await self._close()

    def interrupt(self) -> None:
        """End the sending now; the second time, end the waiting for answers too."""
        if not self._interrupted.done():
            self._interrupted.set_result(None)

    async def _open_unless_interrupted(self) -> None:
        opening = asyncio.ensure_future(self._opener.open())
        await asyncio.wait({opening, self._interrupted}, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            while not opening.done():  # asyncio.wait_for loses one, before Python 3.12
                opening.cancel()
                await asyncio.wait({opening}, timeout=TICK)
            raise NotConnected("interrupted before all connections were open")
        opening.result()

    @contextmanager
    def _sending(self, start: float) -> Iterator[None]:
        if self._options.rate is None:
            for connection in self._connections:
                connection.start()
            yield
            return
        schedule = _Schedule(self._connections, self._options.rate, start, self._options.duration)
        self._loop.add_signal_handler(signal.SIGALRM, schedule.send_due)
        try:
            schedule.send_due()
            yield
        finally:
            # The last may be due, and its signal still to come: it would count nowhere.
            schedule.send_due()
            schedule.stop()
            self._loop.remove_signal_handler(signal.SIGALRM)

    def _all_lost(self) -> bool:
        return len(self._lost) == len(self._connections)

    def _all_answered(self) -> bool:
        return not any(connection.unanswered for connection in self._still_open())

    def _still_open(self) -> list[Connection]:
        return [connection for connection in self._connections if connection not in self._lost]

    async def _watch(self, until: float, done: Callable[[], bool]) -> None:
        """Wait until then, or until it is done, or interrupted; meanwhile, close the books of each second."""
        while (now := perf_counter()) < until and not done() and not self._interrupted.done():
            if now >= self._next_second:
                self._next_second += 1
                self._end_second(now)
            pause = min(TICK, until - now, max(self._next_second - now, 0))
            await asyncio.wait({self._interrupted}, timeout=pause)

    def _end_second(self, now: float) -> None:
        second = self._figures.end_second(now)
        for watcher in self._on_second:
            watcher(second)

    async def _wait_for_answers(self) -> None:
        unsent = {connection: connection.stop() for connection in self._connections}
        # What was due on a lost connection is not for want of time.
        self._figures.unsent = sum(unsent[connection] for connection in self._still_open())
        stopped = perf_counter()
        self._figures.sent(stopped)
        self._interrupted = self._loop.create_future()
        self._next_second = inf  # the waiting counts to the last one
        await self._watch(stopped + self._options.timeout, self._all_answered)
        waited = perf_counter() - stopped
        for connection in self._still_open():
            if connection.unanswered:
                connection.give_up(waited)
        self._figures.end(max(connection.last_answer for connection in self._connections))
        self._end_second(perf_counter())

    async def _close(self) -> None:
        closing = [connection.close() for connection in self._connections]
        if closing:
            await asyncio.wait(closing, timeout=CLOSING)
            for connection in self._connections:
                connection.abort()
            await asyncio.wait(closing, timeout=CLOSING)

    def _failed_itself(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught is an error of this run, and not a traceback among its figures."""
        self._figures.fail("client error", f"{context['message']}: {context.get('exception')!r}")


class _Schedule:
    """
    Sends messages when they are due, each connection in its turn.

    The loop's own timers are exact to a millisecond or so, which would be the
    most of what is measured: SIGALRM is exact to some microseconds, everywhere.
    """

    def __init__(self, connections: list[Connection], rate: float, start: float, duration: float) -> None:
        self._connections = connections
        self._rate = rate
        self._start = start
        self._count = 0
        self._all = ceil(rate * duration)
        for place, connection in enumerate(connections):
            connection.schedule(start + place / rate, len(connections) / rate)

    def send_due(self) -> None:
        """Send what is due by now, and come back when the next is."""
        due = min(int((perf_counter() - self._start) * self._rate) + 1, self._all)
        # Each connection at most once, so that a rate that is too high does not keep the loop in here.
        all = len(self._connections)
        for number in range(max(self._count, due - all), due):
            self._connections[number % all].send_due(number // all + 1)
        self._count = due
        if due < self._all:
            pause = self._start + due / self._rate - perf_counter()
            signal.setitimer(signal.ITIMER_REAL, max(pause, GRAIN))

    def stop(self) -> None:
        """
        Send nothing more, also when the loop has a signal left that came before.

        That one would set the timer again, and without a handler the next signal ends the process.
        """
        self._all = self._count
        signal.setitimer(signal.ITIMER_REAL, 0)
