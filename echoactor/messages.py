"""What the runtime itself sends, and the reasons actors end with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.python.failure import Failure

from .address import Address

__all__ = [
    "Call",
    "Crash",
    "Down",
    "EndOfInput",
    "Exit",
    "Monitor",
    "Shutdown",
    "Timeout",
    "is_error",
    "is_reason",
    "is_same",
]


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The exit reason ``shutdown`` with a detail, OTP's ``{shutdown, Detail}``."""

    detail: object


@dataclass(frozen=True, slots=True)
class Crash:
    """
    The exit reason of an actor that an exception left.

    Made of strings alone, so that it can cross a machine and pins no frames.

    :ivar type: the exception's qualified class name.
    :ivar text: the exception as text.
    :ivar traceback: the traceback as text, for people.
    """

    type: str
    text: str
    traceback: str

    @classmethod
    def of(cls, failure: Failure) -> Crash:
        """The reason that stands for ``failure``."""
        kind = failure.type
        name = f"{kind.__module__}.{kind.__qualname__}" if kind is not None else "unknown"
        return cls(name, failure.getErrorMessage(), failure.getTraceback())

    def __repr__(self) -> str:
        # The traceback belongs in the crash log, not in every line that prints a reason.
        return f"Crash({self.type}: {self.text})"


def is_reason(reason: object, name: str) -> bool:
    """Whether ``reason`` is the string ``name``; safe for reasons whose ``==`` raises or returns no bool."""
    return type(reason) is str and reason == name


def is_same(one: object, other: object) -> bool:
    """Whether two reasons are equal; safe for those whose ``==`` raises or returns no bool."""
    try:
        return one is other or (one == other) is True
    except Exception:
        return False


def is_error(reason: object) -> bool:
    """Whether an end with this reason is one that somebody should look at."""
    # Not isinstance, which would ask the reason for its class: one that raises there would leave the turn.
    return not (is_reason(reason, "normal") or is_reason(reason, "shutdown") or type(reason) is Shutdown)


@dataclass(frozen=True, slots=True)
class Exit:
    """
    An exit signal, as an actor that traps exits receives it.

    :ivar sender: the linked actor that ended, or who sent the signal; None
        when it came from outside any actor.
    :ivar reason: the exit reason.
    """

    sender: Address | None
    reason: object


@dataclass(frozen=True, slots=True)
class Monitor:
    """
    What ``me.monitor(address)`` returns, and ``Down`` carries.

    :ivar address: who is watched.
    :ivar number: tells two monitors of the same actor apart.
    """

    address: Address
    number: int


@dataclass(frozen=True, slots=True)
class Down:
    """
    A monitored actor has ended, or was dead already (reason ``"noproc"``).

    :ivar monitor: what ``me.monitor`` returned.
    :ivar address: who ended.
    :ivar reason: its exit reason.
    """

    monitor: Monitor
    address: Address
    reason: object


class Call:
    """
    A request that wants a reply.

    A plain class, as it is made for every call: a frozen dataclass takes three times as long.

    :ivar request: what was asked for.
    :ivar reply: call it once with the answer, now or later, here or in
        another actor. A reply that comes too late is dropped.
    """

    __match_args__ = ("request", "reply")
    __slots__ = ("reply", "request")

    def __init__(self, request: object, reply: Callable[[object], None]) -> None:
        self.request = request
        self.reply = reply

    def __repr__(self) -> str:
        return f"Call(request={self.request!r}, reply={self.reply!r})"


@dataclass(frozen=True, slots=True)
class Timeout:
    """What ``await me.receive(timeout=…)`` returns when nothing came in time."""


@dataclass(frozen=True, slots=True)
class EndOfInput:
    """The peer of a connection will send nothing more (it may still read)."""
