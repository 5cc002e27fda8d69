"""A request and its reply: OTP's ``GenServer.call``, as a Deferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from .address import Address
from .errors import CalleeExited, CallingSelf, CallTimeout
from .messages import Call
from .signals import ties_of
from .timers import Timer, check_seconds

if TYPE_CHECKING:
    from .system import ActorSystem

__all__ = ["Reply", "start_call"]


class Reply:
    """
    How a callee answers: ``reply(value)``, once, now or later, here or elsewhere.

    A second reply and one that comes too late are dropped.
    """

    __slots__ = ("_call",)

    def __init__(self, call: _PendingCall) -> None:
        self._call = call

    def __call__(self, value: object) -> None:
        """
        Answer.

        :raises TypeError: ``value`` is a Deferred; reply when it has fired.
        """
        if isinstance(value, Deferred):
            raise TypeError(f"reply with a value, not with {value!r}; reply when it has fired")
        self._call.settle(value)

    def __repr__(self) -> str:
        return f"<reply to a call of {self._call.callee}>"


class _PendingCall:
    """
    A call until it ends, whichever comes first: reply, exit of the callee, or timeout.

    Its Deferred fires when the call has its turn on the run queue: no actor
    is current then, and nobody runs inside whoever replied.
    """

    __slots__ = ("_deferred", "_number", "_outcome", "_pending", "_system", "_timer", "callee")

    def __init__(self, system: ActorSystem, callee: Address) -> None:
        self._system = system
        self.callee = callee
        self._number = system.next_number()
        self._pending = True
        self._timer: Timer | None = None
        self._outcome: object = None
        self._deferred: Deferred[Any] = Deferred(self._cancelled)

    def start(self, request: object, timeout: float | None) -> Deferred[Any]:
        callee = self._system.find(self.callee)
        if callee is None:
            self._callee_ended("noproc")
        else:
            ties_of(callee).watchers[self._number] = self._callee_ended
            if timeout is not None:
                error = CallTimeout(self.callee, timeout)
                self._timer = self._system.timers.schedule(timeout, lambda: self.settle(Failure(error)))
            self.callee.send(Call(request, Reply(self)))
        return self._deferred

    def settle(self, outcome: object) -> None:
        """The call has its outcome; any later one is dropped."""
        if self._conclude():
            self._outcome = outcome
            self._system.enqueue(self)

    def run(self) -> int:
        """Have its turn on the run queue."""
        self._system.current = None
        if not self._deferred.called:  # else the caller has cancelled it meanwhile
            self._deferred.callback(self._outcome)
        return 1

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._conclude()

    def _callee_ended(self, reason: object) -> None:
        self.settle(Failure(CalleeExited(self.callee, reason)))

    def _conclude(self) -> bool:
        """Stop waiting for an outcome; False if that happened before."""
        pending, self._pending = self._pending, False
        if pending:
            if self._timer is not None:
                self._timer.cancel()
            callee = self._system.find(self.callee)
            if callee is not None:
                ties_of(callee).watchers.pop(self._number, None)
        return pending


def start_call(system: ActorSystem, callee: Address, request: object, timeout: float | None) -> Deferred[Any]:
    """Do what :meth:`Address.call <echoactor.Address.call>` promises."""
    check_seconds("timeout", timeout)
    if system.current is not None and system.current.address == callee:
        return fail(CallingSelf(callee))
    return _PendingCall(system, callee).start(request, timeout)
