"""Groups of actors: OTP's ``pg``, for what a chat room or a broadcast needs."""

from __future__ import annotations

from collections.abc import Hashable

from .address import Address
from .runtime import Runtime
from .signals import ties_of

__all__ = ["Groups"]


class Groups:
    """
    Who belongs to which group.

    A group is there as long as it has members, and whoever dies leaves all
    groups before anybody hears of it. Each Groups object is a scope of its own.

    :param system: whose actors can be members.
    """

    def __init__(self, system: Runtime) -> None:
        self._system = system
        self._members: dict[Hashable, dict[Address, int]] = {}
        self._groups: dict[Address, dict[Hashable, None]] = {}

    def join(self, group: Hashable, address: Address) -> None:
        """
        Make an actor a member. As in ``pg``, one can be so several times, and has to leave as often.

        To a dead address nothing is done.

        :param group: the name of the group, any hashable value.
        """
        cell = self._system.find(address)
        if cell is None:
            return
        if address not in self._groups:
            self._groups[address] = {}
            ties_of(cell).watchers[self] = lambda _: self._forget(address)
        self._groups[address][group] = None
        members = self._members.setdefault(group, {})
        members[address] = members.get(address, 0) + 1

    def leave(self, group: Hashable, address: Address) -> None:
        """End a membership; nothing happens if there is none."""
        members = self._members.get(group, {})
        if address not in members:
            return
        members[address] -= 1
        if not members[address]:
            self._remove(group, address)
            del self._groups[address][group]
            if not self._groups[address]:
                del self._groups[address]
                cell = self._system.find(address)
                if cell is not None:
                    ties_of(cell).watchers.pop(self, None)

    def members(self, group: Hashable) -> tuple[Address, ...]:
        """The members, in the order they joined; one that joined twice is there twice, as in ``pg``."""
        members = self._members.get(group, {})
        return tuple(address for address, times in members.items() for _ in range(times))

    def groups(self) -> tuple[Hashable, ...]:
        """All groups that have members; Erlang: ``pg:which_groups``."""
        return tuple(self._members)

    def send(self, group: Hashable, message: object, *, but: Address | None = None) -> None:
        """
        Send to each member once, in the order they joined.

        :param but: a member to leave out: who tells the others, mostly.
        """
        for address in tuple(self._members.get(group, ())):
            if address != but:
                address.send(message)

    def _forget(self, address: Address) -> None:
        """A member has died."""
        for group in self._groups.pop(address, ()):
            self._remove(group, address)

    def _remove(self, group: Hashable, address: Address) -> None:
        members = self._members.get(group)
        if members is None:  # its name has another hash by now
            return
        del members[address]
        if not members:
            del self._members[group]
