"""What happened last, in words, for those who come to look later."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import merge
from typing import Any

from ..address import Address
from ..events import (
    ActorCrashed,
    ActorRestarted,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    DrainFinished,
    DrainStarted,
)
from ..messages import Crash
from ..supervising import child_of
from ..system import ActorSystem
from ..text import peer_in_words, printable
from .text import reason_in_words, shown
from .tree import Node

__all__ = ["Happening", "Recorder"]

KEPT = 100
"""Happenings that are kept: what fits a page, and what a storm of errors needs to be recognised."""

VISITS = 30
"""Connections that came or went, of those kept: with a place of their own, because
a busy minute of them would push out the one crash that somebody looks for."""

REASONS = 500
"""Actors whose last crash is kept, with its traceback: a megabyte or two."""

REASON = 300
"""Letters of a reason that are kept."""

TRACEBACK = 3000
"""Letters of a traceback that are kept: its end, which says where it was."""


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
        self._visits: deque[Happening] = deque(maxlen=VISITS)
        self._serial = 0
        self._reasons: OrderedDict[int, tuple[str, str, str]] = OrderedDict()
        self._listening: list[Callable[[], None]] = []
        self._watching: list[Callable[[], None]] = []
        self.listen()

    def listen(self) -> None:
        """Keep what happens from now on, unless that is done already."""
        if not self._listening:
            self._listening = self._subscribe(
                {
                    ActorCrashed: self._crashed,
                    ActorRestarted: self._restarted,
                    ConnectionRefused: self._refused,
                    DrainStarted: self._draining,
                    DrainFinished: self._drained,
                }
            )

    def close(self) -> None:
        """Listen to nothing any more."""
        self.stop()
        for unsubscribe in self._listening:
            unsubscribe()
        self._listening = []

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
        kept = merge(self._last, self._visits, key=lambda happening: happening.serial)
        return [happening for happening in kept if happening.serial > serial]

    def last_crash(self, number: int) -> tuple[str, str, str] | None:
        """Who an actor is or was; why it, or the one that it replaces, crashed; and where."""
        return self._reasons.get(number)

    def _subscribe(self, listeners: dict[type, Callable[[Any], None]]) -> list[Callable[[], None]]:
        subscribe = self._system.events.subscribe
        return [subscribe(kind, listener) for kind, listener in listeners.items()]

    def _happening(self, kind: str, text: str, number: int | None) -> Happening:
        self._serial += 1
        return Happening(self._serial, self._system.reactor.seconds(), kind, text, number)

    def _keep(self, kind: str, text: str, number: int | None = None) -> None:
        self._last.append(self._happening(kind, text, number))

    def _keep_reason(self, number: int, who: str, reason: object) -> None:
        # In words: the reason itself may be as large as a client likes.
        traceback = printable(reason.traceback[-TRACEBACK:], "\n\t") if type(reason) is Crash else ""
        self._reasons[number] = who, reason_in_words(reason, REASON), traceback
        if len(self._reasons) > REASONS:
            self._reasons.popitem(last=False)

    def _crashed(self, event: ActorCrashed) -> None:
        who = self._name(event.address)
        self._keep_reason(event.address.number, who, event.reason)
        text = f"{who} {shown(str(event.address))}: {reason_in_words(event.reason)}"
        self._keep("crashed", text.lstrip(), event.address.number)

    def _name(self, address: Address) -> str:
        """
        What people call an actor that crashes just now; empty when it cannot be known.

        It is in no list any more, and its registered name is free. But it ends
        in a turn of its own, and its supervisor has not read of it yet.
        """
        cell = self._system.current
        if cell is None or cell.address != address:
            return ""
        parent = None if cell.parent is None else self._system.find(cell.parent)
        return Node("", cell, None if parent is None else child_of(parent.actor, address)).name

    def _restarted(self, event: ActorRestarted) -> None:
        self._keep_reason(event.address.number, shown(event.id), event.reason)
        self._keep("restarted", f"{shown(event.id)} as {shown(str(event.address))}", event.address.number)

    def _draining(self, event: DrainStarted) -> None:
        self._keep("draining", f"{event.connections:,} connections go on")

    def _drained(self, event: DrainFinished) -> None:
        self._keep("drained", f"{event.aborted:,} connections aborted")

    def _opened(self, event: ConnectionOpened) -> None:
        self._visit("opened", event, f" is {shown(str(event.address))}")

    def _closed(self, event: ConnectionClosed) -> None:
        self._visit("closed", event, f": {reason_in_words(event.reason)}")

    def _visit(self, kind: str, event: ConnectionOpened | ConnectionClosed, text: str) -> None:
        text = f"{shown(peer_in_words(event.peer))}{text}"
        self._visits.append(self._happening(kind, text, event.address.number))

    def _refused(self, event: ConnectionRefused) -> None:
        self._keep("refused", f"{shown(peer_in_words(event.peer))}: {shown(event.reason)}")
