"""What one viewer sees: of a sample what fits and was asked for, as plain data."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..address import Address
from ..connection import Connection
from ..system import ActorSystem
from .recorder import Recorder
from .sample import OpenConnection, Sample
from .text import kind_in_words, shown
from .tree import find

__all__ = ["ORDERS", "View", "connections_in", "details_of"]

MOST_ROWS = 100
"""Rows of connections at most: no screen shows more."""

TIES = 30
"""Links, and monitors, that an actor's details show; of more, the number."""

KEYS = 300
"""Keys of the tree that a viewer may send: more than anybody opens by hand."""

ORDERS: dict[str, Callable[[OpenConnection], float]] = {
    "rate": lambda connection: connection.pace,
    "bytes": lambda connection: connection.size,
    "newest": lambda connection: connection.cell.born or 0.0,
    "oldest": lambda connection: -(connection.cell.born or 0.0),
}
"""What may come first among the connections."""


@dataclass(frozen=True, slots=True)
class View:
    """
    What a viewer has on the screen.

    :ivar opened: keys of the tree below which the viewer wants to see more.
    :ivar shut: keys of the tree that the viewer has shut.
    :ivar actor: key of the actor whose details are shown; empty for none.
    :ivar search: what the peer, class, number or address of a connection has in it.
    :ivar order: which connections come first, a key of :data:`ORDERS`.
    :ivar first: how many of them are above the screen.
    :ivar rows: how many fit.
    :ivar held: the numbers of those to show instead, whatever comes first by now: a row that somebody
        points at must not be another one when the button is pressed.
    :ivar since: the serial number of the last happening that the viewer knows.
    """

    opened: frozenset[str] = frozenset()
    shut: frozenset[str] = frozenset()
    actor: str = ""
    search: str = ""
    order: str = "rate"
    first: int = 0
    rows: int = 20
    held: tuple[int, ...] = ()
    since: int = 0

    @classmethod
    def of(cls, query: Mapping[bytes, list[bytes]]) -> View:
        """
        Read a request's query. Nothing in it is an error: what means nothing is left out.

        :param query: as ``Request.args`` of ``twisted.web`` has it.
        """

        def text(name: bytes, longest: int) -> str:
            return query.get(name, [b""])[0].decode("utf-8", "replace")[:longest]

        def number(name: bytes, default: int, most: int) -> int:
            digits = text(name, 8)
            return min(int(digits), most) if is_number(digits) else default

        def is_number(digits: str) -> bool:
            return digits.isascii() and digits.isdigit()

        def keys(name: bytes) -> frozenset[str]:
            return frozenset(filter(None, text(name, KEYS * 20).split(",", KEYS)[:KEYS]))

        order = text(b"order", 10)
        return cls(
            opened=keys(b"open"),
            shut=keys(b"shut"),
            actor=text(b"actor", 40),
            search=text(b"search", 100).strip().lower(),
            order=order if order in ORDERS else "rate",
            first=number(b"first", 0, 10_000_000),
            rows=number(b"rows", 20, MOST_ROWS),
            held=tuple(
                int(one) for one in text(b"held", 1000).split(",", MOST_ROWS)[:MOST_ROWS] if is_number(one)
            ),
            since=number(b"since", 0, 10**8),
        )


def connections_in(sample: Sample, view: View) -> dict[str, Any]:
    """
    The connections that are on the screen.

    :returns: ``all`` and ``found``, how many there are, and how many the search has found; ``first``; and
        ``rows``: number, class, peer, time of birth, bytes in, bytes out, bytes a second, messages handled.
    """
    found = list(sample.connections.values())
    if view.search:
        found = [connection for connection in found if _fits(connection, view.search)]
    if view.held:
        rows = [sample.connections[number] for number in view.held if number in sample.connections]
    else:
        rows = heapq.nlargest(view.first + view.rows, found, ORDERS[view.order])[view.first :]
    return {
        "all": len(sample.connections),
        "found": len(found),
        "first": view.first,
        "rows": [_row(connection) for connection in rows],
    }


def _row(connection: OpenConnection) -> list[Any]:
    cell = connection.cell
    return [
        cell.address.number,
        kind_in_words(cell.kind),
        connection.peer,
        round(cell.born or 0.0, 1),
        connection.bytes_in,
        connection.bytes_out,
        round(connection.rate),
        cell.handled,
    ]


def _fits(connection: OpenConnection, search: str) -> bool:
    kind, address = connection.cell.kind, connection.cell.address
    # Class and number as its row has them. One text, because ten thousand are searched in each second.
    return search in f"{connection.peer}\n{kind} {address.number}\n{address}".lower()


def details_of(system: ActorSystem, sample: Sample, recorder: Recorder, key: str) -> dict[str, Any]:
    """
    All there is to know about one actor.

    :param key: as the tree has it, or ``a`` and the actor's number.
    :returns: with ``"state": "gone"`` when there is no such actor any more.
    """
    node = find(sample, key)
    number = int(key[1:]) if key[:1] == "a" and key[1:].isascii() and key[1:].isdigit() else None
    if node is not None:
        number = node.number
    details: dict[str, Any] = {"key": key, "number": number, "state": "gone" if node is None else node.state}
    crash = None if number is None else recorder.last_crash(number)
    if crash is not None:
        who, *words = crash
        details |= {"name": who, "crash": words}
    if node is None:
        return details
    details |= {"name": node.name, "kind": node.kind}
    if node.info is not None:
        details["restarts"] = node.info.restarts
    info = None if node.cell is None else system.info(node.cell.address)
    if node.cell is None or info is None:
        return details

    def named(addresses: Iterable[Address]) -> list[list[Any]]:
        return [[address.number, _name(sample, address)] for address in islice(addresses, TIES)]

    details |= {
        "address": shown(str(info.address)),
        "registered": None if info.name is None else shown(info.name),
        "mailbox": info.mailbox,
        "handled": info.handled,
        "born": None if node.cell.born is None else round(node.cell.born, 1),
        "parent": named([] if info.parent is None else [info.parent]),
        "links": named(info.links),
        "link_count": len(info.links),
        "monitors": named(info.monitors),
        "monitor_count": len(info.monitors),
    }
    connection = sample.connections.get(info.address.number)
    if connection is not None and isinstance(node.cell.actor, Connection):
        details |= {
            "peer": connection.peer,
            "bytes_in": connection.bytes_in,
            "bytes_out": connection.bytes_out,
        }
    return details


def _name(sample: Sample, address: Address) -> str:
    """What stands for an actor that is mentioned."""
    cell = sample.cells.get(address.number)
    if cell is None:
        return shown(str(address))
    name = cell.ties.name if cell.ties is not None else None
    return f"{shown(name) if name is not None else kind_in_words(cell.kind)} {shown(str(address))}"
