"""Waiting for an actor's reply (OTP's ``GenServer.call``), its start or its end, each as a Deferred."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from . import signals
from .address import Address
from .errors import CalleeExited, CallingSelf, CallTimeout, StartFailed
from .messages import Call
from .timers import Timer, check_seconds

if TYPE_CHECKING:
    from .cell import Cell
    from .runtime import Runtime

__all__ = ["Reply", "after", "start_call", "wait_for_end", "wait_for_start"]


class _Wait:
    """
    A wait until it is over, whichever comes first: what is waited for, the actor's end, or the timeout.

    ``deferred`` fires when the wait has its turn on the run queue: no actor
    is current then, and nobody runs inside whoever ended the wait.
    """

    __slots__ = ("_cell", "_outcome", "_system", "_timeout", "_timer", "address", "deferred")

    def __init__(self, system: Runtime, address: Address, cell: Cell | None, timeout: float | None) -> None:
        self._system = system
        self.address = address
        self._cell = cell  # None when the wait is over
        self._timeout = timeout
        self._timer: Timer | None = None
        self.deferred: Deferred[Any] = Deferred(self._cancelled)
        if cell is None:
            self._outcome = self.outcome_of_end("noproc")
            system.enqueue(self)
        else:
            (cell.ties or signals.ties_of(cell)).watchers[self] = self._ended
            if timeout is not None:
                self._timer = system.timers.schedule(timeout, self._timed_out)

    def outcome_of_end(self, reason: object) -> object:
        """What comes of it when the actor ends first."""
        return Failure(CalleeExited(self.address, reason))

    def outcome_of_timeout(self, timeout: float) -> object:
        """What comes of it when the time is over."""
        return Failure(CallTimeout(self.address, timeout))

    def settle(self, outcome: object) -> None:
        """The wait is over; any later outcome is dropped."""
        if self._conclude():
            self._outcome = outcome
            self._system.enqueue(self)

    def run(self) -> int:
        """Have its turn on the run queue."""
        self._system.current = None
        if not self.deferred.called:  # else it was cancelled meanwhile
            self.deferred.callback(self._outcome)
        return 1

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._conclude()

    def _ended(self, reason: object) -> None:
        self.settle(self.outcome_of_end(reason))

    def _timed_out(self) -> None:
        assert self._timeout is not None
        self.settle(self.outcome_of_timeout(self._timeout))

    def _conclude(self) -> bool:
        """Wait no more; False if that was so before."""
        cell, self._cell = self._cell, None
        if cell is None:
            return False
        if self._timer is not None:
            self._timer.cancel()
        if cell.ties is not None:
            cell.ties.watchers.pop(self, None)
        return True


class Reply(_Wait):
    """
    How a callee answers: ``reply(value)``, once, now or later, here or elsewhere.

    A second reply and one that comes too late are dropped.
    """

    __slots__ = ()

    def __call__(self, value: object) -> None:
        """
        Answer.

        :param value: what the caller gets; a Failure is raised there.
        :raises TypeError: ``value`` is a Deferred; reply when it has fired.
        """
        if hasattr(type(value), "addCallbacks"):  # isinstance takes four times as long: Deferred is an ABC
            raise TypeError(f"reply with a value, not with {value!r}; reply when it has fired")
        self.settle(value)

    def __repr__(self) -> str:
        return f"<reply to a call of {self.address}>"


class _Start(_Wait):
    """Until the actor has started; one that has not in time is killed."""

    __slots__ = ()

    def outcome_of_end(self, reason: object) -> object:
        return Failure(StartFailed(self.address, reason))

    def outcome_of_timeout(self, timeout: float) -> object:
        assert self._cell is not None
        signals.send_exit(self._cell, None, "kill", linked=False)
        return self.outcome_of_end("timeout")

    def started(self) -> None:
        self.settle(self.address)


class _End(_Wait):
    """Until the actor has ended."""

    __slots__ = ()

    def outcome_of_end(self, reason: object) -> object:
        return reason


def after(
    deferred: Deferred[Any], canceller: Callable[[Deferred[None]], None] | None = None
) -> Deferred[None]:
    """Fires when ``deferred`` has; cancelling it leaves that one alone."""
    waiting: Deferred[None] = Deferred(canceller)
    deferred.addCallback(lambda _: None if waiting.called else waiting.callback(None))
    return waiting


def start_call(system: Runtime, callee: Address, request: object, timeout: float | None) -> Deferred[Any]:
    """Do what :meth:`Address.call <echoactor.Address.call>` promises."""
    check_seconds("timeout", timeout)
    cell = system.find(callee)
    if cell is not None and cell is system.current:
        return fail(CallingSelf(callee))
    reply = Reply(system, callee, cell, timeout)
    if cell is not None:
        callee.send(Call(request, reply))
    return reply.deferred


def wait_for_start(system: Runtime, address: Address, timeout: float | None) -> Deferred[Address]:
    """A Deferred of the address of an actor that was just spawned, once it has started."""
    check_seconds("timeout", timeout)
    cell = system.find(address)
    start = _Start(system, address, cell, timeout)
    if cell is not None:
        signals.ties_of(cell).starting = start.started
    return start.deferred


def wait_for_end(system: Runtime, address: Address, timeout: float | None) -> Deferred[Any]:
    """A Deferred of the exit reason of an actor, once it has ended; ``"noproc"`` when it had before."""
    check_seconds("timeout", timeout)
    return _End(system, address, system.find(address), timeout).deferred
