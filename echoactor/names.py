"""Names for addresses: OTP's ``register`` and ``whereis``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .address import Address
from .errors import NameTaken
from .signals import ties_of

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["Names", "check_name"]


def check_name(name: object) -> None:
    """
    Refuse what is no name.

    :raises TypeError: it is no string.
    :raises ValueError: it is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: {name!r} is not a string")
    if not name:
        raise ValueError("name: '' is empty; leave it out for an actor without a name")


class Names:
    """
    Which name stands for which actor.

    An actor has one name at most, and both know each other: so a name is free
    before anybody hears of its owner's death.
    """

    def __init__(self) -> None:
        self._addresses: dict[str, Address] = {}

    def register(self, name: str, cell: Cell) -> None:
        """
        Give a living actor a name.

        :raises NameTaken: it is another's already, or the actor has another one.
        """
        owner = self._addresses.get(name)
        ties = ties_of(cell)
        if owner is not None:
            raise NameTaken(f"the name {name!r} is taken by {owner}", name, owner)
        if ties.name is not None:
            raise NameTaken(
                f"{cell.address} is registered already, as {ties.name!r}", ties.name, cell.address
            )
        self._addresses[name] = cell.address
        ties.name = name

    def unregister(self, name: str) -> Address | None:
        """Free a name; returns whose it was."""
        return self._addresses.pop(name, None)

    def whereis(self, name: str) -> Address | None:
        """Who has the name."""
        return self._addresses.get(name)

    def all(self) -> dict[str, Address]:
        """All names and who has them, in the order registered."""
        return dict(self._addresses)
