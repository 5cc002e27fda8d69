"""Looking inside a running system: what an actor is and does, and the tree of who supervises whom."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from .address import Address
from .cell import Cell
from .children import ChildInfo
from .runtime import Runtime
from .supervisor import supervised

__all__ = ["ActorInfo", "SystemInfo", "Tree", "actor_info", "system_info", "tree_of"]

SHOWN = 20
"""Children of one parent that a tree prints; of ten thousand connections, the rest is a number."""


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """
    One actor, at one moment; Elixir: ``Process.info``.

    :ivar kind: the name of its class or coroutine function.
    :ivar name: what it is registered as.
    :ivar life: ``"new"``, ``"runnable"``, ``"running"``, ``"waiting"`` (for
        any message), ``"looking"`` (for one that fits), ``"awaiting"`` (a
        Deferred), ``"resumable"`` (that has fired), or ``"doomed"``.
    :ivar mailbox: how many messages wait.
    :ivar handled: how many it has taken so far.
    :ivar links: whom it is linked to.
    :ivar monitors: whom it watches.
    :ivar parent: who spawned it; None from outside any actor.
    :ivar age: seconds since its first step; 0 before.
    """

    address: Address
    kind: str
    name: str | None
    life: str
    mailbox: int
    handled: int
    links: tuple[Address, ...]
    monitors: tuple[Address, ...]
    parent: Address | None
    age: float


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """
    A system, at one moment.

    :ivar actors: how many live.
    :ivar runnable: how many have a turn coming, waits that are over included.
    :ivar dead_letters: messages so far that nobody will read.
    """

    name: str
    actors: int
    runnable: int
    dead_letters: int
    names: dict[str, Address]


@dataclass(frozen=True, slots=True)
class Tree:
    """
    An actor and those below it; ``print`` draws it.

    Below a supervisor are its children, in the order of their start, those
    that do not run too; below any other actor, those it spawned. The root
    stands for the system.

    :ivar label: what it is: id, name, kind.
    :ivar address: None for the root, and for a child that does not run.
    """

    label: str
    address: Address | None
    children: tuple[Tree, ...]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.label if self.address is None else f"{self.label} {self.address}"
        shown = self.children[:SHOWN]
        hidden = len(self.children) - len(shown)
        for number, child in enumerate(shown, 1):
            is_last = number == len(shown) and not hidden
            first, further = ("└── ", "    ") if is_last else ("├── ", "│   ")
            for line in child._lines():
                yield first + line
                first = further
        if hidden:
            yield f"└── … and {hidden:,} more"


def actor_info(cell: Cell) -> ActorInfo:
    """What there is to know about an actor."""
    ties = cell.ties
    return ActorInfo(
        cell.address,
        cell.kind,
        None if ties is None else ties.name,
        cell.life.value,
        cell.count_unread(),
        cell.handled,
        () if ties is None else tuple(ties.links),
        () if ties is None else tuple(ties.watching.values()),
        cell.parent,
        0.0 if cell.born is None else cell.system.reactor.seconds() - cell.born,
    )


def system_info(runtime: Runtime) -> SystemInfo:
    """What there is to know about all of them."""
    return SystemInfo(
        runtime.label,
        runtime.count_actors(),
        runtime.count_runnable(),
        runtime.dead_letters,
        runtime.names(),
    )


def tree_of(runtime: Runtime) -> Tree:
    """All actors, each below its supervisor, else below who spawned it."""
    supervisors: dict[Address, tuple[ChildInfo, ...]] = {}
    children: dict[Address | None, list[Cell]] = {}
    has_supervisor: set[Address] = set()
    cells = runtime.cells()
    for cell in cells:
        infos = supervised(cell.actor)
        if infos is not None:
            supervisors[cell.address] = infos
            has_supervisor.update(info.address for info in infos if info.address)
    for cell in cells:
        if cell.address not in has_supervisor:
            parent = cell.parent if cell.parent and runtime.is_alive(cell.parent) else None
            children.setdefault(parent, []).append(cell)

    def below(cell: Cell) -> tuple[Tree, ...]:
        nodes = [of_child(info) for info in supervisors.get(cell.address, ())]
        return (*nodes, *(node(child, None) for child in children.get(cell.address, ())))

    def of_child(info: ChildInfo) -> Tree:
        cell = None if info.address is None else runtime.find(info.address)
        if cell is not None:
            return node(cell, info.id)
        return Tree(f"{info.id} ({'restarting' if info.is_restarting else 'not running'})", None, ())

    def node(cell: Cell, id: Hashable) -> Tree:
        name = None if cell.ties is None else cell.ties.name
        labels = dict.fromkeys(str(label) for label in (id, name, cell.kind) if label is not None)
        return Tree(": ".join(labels), cell.address, below(cell))

    return Tree(runtime.label, None, tuple(node(cell, None) for cell in children.get(None, ())))
