"""Supervisors: actors that start, restart and stop other actors, as OTP's do."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .actor import Actor
from .address import Address
from .calls import wait_for_end
from .delayed import MessageTimer
from .errors import ActorError, CallTimeout, ChildError, SpecError, StartFailed
from .events import ActorRestarted
from .messages import Call, Exit, Shutdown, is_error, is_reason
from .services import ServiceActor
from .specs import BackOff, ChildSpec, DynamicSupervisorSpec, SupervisorSpec

__all__ = ["Adopt", "ChildCounts", "ChildInfo", "DynamicSupervisor", "Supervisor", "supervised"]

_log = Logger()


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """
    One child, as ``which_children`` tells of it.

    :ivar address: None while it does not run.
    :ivar is_restarting: whether it ended and its restart is still to come.
    :ivar restarts: how often it was restarted.
    """

    id: Hashable
    address: Address | None
    is_restarting: bool
    is_supervisor: bool
    restarts: int


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """
    How many children there are, as OTP's ``count_children`` tells.

    :ivar specs: all, running or not.
    :ivar active: those that run.
    :ivar supervisors: those of all that are supervisors.
    :ivar workers: those that are not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


class _Child:
    """
    A child as its supervisor knows it.

    :ivar is_restarting: that it waits for its restart.
    :ivar attempts: restarts in a row, for the back-off.
    :ivar ticket: which retry is the one that waits.
    """

    __slots__ = ("address", "attempts", "born", "is_restarting", "restarts", "retry", "spec", "ticket")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.address: Address | None = None
        self.is_restarting = False
        self.restarts = 0
        self.attempts = self.ticket = 0
        self.born: float | None = None
        self.retry: MessageTimer | None = None

    def plan(self) -> tuple[Any, tuple[Any, ...]]:
        """What to spawn, and with which arguments."""
        start = self.spec.start
        if isinstance(start, SupervisorSpec):
            return Supervisor, (start,)
        if IService.providedBy(start):
            return ServiceActor, (start,)
        return start, self.spec.args

    def tell(self) -> ChildInfo:
        """What others may know."""
        is_supervisor = getattr(self.plan()[0], "_supervises", False)
        return ChildInfo(self.spec.id, self.address, self.is_restarting, is_supervisor, self.restarts)


@dataclass(frozen=True, slots=True)
class _Retry:
    """From a supervisor to itself: a restart is due, of a child that waits for it still, or not any more."""

    child: _Child
    ticket: int
    counts: bool


@dataclass(frozen=True, slots=True)
class Adopt:
    """
    To a DynamicSupervisor: here is a temporary child that runs already, and is linked to you.

    :ivar address: the child's.
    :ivar spec: how to stop it.
    """

    address: Address
    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class _Request:
    """What a client asks of a supervisor: one of its methods, and the argument."""

    method: str
    argument: Any = None


class _Supervising(Actor):
    """
    What both supervisors have in common: starting, stopping, counting restarts.

    Everything happens in the supervisor's own steps, one at a time, and while
    a child starts or stops the mailbox waits: as in OTP.
    """

    _supervises = True

    def __init__(self, intensity: int, period: float, back_off: BackOff | None) -> None:
        self.trap_exits = True
        self._parent = self._actor_cell.parent
        self._intensity = intensity
        self._period = period
        self._back_off = back_off
        self._restart_times: deque[float] = deque()
        self._children: dict[Hashable, _Child] = {}
        self._running: dict[Address, _Child] = {}

    async def receive(self, message: Any) -> None:
        match message:
            case Exit(sender, reason):
                child = None if sender is None else self._running.pop(sender, None)
                if child is not None:
                    await self._ended(child, reason)
                elif sender is None or sender == self._parent:
                    self.exit(reason)
            case Call(_Request(method, argument), reply):
                try:
                    reply(await getattr(self, method)(argument))
                except ActorError:
                    reply(Failure())
            case _Retry(child, ticket, counts):
                if child.is_restarting and child.ticket == ticket:
                    await (self._restart if counts else self._start_again)(child)

    async def terminate(self, reason: object) -> None:
        """Stop all children."""
        await self._stop_all()

    def tell(self) -> tuple[ChildInfo, ...]:
        """The children, in the order of their start."""
        return tuple(child.tell() for child in self._children.values())

    # What the two do differently

    def _forget(self, child: _Child) -> None:
        raise NotImplementedError

    def _with(self, child: _Child) -> list[_Child]:
        """Who is restarted along with it, it included, in the order of their start."""
        raise NotImplementedError

    async def _stop_all(self) -> None:
        raise NotImplementedError

    # Ends and restarts

    async def _ended(self, child: _Child, reason: object) -> None:
        """A child has ended by itself."""
        child.address = None
        restart = child.spec.restart
        if restart == "permanent" or (restart == "transient" and is_error(reason)):
            await self._restart(child)
        elif restart == "temporary":
            self._forget(child)

    async def _restart(self, child: _Child) -> None:
        """Restart a child and those that go with it, or end, when that happens too often."""
        now = self.system.reactor.seconds()
        times = self._restart_times
        times.append(now)
        while times[0] < now - self._period:
            times.popleft()
        if len(times) > self._intensity:
            _log.error(
                "supervisor {address} ends: its children were restarted more than {intensity} times "
                "in {period} seconds; the last one is {child}",
                address=str(self.address),
                intensity=self._intensity,
                period=self._period,
                child=repr(child.spec.id),
            )
            self.exit("shutdown")
        for one in reversed(self._with(child)):
            await self._stop(one)
            if one.spec.restart == "temporary":
                self._forget(one)
        child.is_restarting = True
        if self._back_off is None:
            await self._start_again(child)
        else:
            if child.born is not None and now - child.born >= self._back_off.longest:
                child.attempts = 0
            child.attempts += 1
            delay = self._back_off.delay(child.attempts)
            child.ticket += 1
            child.retry = self.address.send_after(delay, _Retry(child, child.ticket, counts=False))

    async def _start_again(self, child: _Child) -> None:
        """Start a child and those that go with it."""
        for one in self._with(child):
            try:
                await self._start(one)
            except ActorError:
                # Once more, and that counts; but first what waits in the mailbox, perhaps the order to end.
                one.is_restarting = True
                one.ticket += 1
                self.address.send(_Retry(one, one.ticket, counts=True))
                return
            one.restarts += 1
            if ActorRestarted in self.system.events and one.address is not None:
                self.system.events.emit(ActorRestarted(one.address, self.address, one.spec.id))

    # Starting and stopping one

    async def _start(self, child: _Child) -> Address | None:
        """
        Start a child that does not run.

        :returns: its address; None when it ended normally before it had started, OTP's ``ignore``.
        :raises ActorError: it could not start.
        """
        child.is_restarting = False
        function, args = child.plan()
        try:
            child.address = await self.start(function, *args, name=child.spec.name, link=True)
        except StartFailed as error:
            if not is_reason(error.reason, "normal"):
                raise
        else:
            self._running[child.address] = child
            child.born = self.system.reactor.seconds()
        return child.address

    async def _stop(self, child: _Child) -> None:
        """Tell a child to end, and kill it if it does not; it need not be linked still."""
        ended = self._tell_to_end(child)
        if ended is not None:
            await ended

    def _tell_to_end(self, child: _Child) -> Deferred[Any] | None:
        """Tell a child to end; returns a Deferred that fires when it is dead, None when it does not run."""
        child.is_restarting = False
        if child.retry is not None:
            child.retry.cancel()
        address, child.address = child.address, None
        if address is None:
            return None
        del self._running[address]
        self.unlink(address)  # its end shall not come as a message, too
        shutdown = child.spec.shutdown
        if shutdown == "brutal_kill":
            address.exit("kill")
            return wait_for_end(self.system, address, None)
        assert not isinstance(shutdown, str)
        address.exit("shutdown")

        def kill(failure: Failure) -> Deferred[Any]:
            failure.trap(CallTimeout)
            _log.error(
                "child {child} ({address}) did not stop within {seconds} s and is killed",
                child=repr(child.spec.id),
                address=str(address),
                seconds=shutdown,
            )
            address.exit("kill")
            return wait_for_end(self.system, address, None)

        return wait_for_end(self.system, address, shutdown).addErrback(kill)

    # What clients ask for

    async def _which(self, _: object) -> tuple[ChildInfo, ...]:
        return self.tell()

    async def _count(self, _: object) -> ChildCounts:
        children = self.tell()
        supervisors = sum(child.is_supervisor for child in children)
        active = sum(child.address is not None for child in children)
        return ChildCounts(len(children), active, supervisors, len(children) - supervisors)

    @staticmethod
    def which_children(supervisor: Address) -> Deferred[tuple[ChildInfo, ...]]:
        """All children, in the order of their start."""
        return supervisor.call(_Request("_which"), timeout=None)

    @staticmethod
    def count_children(supervisor: Address) -> Deferred[ChildCounts]:
        """How many there are."""
        return supervisor.call(_Request("_count"), timeout=None)

    @staticmethod
    def start_child(supervisor: Address, child: Any) -> Deferred[Address | None]:
        """
        Add a child and start it.

        :param child: a :class:`~echoactor.ChildSpec`, or what one can be made of.
        :returns: a Deferred of its address; None when it ended normally
            before it had started. It fails with :exc:`~echoactor.errors.StartFailed`
            (the child is not added then), or with :exc:`~echoactor.errors.ChildError`:
            ``"already_started"``, ``"already_present"`` or ``"max_children"``.
        :raises SpecError: the spec is wrong.
        """
        return supervisor.call(_Request("_add", ChildSpec.of(child)), timeout=None)


def supervised(actor: object) -> tuple[ChildInfo, ...] | None:
    """The children of an actor; None when it is no supervisor."""
    return actor.tell() if isinstance(actor, _Supervising) else None


class Supervisor(_Supervising):
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
            self._children[child.id] = _Child(child)

    async def started(self) -> None:
        """Start the children; a supervisor with one that cannot start does not start either."""
        for child in list(self._children.values()):
            try:
                await self._start(child)
            except ActorError as error:
                await self._stop_all()
                reason = error.reason if isinstance(error, StartFailed) else str(error)
                self.exit(Shutdown(("failed_to_start_child", child.spec.id, reason)))

    def _forget(self, child: _Child) -> None:
        del self._children[child.spec.id]

    def _with(self, child: _Child) -> list[_Child]:
        if self._spec.strategy == "one_for_one":
            return [child]
        children = list(self._children.values())
        return children if self._spec.strategy == "one_for_all" else children[children.index(child) :]

    async def _stop_all(self) -> None:
        for child in reversed(self._children.values()):
            await self._stop(child)

    async def _ended(self, child: _Child, reason: object) -> None:
        await super()._ended(child, reason)
        if child.spec.significant and not child.is_restarting and child.address is None:
            others = any(one.spec.significant and one.address for one in self._children.values())
            if self._spec.auto_shutdown == "any_significant" or not others:
                self.exit("shutdown")

    # What clients ask for

    def _known(self, id: Hashable) -> _Child:
        child = self._children.get(id)
        if child is None:
            raise ChildError("not_found", id)
        return child

    def _not_running(self, id: Hashable) -> _Child:
        child = self._known(id)
        if child.is_restarting:
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
        child = _Child(spec)
        address = await self._start(child)
        if address is not None or spec.restart != "temporary":
            self._children[spec.id] = child
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
        return supervisor.call(_Request("_end", id), timeout=None)

    @staticmethod
    def restart_child(supervisor: Address, id: Hashable) -> Deferred[Address | None]:
        """
        Start a child again that was stopped.

        The error can be ``"not_found"``, ``"running"`` or ``"restarting"``,
        or :exc:`~echoactor.errors.StartFailed`, and the child stays stopped.
        """
        return supervisor.call(_Request("_begin", id), timeout=None)

    @staticmethod
    def delete_child(supervisor: Address, id: Hashable) -> Deferred[None]:
        """
        Forget a child that was stopped.

        The error can be ``"not_found"``, ``"running"`` or ``"restarting"``.
        """
        return supervisor.call(_Request("_delete", id), timeout=None)


class DynamicSupervisor(_Supervising):
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
        match message:
            case Adopt(address, spec):
                if self.system.is_alive(address):  # else nothing will be heard of it any more
                    child = _Child(spec)
                    child.address = address
                    self._children[child] = self._running[address] = child
            case _:
                await super().receive(message)

    def _forget(self, child: _Child) -> None:
        del self._children[child]

    def _with(self, child: _Child) -> list[_Child]:
        return [child]

    async def _stop_all(self) -> None:
        ends = [self._tell_to_end(child) for child in reversed(self._children.values())]
        for end in ends:
            if end is not None:
                await end

    async def _ended(self, child: _Child, reason: object) -> None:
        await super()._ended(child, reason)
        if child.address is None and not child.is_restarting:
            self._children.pop(child, None)  # one that ended for good does not come again

    # What clients ask for

    async def _add(self, spec: ChildSpec) -> Address | None:
        if spec.significant:
            raise SpecError(f"significant: the child {spec.id!r} can be none of a DynamicSupervisor")
        limit = self._spec.max_children
        if limit is not None and len(self._children) >= limit:
            raise ChildError("max_children", spec.id)
        child = _Child(spec)
        address = await self._start(child)
        if address is not None:
            self._children[child] = child
        return address

    async def _end(self, address: Address) -> None:
        child = self._running.get(address)
        if child is None:
            raise ChildError("not_found", address)
        await self._stop(child)
        self._forget(child)

    @staticmethod
    def terminate_child(supervisor: Address, child: Address) -> Deferred[None]:
        """
        Stop a child for good.

        The error can be ``"not_found"``.
        """
        return supervisor.call(_Request("_end", child), timeout=None)
