"""Messages that are sent later: OTP's ``send_after`` and ``send_interval``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .address import Address
from .signals import ties_of
from .timers import Timer, is_seconds

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["MessageTimer"]


class MessageTimer:
    """
    What ``address.send_after`` and ``address.send_interval`` return.

    It ends with the receiver, so that no timer outlives what it is for.
    """

    __slots__ = ("_address", "_interval", "_message", "_number", "_system", "_timer")

    def __init__(
        self, system: Runtime, address: Address, message: object, delay: float, repeat: bool
    ) -> None:
        if not is_seconds(delay, positive=repeat):
            option, least = ("interval", "> 0") if repeat else ("delay", ">= 0")
            raise ValueError(f"{option}: {delay!r} is not a number of seconds {least}")
        self._system = system
        self._address = address
        self._message = message
        self._interval = delay if repeat else None
        self._number = system.next_number()
        receiver = system.find(address)
        self._timer: Timer | None = None
        if receiver is not None:  # else it has ended already, and this with it
            ties_of(receiver).watchers[self._number] = self._receiver_ended
            self._timer = system.timers.schedule(delay, self._due)

    def cancel(self) -> float | None:
        """
        Send nothing more; Elixir: ``Process.cancel_timer``.

        :returns: the seconds that were left until the (next) message; None
            when it was sent, or cancelled, or its receiver has ended.
        """
        timer, self._timer = self._timer, None
        if timer is None:
            return None
        self._let_go()
        timer.cancel()
        return max(0.0, timer.time - self._system.reactor.seconds())

    def _due(self) -> None:
        assert self._timer is not None
        if self._interval is None:
            self._timer = None
            self._let_go()
        else:
            # From when it was due, so that lateness does not add up; what was missed altogether is left out.
            late = self._system.reactor.seconds() - self._timer.time
            self._timer = self._system.timers.schedule(self._interval - late % self._interval, self._due)
        self._address.send(self._message)

    def _receiver_ended(self, reason: object) -> None:
        self.cancel()

    def _let_go(self) -> None:
        receiver = self._system.find(self._address)
        if receiver is not None:
            ties_of(receiver).watchers.pop(self._number, None)
