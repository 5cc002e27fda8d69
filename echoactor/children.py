"""What a supervisor knows of its children, and how often it has restarted them."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from .address import Address
from .delayed import MessageTimer
from .specs import BackOff, ChildSpec

__all__ = ["Child", "ChildCounts", "ChildInfo", "RestartLimit", "Retry"]


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


@dataclass(eq=False, slots=True)
class Retry:
    """
    From a supervisor to itself: it is time to start these children again, those that wait for it still.

    :ivar child: whose end or failure it was; the others go along.
    :ivar counts: whether it counts as another restart, as after a start that failed.
    :ivar timer: brings it, when it does not come at once.
    """

    child: Child
    counts: bool
    timer: MessageTimer | None = None


class Child:
    """
    A child as its supervisor knows it.

    :ivar address: None when it does not run.
    :ivar former: where it ran when it ended last by itself, and was known.
    :ivar pending: the restart that it waits for; None when it does not.
    :ivar reason: why it ended last.
    """

    __slots__ = ("_attempts", "_born", "address", "former", "pending", "reason", "restarts", "spec")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.address: Address | None = None
        self.former: Address | None = None
        self.pending: Retry | None = None
        self.reason: object = None
        self.restarts = 0
        self._attempts = 0  # restarts in a row
        self._born: float | None = None

    def has_started(self, now: float) -> None:
        """It runs now."""
        self._born = now

    def next_delay(self, now: float, back_off: BackOff) -> float:
        """How many seconds its next restart has to wait."""
        if self._born is not None and now - self._born >= back_off.longest:
            self._attempts = 0
        self._born = None  # what fails to start has not lived
        self._attempts += 1
        return back_off.delay(self._attempts)

    def tell(self) -> ChildInfo:
        """What others may know."""
        spec = self.spec
        return ChildInfo(spec.id, self.address, self.pending is not None, spec.is_supervisor, self.restarts)


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
