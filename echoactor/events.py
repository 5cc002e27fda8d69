"""
The named events of the runtime, and who listens to them.

Code that has something to tell writes ``if ActorSpawned in events:
events.emit(ActorSpawned(…))``: an event that nobody listens to is never made.
Nothing is emitted for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr

from .address import Address

__all__ = [
    "ActorCrashed",
    "ActorEnded",
    "ActorRestarted",
    "ActorSpawned",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "DeadLetter",
    "DrainFinished",
    "DrainStarted",
    "Events",
    "log_connections",
    "log_crash",
    "log_restart",
]

_log = Logger()


@dataclass(frozen=True, slots=True)
class ActorSpawned:
    """An actor has got its address; its first step is still to come."""

    address: Address


@dataclass(frozen=True, slots=True)
class ActorEnded:
    """An actor has ended, for whatever reason."""

    address: Address
    reason: object


@dataclass(frozen=True, slots=True)
class ActorCrashed:
    """
    An actor has ended by itself with a reason other than normal or shutdown.

    :ivar failure: the exception with its frames; None when the actor called
        ``exit`` with an unusual reason. It is here and in no exit reason,
        because it keeps the frames alive.
    """

    address: Address
    reason: object
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class ActorRestarted:
    """
    A supervisor has started a child again.

    :ivar address: the new one.
    :ivar id: the child's id in its spec.
    :ivar reason: why it had ended.
    """

    address: Address
    supervisor: Address
    id: object
    reason: object


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody will read: its receiver is dead, has no room, or is a name that nobody has."""

    address: Address | str
    message: object


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A connection has become an actor."""

    address: Address
    peer: IAddress


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The transport of a connection is gone; its actor has ended or is about to."""

    address: Address
    peer: IAddress
    reason: object


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """
    A connection may not come in, and was closed.

    :ivar peer: None if it is not known.
    :ivar reason: says why, in words.
    """

    peer: IAddress | None
    reason: str


@dataclass(frozen=True, slots=True)
class DrainStarted:
    """A server has stopped listening and serves its open connections on."""

    connections: int


@dataclass(frozen=True, slots=True)
class DrainFinished:
    """
    A server has no connection any more.

    :ivar aborted: how many had to be aborted, when the time was over.
    """

    aborted: int


Event = TypeVar("Event")


class Events(dict[type, tuple[Callable[[Any], None], ...]]):
    """
    Who listens to which event. ``kind in events`` says whether anybody does.

    A dict, so that the question costs next to nothing.
    """

    def subscribe(self, kind: type[Event], listener: Callable[[Event], None]) -> Callable[[], None]:
        """
        Call ``listener`` with each event of the class ``kind`` from now on.

        It is called where the event happens: it should be quick, and what it
        raises is logged and goes no further.

        :returns: a function that ends the subscription.
        """
        self[kind] = (*self.get(kind, ()), listener)
        subscribed = True

        def unsubscribe() -> None:
            nonlocal subscribed
            if subscribed:
                subscribed = False
                left = list(self.pop(kind))
                left.remove(listener)
                if left:
                    self[kind] = tuple(left)

        return unsubscribe

    def emit(self, event: object) -> None:
        """Tell the listeners of this event's class."""
        for listener in self.get(type(event), ()):
            try:
                listener(event)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                _log.failure("the listener {listener} failed on {event}", listener=listener, event=event)


# What is logged is text, because a JSON log drops every other object.


def log_crash(event: ActorCrashed) -> None:
    """Log a crash; every system subscribes this one from the start."""
    if event.failure is not None:
        _log.failure("actor {address} crashed", event.failure, address=str(event.address))
    else:
        _log.error(
            "actor {address} exited: {reason}", address=str(event.address), reason=safe_repr(event.reason)
        )


def log_restart(event: ActorRestarted) -> None:
    """Log a restart; every system subscribes this one, too."""
    _log.info(
        "supervisor {supervisor} has restarted {child} as {address}; it had ended with {reason}",
        supervisor=str(event.supervisor),
        child=safe_repr(event.id),
        address=str(event.address),
        reason=safe_repr(event.reason),
    )


REFUSALS = 10
"""Log lines about refused connections in a second. Who is refused may come again
thousands of times a second, and would fill the disk."""


def log_connections(events: Events, seconds: Callable[[], float]) -> None:
    """
    Log connections that come and go, at debug level, and those that are refused.

    :param seconds: a clock, such as ``reactor.seconds``.
    """
    second = 0.0
    refusals = 0

    def opened(event: ConnectionOpened) -> None:
        _log.debug("connection {address} from {peer}", address=str(event.address), peer=str(event.peer))

    def closed(event: ConnectionClosed) -> None:
        _log.debug(
            "connection {address} closed: {reason}",
            address=str(event.address),
            reason=safe_repr(event.reason),
        )

    def refused(event: ConnectionRefused) -> None:
        nonlocal second, refusals
        now = seconds()
        if now - second >= 1:
            if refusals > REFUSALS:
                _log.info("{count} more connections refused", count=refusals - REFUSALS)
            second, refusals = now, 0
        refusals += 1
        if refusals <= REFUSALS:
            _log.info("connection from {peer} refused: {reason}", peer=str(event.peer), reason=event.reason)

    events.subscribe(ConnectionOpened, opened)
    events.subscribe(ConnectionClosed, closed)
    events.subscribe(ConnectionRefused, refused)
