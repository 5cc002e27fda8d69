"""What happened last, in words, for those who come to look later."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..events import (
    ActorCrashed,
    ActorRestarted,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    DrainFinished,
    DrainStarted,
)
from ..system import ActorSystem
from .text import peer_in_words, reason_in_words, shown

__all__ = ["Happening", "Recorder"]

KEPT = 100
"""Happenings that are kept: what fits a page, and what a storm of errors needs to be recognised."""

REASONS = 500
"""Actors whose last crash is kept, with its traceback: a megabyte or two."""


@dataclass(frozen=True, slots=True)
class Happening:
    """
    Something that happened.

    :ivar serial: one more than the one before.
    :ivar time: when, in the reactor's seconds.
    :ivar kind: one word for it: ``"crashed"``, ``"restarted"``, ``"opened"``, ...
    :ivar text: what there is to say.
    :ivar actor: the number of the actor it is about.
    """

    serial: int
    time: float
    kind: str
    text: str
    actor: int | None = None


class Recorder:
    """
    Keeps the last happenings of a system.

    Crashes, restarts, refusals and drains are kept from the start. That
    connections come and go is kept while somebody watches: those may be
    thousands a second.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._last: deque[Happening] = deque(maxlen=KEPT)
        self._serial = 0
        self._reasons: OrderedDict[int, object] = OrderedDict()
        self._subscribe(
            {
                ActorCrashed: self._crashed,
                ActorRestarted: self._restarted,
                ConnectionRefused: self._refused,
                DrainStarted: lambda event: self._add("draining", f"{event.connections:,} connections go on"),
                DrainFinished: lambda event: self._add("drained", f"{event.aborted:,} connections aborted"),
            }
        )
        self._watching: list[Callable[[], None]] = []

    def start(self) -> None:
        """Somebody watches."""
        self._watching = self._subscribe({ConnectionOpened: self._opened, ConnectionClosed: self._closed})

    def stop(self) -> None:
        """Nobody watches any more."""
        for unsubscribe in self._watching:
            unsubscribe()
        self._watching = []

    def since(self, serial: int) -> list[Happening]:
        """What has happened after the one of this serial number, and is kept."""
        missing = min(self._serial - serial, len(self._last))
        return [self._last[place] for place in range(-missing, 0)]

    def last_crash(self, number: int) -> object:
        """Why an actor has crashed, or had crashed before it was restarted; None if it has not."""
        return self._reasons.get(number)

    def _subscribe(self, listeners: dict[type, Callable[[Any], None]]) -> list[Callable[[], None]]:
        subscribe = self._system.events.subscribe
        return [subscribe(kind, listener) for kind, listener in listeners.items()]

    def _add(self, kind: str, text: str, actor: int | None = None) -> None:
        self._serial += 1
        time = self._system.reactor.seconds()
        self._last.append(Happening(self._serial, time, kind, text, actor))

    def _keep_reason(self, number: int, reason: object) -> None:
        self._reasons[number] = reason
        if len(self._reasons) > REASONS:
            self._reasons.popitem(last=False)

    def _crashed(self, event: ActorCrashed) -> None:
        self._keep_reason(event.address.number, event.reason)
        self._add(
            "crashed", f"{shown(str(event.address))}: {reason_in_words(event.reason)}", event.address.number
        )

    def _restarted(self, event: ActorRestarted) -> None:
        self._keep_reason(event.address.number, event.reason)
        self._add("restarted", f"{shown(event.id)} as {shown(str(event.address))}", event.address.number)

    def _opened(self, event: ConnectionOpened) -> None:
        peer = peer_in_words(event.peer)
        self._add("opened", f"{peer} is {shown(str(event.address))}", event.address.number)

    def _closed(self, event: ConnectionClosed) -> None:
        peer = peer_in_words(event.peer)
        self._add("closed", f"{peer}: {reason_in_words(event.reason)}", event.address.number)

    def _refused(self, event: ConnectionRefused) -> None:
        peer = peer_in_words(event.peer) if event.peer is not None else "somebody"
        self._add("refused", f"{peer}: {shown(event.reason)}")
