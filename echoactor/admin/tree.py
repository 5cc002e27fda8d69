"""The supervision tree as rows: those that are open, from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2s
from itertools import islice
from typing import NamedTuple

from twisted.python.reflect import safe_repr

from ..cell import DEAD, Cell
from ..children import ChildInfo
from ..connection import Connection
from ..dynamic_supervisor import DynamicSupervisor
from ..supervising import count_supervised, supervised
from ..text import peer_in_words
from .sample import Sample
from .text import kind_in_words, shown

__all__ = ["Node", "Row", "find", "rows_of"]

MOST_ROWS = 200
"""Rows at most. More are not read at once, and each is looked up every second."""

FAMILY = 10
"""Children of one parent that are shown until the viewer asks for more: enough to
see what they are, and of ten thousand connections not a screen full."""


@dataclass(slots=True)
class Node:
    """
    An actor at its place in the tree, or a supervisor's child that does not run.

    :ivar key: what the viewer calls it. A child with an id keeps its key when it is restarted.
    :ivar info: what its supervisor knows of it; None when it has none.
    """

    key: str
    cell: Cell | None
    info: ChildInfo | None = None

    @property
    def state(self) -> str:
        """What it does now, in a word."""
        if self.cell is not None:
            return self.cell.life.value
        return "restarting" if self.info is not None and self.info.is_restarting else "not running"

    @property
    def name(self) -> str:
        """A connection's peer; else its id, its name, or the name of its class."""
        if self.cell is not None and isinstance(self.cell.actor, Connection):
            return shown(peer_in_words(self.cell.actor.transport.getPeer()))
        if self.info is not None:
            return shown(self.info.id)
        ties = self.cell.ties if self.cell is not None else None
        return shown(ties.name) if ties is not None and ties.name is not None else self.kind

    @property
    def kind(self) -> str:
        """The name of its class or function; empty while it does not run."""
        return kind_in_words(self.cell.kind) if self.cell is not None else ""

    @property
    def number(self) -> int | None:
        """Its actor number; None while it does not run."""
        return self.cell.address.number if self.cell is not None else None


class Row(NamedTuple):
    """
    A line of the tree, as the page and ``echoactor-top`` are sent it: a list in this order.

    :ivar level: from 1.
    :ivar place: among its siblings, from 1.
    :ivar siblings: how many those are.
    :ivar number: of the actor; None for one that does not run.
    :ivar state: of the node; ``"more"`` stands for siblings that are left out.
    :ivar waiting: messages in its mailbox.
    """

    key: str
    level: int
    place: int
    siblings: int
    name: str
    kind: str
    number: int | None
    state: str
    waiting: int = 0
    handled: int = 0
    restarts: int = 0
    children: int = 0
    is_open: bool = False


def rows_of(sample: Sample, opened: frozenset[str], shut: frozenset[str]) -> list[Row]:
    """
    The rows of the tree that are open, from top to bottom.

    :param opened: keys of those rows with the state ``"more"`` that the viewer has opened.
    :param shut: keys of what the viewer has shut; all else is open.
    """
    rows: list[Row] = []
    # A stack of one's own: actors that spawn one another may be nested deeper than Python can call.
    stack = [_family(sample, None, 1, opened, shut)]
    while stack and len(rows) < MOST_ROWS:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        node, row = found
        rows.append(row)
        if row.is_open:
            stack.append(_family(sample, node, row.level + 1, opened, shut))
    return rows


def find(sample: Sample, key: str) -> Node | None:
    """The node of a key; None for one that is gone."""
    number = key[1:].partition(".")[0]
    cell = sample.cells.get(int(number)) if number.isascii() and number.isdigit() else None
    if cell is None or cell.life is DEAD:
        return None
    if key[0] == "a":
        return Node(key, cell)
    return next((node for node in _children(sample, cell, MOST_ROWS) if node.key == key), None)


def _family(
    sample: Sample, parent: Node | None, level: int, opened: frozenset[str], shut: frozenset[str]
) -> Iterator[tuple[Node | None, Row]]:
    """The nodes of one parent's children, and their rows."""
    cell = parent.cell if parent is not None else None
    more = f"m{'' if cell is None else cell.address.number}"
    size = _count_children(sample, cell)
    shown_ones = min(size, MOST_ROWS if more in opened else FAMILY)
    siblings = shown_ones + (size > shown_ones)
    for place, node in enumerate(_children(sample, cell, shown_ones), 1):
        own = node.cell
        children = 0 if own is None else _count_children(sample, own)
        row = Row(
            *(node.key, level, place, siblings, node.name, node.kind, node.number, node.state),
            waiting=0 if own is None else own.count_unread(),
            handled=0 if own is None else own.handled,
            restarts=0 if node.info is None else node.info.restarts,
            children=children,
            is_open=children > 0 and node.key not in shut,
        )
        yield node, row
    if size > shown_ones:
        left = size - shown_ones
        yield None, Row(more, level, siblings, siblings, f"{left:,} more", "", None, "more", children=left)


def _count_children(sample: Sample, parent: Cell | None) -> int:
    count = None if parent is None else count_supervised(parent.actor)
    if count is None:
        count = len(sample.children.get(None if parent is None else parent.address.number, ()))
    return count


def _children(sample: Sample, parent: Cell | None, most: int) -> Iterator[Node]:
    """
    The children of an actor, so many at most: those it supervises, else those it spawned.

    (A supervisor spawns nobody but its children.)
    """
    infos = None if parent is None else supervised(parent.actor, most)
    if parent is None or infos is None:
        number = None if parent is None else parent.address.number
        for cell in islice(sample.children.get(number, ()), most):
            if cell.life is not DEAD:
                yield Node(f"a{cell.address.number}", cell)
        return
    have_ids = not isinstance(parent.actor, DynamicSupervisor)
    for place, info in enumerate(infos):
        child = None if info.address is None else parent.system.find(info.address)
        if child is not None and not have_ids:
            yield Node(f"a{child.address.number}", child, info)
        else:
            own = safe_repr(info.id) if have_ids else str(place)
            digest = blake2s(own.encode("utf-8", "replace"), digest_size=4).hexdigest()
            yield Node(f"c{parent.address.number}.{digest}", child, info)
