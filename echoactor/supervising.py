"""What supervisors have in common: they start, restart and stop other actors, as OTP's do."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr

from .actor import Actor
from .address import Address
from .calls import wait_for_end, wait_for_start
from .children import Child, ChildCounts, ChildInfo, RestartLimit, Retry
from .errors import ActorError, CallTimeout, StartFailed
from .events import ActorRestarted
from .messages import Call, Exit, is_error, is_reason
from .services import ServiceActor
from .specs import BackOff, ChildSpec, DynamicSupervisorSpec, SupervisorSpec

__all__ = ["Request", "Supervising", "child_of", "count_supervised", "supervised"]

_log = Logger()


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks of a supervisor: one of its methods, and the argument."""

    method: str
    argument: Any = None


class Supervising(Actor):
    """
    What both supervisors have in common: starting, stopping, counting restarts.

    Everything happens in the supervisor's own steps, one at a time, and while
    a child starts or stops the mailbox waits: as in OTP.
    """

    _is_supervisor = True  # what its spec asks for

    def __init__(self, intensity: int, period: float, back_off: BackOff | None) -> None:
        self.trap_exits = True
        self._parent = self._actor_cell.parent
        self._limit = RestartLimit(intensity, period)
        self._back_off = back_off
        self._children: dict[Hashable, Child] = {}
        self._running: dict[Address, Child] = {}

    async def receive(self, message: Any) -> None:
        kind = type(message)
        if not (kind is Exit or kind is Call or kind is Retry):
            return  # to match would be to ask it, and a dead weakref.proxy raises
        match message:
            case Exit(sender, reason):
                child = None if sender is None else self._running.pop(sender, None)
                if child is not None:
                    await self._ended(child, reason)
                elif sender is None or sender == self._parent:
                    self.exit(reason)
            case Call(request, reply) if type(request) is Request:
                try:
                    reply(await self._answer(request.method, request.argument))
                except Exception:  # also what an id of the client's raises when it is compared or shown
                    reply(Failure())
            case Retry() as retry:
                group = [child for child in self._children.values() if child.pending is retry]
                if retry.counts and retry.child in group:
                    await self._restart(retry.child)
                elif group:  # nothing of theirs has failed: whose failure it was, somebody has stopped since
                    await self._start_again(group)

    async def terminate(self, reason: object) -> None:
        """Stop all children."""
        await self._stop_all()

    def tell(self, most: int | None = None) -> tuple[ChildInfo, ...]:
        """The children, in the order of their start; the first ``most`` of them, if not all."""
        return tuple(child.tell() for child in islice(self._children.values(), most))

    def count(self) -> int:
        """How many children it has, running or not."""
        return len(self._children)

    # What the two do differently

    def _forget(self, child: Child) -> None:
        """It is no child any more."""
        raise NotImplementedError  # each kind has its own key

    def _with(self, child: Child) -> list[Child]:
        """Who is restarted along with it, it included, in the order of their start."""
        raise NotImplementedError  # each kind has its own strategy

    async def _stop_all(self) -> None:
        """Stop the children, and wait for them."""
        raise NotImplementedError  # one after the other, or all at once

    # Ends and restarts

    async def _ended(self, child: Child, reason: object) -> bool:
        """A child has ended by itself; returns whether it has for good."""
        child.former, child.address = child.address, None
        child.reason = reason
        restart = child.spec.restart
        if restart == "permanent" or (restart == "transient" and is_error(reason)):
            await self._restart(child)
            return False
        if restart == "temporary":
            self._forget(child)
        return True

    async def _restart(self, child: Child) -> None:
        """Restart a child and those that go with it, or end, when that happens too often."""
        now = self.system.reactor.seconds()
        limit = self._limit
        if limit.is_passed(now):
            _log.error(
                "supervisor {address} ends: its children were restarted more than {intensity} times "
                "in {period} seconds; the last one is {child}, which ended with {reason}",
                address=str(self.address),
                intensity=limit.intensity,
                period=limit.period,
                child=safe_repr(child.spec.id),
                reason=safe_repr(child.reason),
            )
            self.exit("shutdown")
        group = self._with(child)
        for one in reversed(group):
            await self._stop(one)
            if one.spec.restart == "temporary":
                self._forget(one)
        group = [one for one in group if one.spec.restart != "temporary"]
        if self._back_off is None:
            await self._start_again(group)
        else:
            retry = self._put_off(group, child, counts=False)
            delay = child.next_delay(now, self._back_off)
            retry.timer = self.address.send_after(delay, retry)

    async def _start_again(self, group: list[Child]) -> None:
        """Start children that were stopped together, in order."""
        for place, one in enumerate(group):
            reason = one.reason
            try:
                await self._start(one)
            except ActorError as error:
                one.reason = error.reason if isinstance(error, StartFailed) else str(error)
                _log.error(
                    "supervisor {address} could not start {child} again: {reason}",
                    address=str(self.address),
                    child=safe_repr(one.spec.id),
                    reason=safe_repr(one.reason),
                )
                # Once more, and that counts; but first what waits in the mailbox, perhaps the order to end.
                self.address.send(self._put_off(group[place:], one, counts=True))
                return
            if one.address is not None:
                one.restarts += 1
                if ActorRestarted in self.system.events:
                    restarted = ActorRestarted(one.address, self.address, one.spec.id, reason)
                    self.system.events.emit(restarted)

    def _put_off(self, group: list[Child], child: Child, *, counts: bool) -> Retry:
        """Let children wait for a restart, because of one of them."""
        retry = Retry(child, counts)
        for one in group:
            one.pending = retry
        return retry

    # Starting and stopping one

    async def _start(self, child: Child) -> Address | None:
        """
        Start a child that does not run.

        :returns: its address; None when it ended normally before it had started, OTP's ``ignore``.
        :raises ActorError: it could not start.
        """
        child.pending = None
        spec = child.spec
        function, args = _plan(spec)
        address = self.spawn(function, *args, name=spec.name, link=True, mailbox=spec.mailbox)
        # Known before it has started, so that a supervisor that is stopped meanwhile stops it, too.
        child.address = address
        self._running[address] = child
        try:
            await wait_for_start(self.system, address, None)
        except StartFailed as error:
            self._is_gone(child)
            if not is_reason(error.reason, "normal"):
                raise
            return None
        child.has_started(self.system.reactor.seconds())
        return address

    async def _stop(self, child: Child) -> None:
        """Tell a child to end, and kill it if it does not; it need not be linked still."""
        ended = self._tell_to_end(child)
        if ended is not None:
            child.reason = await ended
            self._is_gone(child)

    def _is_gone(self, child: Child) -> None:
        """A child is dead. (Not before: a supervisor that is stopped while it waits tells it once more.)"""
        if child.address is not None:
            del self._running[child.address]
            child.address = None

    def _tell_to_end(self, child: Child) -> Deferred[Any] | None:
        """Tell a child to end; returns a Deferred that fires when it is dead, None when it does not run."""
        self._give_up_waiting(child)
        address = child.address
        if address is None:
            return None
        self.unlink(address)  # its end shall not come as a message, too
        shutdown = child.spec.shutdown
        if shutdown == "brutal_kill":
            address.exit("kill")
            return address.ended()
        assert not isinstance(shutdown, str)
        if child.spec.is_supervisor:
            # An exit would wait in its mailbox while a child of its own starts, perhaps for ever.
            address.stop("shutdown").addErrback(lambda _: None)
        else:
            address.exit("shutdown")

        def kill(failure: Failure) -> Deferred[Any]:
            failure.trap(CallTimeout)
            _log.error(
                "child {child} ({address}) did not stop within {seconds} s and is killed",
                child=safe_repr(child.spec.id),
                address=str(address),
                seconds=shutdown,
            )
            address.exit("kill")
            return address.ended()

        return wait_for_end(self.system, address, shutdown).addErrback(kill)

    def _give_up_waiting(self, child: Child) -> None:
        """A child does not wait for a restart any more; the last one takes its timer along."""
        retry, child.pending = child.pending, None
        if retry is None or retry.timer is None:
            return
        if not any(one.pending is retry for one in self._children.values()):
            retry.timer.cancel()

    # What clients ask for

    async def _answer(self, method: str, argument: Any) -> Any:
        answer = getattr(self, method, None)
        if answer is None:
            raise ActorError(
                f"{type(self).__name__} {self.address} has no children that stop and start again"
            )
        return await answer(argument)

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
        return supervisor.call(Request("_which"), timeout=None)

    @staticmethod
    def count_children(supervisor: Address) -> Deferred[ChildCounts]:
        """How many there are."""
        return supervisor.call(Request("_count"), timeout=None)

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
        return supervisor.call(Request("_add", ChildSpec.of(child)), timeout=None)


def supervised(actor: object, most: int | None = None) -> tuple[ChildInfo, ...] | None:
    """The children of an actor, or the first ``most`` of them; None when it is no supervisor."""
    return actor.tell(most) if isinstance(actor, Supervising) else None


def child_of(actor: object, address: Address) -> ChildInfo | None:
    """What a supervisor knows of a child, until it has read of its end; None if it has none there."""
    child = actor._running.get(address) if isinstance(actor, Supervising) else None
    return None if child is None else child.tell()


def count_supervised(actor: object) -> int | None:
    """How many children an actor has; None when it is no supervisor."""
    return actor.count() if isinstance(actor, Supervising) else None


def _plan(spec: ChildSpec) -> tuple[Any, tuple[Any, ...]]:
    """What to spawn, and with which arguments."""
    start = spec.start
    if isinstance(start, (SupervisorSpec, DynamicSupervisorSpec)):
        return start.actor_class, (start,)
    if IService.providedBy(start):
        return ServiceActor, (start,)
    return start, spec.args
