"""Looking inside a running system: what an actor is and does, and the tree of who supervises whom."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from .address import Address
from .cell import Cell
from .children import ChildInfo
from .runtime import Runtime
from .supervising import supervised

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
    :ivar parent: who spawned it, or the supervisor of a connection; None from outside any actor.
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

    :ivar label: what it is: its id (as a child), its name, its kind.
    :ivar address: None for the root, and for a child that does not run.
    """

    label: str
    address: Address | None
    children: tuple[Tree, ...]

    def __str__(self) -> str:
        lines = []
        # A stack of one's own: actors that spawn one another may be nested deeper than Python can call.
        waiting: list[tuple[str, str, Tree | str]] = [("", "", self)]
        while waiting:
            before, below, tree = waiting.pop()
            if isinstance(tree, str):
                lines.append(before + tree)
                continue
            lines.append(before + (tree.label if tree.address is None else f"{tree.label} {tree.address}"))
            shown: list[Tree | str] = list(tree.children[:SHOWN])
            if len(tree.children) > SHOWN:
                shown.append(f"… and {len(tree.children) - SHOWN:,} more")
            last = below + "└── ", below + "    "
            others = below + "├── ", below + "│   "
            for number, child in enumerate(reversed(shown)):
                waiting.append((*(others if number else last), child))
        return "\n".join(lines)


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
    cells = runtime.cells()
    supervisors = {cell.address: infos for cell in cells if (infos := supervised(cell.actor)) is not None}
    ids = {info.address: info.id for infos in supervisors.values() for info in infos if info.address}
    spawned: dict[Address | None, list[Cell]] = {}
    for cell in cells:
        if cell.address not in ids:
            parent = cell.parent if cell.parent and runtime.is_alive(cell.parent) else None
            spawned.setdefault(parent, []).append(cell)
    nodes: dict[Address, Tree] = {}
    # From the youngest to the oldest, so that those below an actor are there before it, without recursion.
    for cell in reversed(cells):
        supervises = [_child(info, nodes) for info in supervisors.get(cell.address, ())]
        others = [nodes[child.address] for child in spawned.get(cell.address, ())]
        label = _label(cell, ids.get(cell.address))
        nodes[cell.address] = Tree(label, cell.address, (*supervises, *others))
    return Tree(runtime.label, None, tuple(nodes[cell.address] for cell in spawned.get(None, ())))


def _child(info: ChildInfo, nodes: dict[Address, Tree]) -> Tree:
    if info.address in nodes:
        return nodes[info.address]
    return Tree(f"{info.id} ({'restarting' if info.is_restarting else 'not running'})", None, ())


def _label(cell: Cell, id: Hashable) -> str:
    """Id, name and kind, each if there is one and it is not the same again."""
    name = None if cell.ties is None else cell.ties.name
    return ": ".join(dict.fromkeys(str(part) for part in (id, name, cell.kind) if part is not None))
