"""One look at all actors of a system, for everybody who watches."""

from __future__ import annotations

from collections import defaultdict

from ..cell import Cell
from ..connection import Connection
from ..system import ActorSystem
from ..text import peer_in_words
from .text import shown

__all__ = ["OpenConnection", "Sample"]

NEWS = 0.3
"""What the last second counts in a connection's pace: half of it is of the last two."""


class OpenConnection:
    """
    A connection at the time of a sample.

    :param before: the same one in the sample before.
    :param seconds: since then.
    :ivar bytes_in: how many came so far.
    :ivar bytes_out: how many went.
    :ivar rate: bytes a second since the sample before, both ways.
    :ivar pace: the same, over the last samples: by ``rate`` alone, equally busy connections would change
        places with each sample.
    """

    __slots__ = ("_peer", "bytes_in", "bytes_out", "cell", "pace", "rate")

    def __init__(self, cell: Cell, before: OpenConnection | None, seconds: float) -> None:
        self.cell = cell
        self.bytes_in: int = cell.actor.bytes_in
        self.bytes_out: int = cell.actor.bytes_out
        self.rate = self.pace = 0.0
        self._peer: str | None = None
        if before is not None:
            self._peer = before._peer
            self.rate = (self.size - before.size) / seconds
            self.pace = before.pace + NEWS * (self.rate - before.pace)

    @property
    def size(self) -> int:
        """Bytes so far, both ways."""
        return self.bytes_in + self.bytes_out

    @property
    def peer(self) -> str:
        """Who is at the other end. Made when it is first asked for: ten thousand take a while."""
        if self._peer is None:
            self._peer = shown(peer_in_words(self.cell.actor.transport.getPeer()))
        return self._peer


class Sample:
    """
    What is counted in one pass over all actors. The rest is asked of those few that are shown.

    :param before: the sample before.
    :ivar time: when, in the reactor's seconds.
    :ivar cells: the actors, by number.
    :ivar children: whom an actor spawned, by its number; by None, those whom no living actor spawned.
    :ivar connections: those that are open, by number.
    :ivar waiting: messages in all mailboxes.
    """

    def __init__(self, system: ActorSystem, before: Sample | None) -> None:
        self.time = system.reactor.seconds()
        seconds = 1.0 if before is None else max(self.time - before.time, 1e-3)
        known = {} if before is None else before.connections
        cells = system.cells()
        self.cells = {cell.address.number: cell for cell in cells}
        self.children: defaultdict[int | None, list[Cell]] = defaultdict(list)
        self.connections: dict[int, OpenConnection] = {}
        self.waiting = 0
        for number, cell in self.cells.items():
            parent = cell.parent
            if cell.arrived is not None or cell.backlog is not None:
                self.waiting += cell.count_unread()
            if isinstance(cell.actor, Connection):
                self.connections[number] = OpenConnection(cell, known.get(number), seconds)
            if parent is not None and parent.number in self.cells:
                self.children[parent.number].append(cell)
            else:
                self.children[None].append(cell)
