"""The supervisor: its children have ids, an order, and a strategy."""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.reflect import safe_repr

from .address import Address
from .children import Child
from .errors import ActorError, ChildError, StartFailed
from .messages import Shutdown
from .specs import ChildSpec, SupervisorSpec
from .supervising import Request, Supervising

__all__ = ["Supervisor"]

_log = Logger()


class Supervisor(Supervising):
    """
    Starts its children first to last, restarts them by its strategy, and stops them last to first.

    The functions take the supervisor's address, and return Deferreds that
    fail with :exc:`~echoactor.errors.ChildError` where OTP answers with an error.

    :param spec: its children and how to treat them.
    """

    def __init__(self, spec: SupervisorSpec) -> None:
        if not isinstance(spec, SupervisorSpec):
            raise TypeError(f"Supervisor takes a SupervisorSpec, not {spec!r}")
        super().__init__(spec.intensity, spec.period, spec.back_off)
        self._spec = spec
        for child in spec.children:
            self._children[child.id] = Child(child)

    async def started(self) -> None:
        """Start the children; a supervisor with one that cannot start does not start either."""
        for child in list(self._children.values()):
            try:
                if await self._start(child) is None and child.spec.restart == "temporary":
                    self._forget(child)
            except ActorError as error:
                reason = error.reason if isinstance(error, StartFailed) else str(error)
                _log.error(
                    "supervisor {address} ends: it could not start {child}: {reason}",
                    address=str(self.address),
                    child=safe_repr(child.spec.id),
                    reason=safe_repr(reason),
                )
                await self._stop_all()
                self.exit(Shutdown(("failed_to_start_child", child.spec.id, reason)))

    def _forget(self, child: Child) -> None:
        del self._children[child.spec.id]

    def _with(self, child: Child) -> list[Child]:
        if self._spec.strategy == "one_for_one":
            return [child]
        children = list(self._children.values())
        return children if self._spec.strategy == "one_for_all" else children[children.index(child) :]

    async def _stop_all(self) -> None:
        for child in reversed(self._children.values()):
            await self._stop(child)

    async def _ended(self, child: Child, reason: object) -> bool:
        for_good = await super()._ended(child, reason)
        if child.spec.significant and for_good:
            others = any(
                one.spec.significant and (one.address or one.pending) for one in self._children.values()
            )
            if self._spec.auto_shutdown == "any_significant" or not others:
                self.exit("shutdown")
        return for_good

    # What clients ask for

    def _known(self, id: Hashable) -> Child:
        try:
            child = self._children.get(id)
        except Exception:  # a client's mistake: it can be neither hashed nor compared, or a part of it cannot
            child = None
        if child is None:
            raise ChildError("not_found", id)
        return child

    def _not_running(self, id: Hashable) -> Child:
        child = self._known(id)
        if child.pending is not None:
            raise ChildError("restarting", id)
        if child.address is not None:
            raise ChildError("running", id, child.address)
        return child

    async def _add(self, spec: ChildSpec) -> Address | None:
        self._spec.check(spec)
        present = self._children.get(spec.id)
        if present is not None:
            problem = "already_present" if present.address is None else "already_started"
            raise ChildError(problem, spec.id, present.address)
        child = self._children[spec.id] = Child(spec)
        try:
            address = await self._start(child)
        except ActorError:
            self._forget(child)
            raise
        if address is None and spec.restart == "temporary":
            self._forget(child)
        return address

    async def _end(self, id: Hashable) -> None:
        child = self._known(id)
        await self._stop(child)
        if child.spec.restart == "temporary":
            self._forget(child)

    async def _begin(self, id: Hashable) -> Address | None:
        return await self._start(self._not_running(id))

    async def _delete(self, id: Hashable) -> None:
        self._forget(self._not_running(id))

    @staticmethod
    def terminate_child(supervisor: Address, id: Hashable) -> Deferred[None]:
        """
        Stop a child, if it runs, and leave it stopped; a temporary one's spec goes with it.

        The error can be ``"not_found"``.
        """
        return supervisor.call(Request("_end", id), timeout=None)

    @staticmethod
    def restart_child(supervisor: Address, id: Hashable) -> Deferred[Address | None]:
        """
        Start a child again that was stopped.

        The error can be ``"not_found"``, ``"running"`` or ``"restarting"``,
        or :exc:`~echoactor.errors.StartFailed`, and the child stays stopped.
        """
        return supervisor.call(Request("_begin", id), timeout=None)

    @staticmethod
    def delete_child(supervisor: Address, id: Hashable) -> Deferred[None]:
        """
        Forget a child that was stopped.

        The error can be ``"not_found"``, ``"running"`` or ``"restarting"``.
        """
        return supervisor.call(Request("_delete", id), timeout=None)


SupervisorSpec.actor_class = Supervisor
