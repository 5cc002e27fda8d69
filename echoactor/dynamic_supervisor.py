"""A supervisor whose children come and go: Elixir's ``DynamicSupervisor``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from .address import Address
from .children import Child
from .errors import ChildError, SpecError
from .specs import ChildSpec, DynamicSupervisorSpec
from .supervising import Request, Supervising

__all__ = ["Adopt", "DynamicSupervisor"]


@dataclass(frozen=True, slots=True)
class Adopt:
    """
    To a DynamicSupervisor: here is a temporary child that runs already, and is linked to you.

    :ivar address: the child's.
    :ivar spec: how to stop it.
    """

    address: Address
    spec: ChildSpec


class DynamicSupervisor(Supervising):
    """
    Starts children on demand, restarts each by itself, and stops them all at once.

    :param spec: its limits.
    """

    def __init__(self, spec: DynamicSupervisorSpec | None = None) -> None:
        if not (spec is None or isinstance(spec, DynamicSupervisorSpec)):
            raise TypeError(f"DynamicSupervisor takes a DynamicSupervisorSpec, not {spec!r}")
        self._spec = spec or DynamicSupervisorSpec()
        super().__init__(self._spec.intensity, self._spec.period, self._spec.back_off)

    async def receive(self, message: Any) -> None:
        if type(message) is Adopt:
            self._adopt(message)
        else:
            await super().receive(message)

    def _adopt(self, message: Adopt) -> None:
        if self.system.is_alive(message.address):  # else nothing will be heard of it any more
            child = Child(message.spec)
            child.address = message.address
            self._children[child] = self._running[message.address] = child

    def _forget(self, child: Child) -> None:
        del self._children[child]

    def _with(self, child: Child) -> list[Child]:
        return [child]

    async def _stop_all(self) -> None:
        unread = self._actor_cell.take_match(lambda message: type(message) is Adopt)
        while isinstance(unread, Adopt):  # else nobody would tell those to end
            self._adopt(unread)
            unread = self._actor_cell.take_match(lambda message: type(message) is Adopt)
        ends = [self._tell_to_end(child) for child in reversed(self._children.values())]
        for end in ends:
            if end is not None:
                await end

    async def _ended(self, child: Child, reason: object) -> bool:
        for_good = await super()._ended(child, reason)
        self._drop_if_over(child)
        return for_good

    async def _start_again(self, group: list[Child]) -> None:
        await super()._start_again(group)
        for child in group:
            self._drop_if_over(child)

    def _drop_if_over(self, child: Child) -> None:
        """One that ended for good does not come again, nor does one that would not start (``ignore``)."""
        if child.address is None and child.pending is None:
            self._children.pop(child, None)

    # What clients ask for

    async def _add(self, spec: ChildSpec) -> Address | None:
        if spec.significant:
            raise SpecError(f"significant: the child {spec.id!r} can be none of a DynamicSupervisor")
        limit = self._spec.max_children
        if limit is not None and len(self._children) >= limit:
            raise ChildError("max_children", spec.id)
        child = Child(spec)
        self._children[child] = child
        try:
            return await self._start(child)
        finally:
            if child.address is None:
                self._forget(child)

    async def _end(self, address: Address) -> None:
        child = self._running.get(address) if isinstance(address, Address) else None
        if child is None:  # one that waits for its restart is still known by where it ran
            waiting = (one for one in self._children.values() if one.pending is not None)
            child = next((one for one in waiting if one.former == address), None)
        if child is None:
            raise ChildError("not_found", address)
        await self._stop(child)
        self._forget(child)

    @staticmethod
    def terminate_child(supervisor: Address, child: Address) -> Deferred[None]:
        """
        Stop a child for good, also one that has ended and waits for its restart.

        The error can be ``"not_found"``.
        """
        return supervisor.call(Request("_end", child), timeout=None)


DynamicSupervisorSpec.actor_class = DynamicSupervisor
