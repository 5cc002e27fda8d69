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

from .address import Address

__all__ = [
    "ActorCrashed",
    "ActorEnded",
    "ActorRestarted",
    "ActorSpawned",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionReady",
    "ConnectionRefused",
    "DeadLetter",
    "DrainFinished",
    "DrainStarted",
    "Events",
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
    """
    A connection has been accepted, and has become an actor.

    :ivar peer: the client, behind a proxy too; None at the other end of a pipe, as in the events after it.
    """

    address: Address
    peer: IAddress | None


@dataclass(frozen=True, slots=True)
class ConnectionReady:
    """
    The handshake of a connection is done. Without TLS, that is at once; after a ``startTLS``, once more.

    :ivar tls: the version, such as ``"TLSv1.3"``; None without TLS.
    """

    address: Address
    peer: IAddress | None
    tls: str | None


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """
    The transport of a connection is gone; its actor has ended or is about to.

    :ivar reason: the exit reason: ``"normal"`` after a clean close.
    :ivar tls: as in :class:`ConnectionReady`.
    :ivar bytes_in: bytes that the peer sent, without TLS around them.
    :ivar bytes_out: bytes that were written to it, likewise.
    :ivar messages_in: messages that its actor took.
    :ivar messages_out: writes.
    :ivar duration: seconds since it was accepted.
    """

    address: Address
    peer: IAddress | None
    reason: object
    tls: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0
    duration: float = 0.0


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
    """
    A server has stopped listening and serves its open connections on.

    :ivar connections: how many they are.
    """

    connections: int


@dataclass(frozen=True, slots=True)
class DrainFinished:
    """
    A server has no connection any more. One that is started again while it drains tells nothing.

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
