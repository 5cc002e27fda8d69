"""What a supervisor knows of its children, and how often it has restarted them."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from .address import Address
from .delayed import MessageTimer
from .specs import ChildSpec

__all__ = ["Child", "ChildCounts", "ChildInfo", "RestartLimit"]


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """
    One child, as ``which_children`` tells of it.

    :ivar address: None while it does not run.
    :ivar is_restarting: whether it ended and its restart is still to come.
    :ivar restarts: how often it was restarted.
    """

    id: Hashable
    address: Address | None
    is_restarting: bool
    is_supervisor: bool
    restarts: int


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """
    How many children there are, as OTP's ``count_children`` tells.

    :ivar specs: all, running or not.
    :ivar active: those that run.
    :ivar supervisors: those of all that are supervisors.
    :ivar workers: those that are not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


class Child:
    """
    A child as its supervisor knows it.

    :ivar is_restarting: that it waits for its restart.
    :ivar attempts: restarts in a row, for the back-off.
    :ivar ticket: which retry is the one that waits.
    """

    __slots__ = ("address", "attempts", "born", "is_restarting", "restarts", "retry", "spec", "ticket")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.address: Address | None = None
        self.is_restarting = False
        self.restarts = 0
        self.attempts = self.ticket = 0
        self.born: float | None = None
        self.retry: MessageTimer | None = None

    def tell(self) -> ChildInfo:
        """What others may know."""
        spec = self.spec
        return ChildInfo(spec.id, self.address, self.is_restarting, spec.is_supervisor, self.restarts)


class RestartLimit:
    """
    OTP's restart intensity.

    :param intensity: how many restarts are allowed within ``period`` seconds.
    """

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity = intensity
        self.period = period
        self._times: deque[float] = deque()

    def is_passed(self, now: float) -> bool:
        """Count a restart; whether that is one too many."""
        self._times.append(now)
        while self._times[0] < now - self.period:
            self._times.popleft()
        return len(self._times) > self.intensity
