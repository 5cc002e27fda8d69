"""What is supervised and how: child specs, strategies, limits. Data, checked where it is written down."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar, Literal, get_args

from twisted.application.service import IService

from .actor import is_actor_class, is_coroutine_function
from .errors import SpecError
from .mailbox import MailboxBound
from .names import check_name
from .timers import is_seconds

__all__ = ["BackOff", "ChildSpec", "DynamicSupervisorSpec", "SupervisorSpec"]

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]

WORKER_SHUTDOWN = 5.0
"""Seconds that a worker has to end when it is told to, before it is killed: OTP's default."""

_BY_KIND: Any = object()  # the default of ``shutdown`` depends on what is started


def _one_of(option: str, value: object, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise SpecError(f"{option}: {value!r} is none of {', '.join(map(repr, legal))}")


def _seconds(option: str, value: object, *, or_else: str = "", positive: bool = False) -> None:
    if not is_seconds(value, positive=positive):
        sign = "> 0" if positive else ">= 0"
        raise SpecError(f"{option}: {value!r} is not a number of seconds {sign}{or_else}")


def _count(option: str, value: object, *, least: int) -> None:
    if type(value) is not int or value < least:
        raise SpecError(f"{option}: {value!r} is not an integer >= {least}")


@dataclass(frozen=True, slots=True, init=False)
class ChildSpec:
    """
    How a supervisor starts, restarts and stops one child; OTP's ``child_spec()``.

    :ivar start: an Actor class, a coroutine function, a
        :class:`SupervisorSpec` or :class:`DynamicSupervisorSpec`, or a Twisted ``IService``, which is started
        and stopped again and again.
    :ivar args: for the Actor class or coroutine function.
    :ivar id: tells it from its siblings; the name of ``start`` if left out.
    :ivar name: it is registered under this name.
    :ivar restart: ``"permanent"`` (always), ``"transient"`` (when it ended
        with an error), or ``"temporary"`` (never; its spec goes with it).
    :ivar shutdown: seconds it has to end, before it is killed; None for any
        time; ``"brutal_kill"`` to kill it at once. If left out, 5 seconds for
        a worker and any time for a supervisor.
    :ivar significant: whether its end can be its supervisor's; see
        ``auto_shutdown`` of :class:`SupervisorSpec`.
    :ivar mailbox: how many messages may wait for it; None for any number.
    :raises SpecError: something is wrong; the error names the field and says what is right.
    """

    start: Any
    args: tuple[Any, ...]
    id: Hashable
    name: str | None
    restart: str
    shutdown: float | str | None
    significant: bool
    mailbox: MailboxBound | None

    def __init__(
        self,
        start: Any,
        *args: Any,
        id: Hashable = None,
        name: str | None = None,
        restart: Restart = "permanent",
        shutdown: float | Literal["brutal_kill"] | None = _BY_KIND,
        significant: bool = False,
        mailbox: MailboxBound | None = None,
    ) -> None:
        ready_made = isinstance(start, (SupervisorSpec, DynamicSupervisorSpec)) or IService.providedBy(start)
        if not (ready_made or is_actor_class(start) or is_coroutine_function(start)):
            legal = "an Actor class, a coroutine function, the spec of a supervisor, or an IService"
            raise SpecError(f"start: {start!r} is not {legal}")
        if ready_made and args:
            raise SpecError(
                f"args: {args!r} are for an Actor class or a coroutine function, not for {start!r}"
            )
        if name is not None:
            try:
                check_name(name)
            except (TypeError, ValueError) as error:
                raise SpecError(str(error)) from None
        if not (mailbox is None or isinstance(mailbox, MailboxBound)):
            raise SpecError(f"mailbox: {mailbox!r} is neither a MailboxBound nor None")
        if mailbox is not None and _supervises(start):
            raise SpecError("mailbox: a supervisor's has no bound, or it could lose an order")
        _one_of("restart", restart, get_args(Restart))
        if shutdown is _BY_KIND:
            shutdown = None if _supervises(start) else WORKER_SHUTDOWN
        elif shutdown is not None and shutdown != "brutal_kill":
            _seconds("shutdown", shutdown, or_else=", None (any time) or 'brutal_kill'")
        if significant and restart == "permanent":
            raise SpecError("significant: a child that is significant is 'transient' or 'temporary'")
        if id is None:
            id = getattr(start, "__qualname__", None) or type(start).__qualname__
        try:
            hash(id)
        except TypeError:
            raise SpecError(f"id: {id!r} is not hashable") from None
        for attribute, value in (
            ("start", start),
            ("args", args),
            ("id", id),
            ("name", name),
            ("restart", restart),
            ("shutdown", shutdown),
            ("significant", bool(significant)),
            ("mailbox", mailbox),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def is_supervisor(self) -> bool:
        """Whether the child has children of its own."""
        return _supervises(self.start)

    @classmethod
    def of(cls, child: Any) -> ChildSpec:
        """The spec of what can be started without further words; a spec's own is itself."""
        return child if isinstance(child, ChildSpec) else cls(child)


@dataclass(frozen=True, slots=True)
class BackOff:
    """
    How long to wait before a restart, so that a child that cannot live does not burn the processor.

    OTP restarts at once. The first restart waits ``first`` seconds, and each
    further one ``factor`` times as long as the one before, up to ``longest``.
    A child that has lived for ``longest`` seconds begins anew.
    """

    first: float = 0.1
    factor: float = 2.0
    longest: float = 30.0

    def __post_init__(self) -> None:
        _seconds("first", self.first, positive=True)
        _seconds("longest", self.longest, positive=True)
        if not (isinstance(self.factor, (int, float)) and 1 <= self.factor < inf):
            raise SpecError(f"factor: {self.factor!r} is not a number >= 1")

    def delay(self, number: int) -> float:
        """
        How long to wait.

        :param number: which restart in a row this is, from 1.
        :returns: seconds.
        """
        try:
            return min(self.longest, self.first * self.factor ** (number - 1))
        except OverflowError:
            return self.longest


def _supervises(start: object) -> bool:
    return isinstance(start, (SupervisorSpec, DynamicSupervisorSpec)) or getattr(
        start, "_is_supervisor", False
    )


def _check_intensity(intensity: object, period: object, back_off: object) -> None:
    _count("intensity", intensity, least=0)
    _seconds("period", period, positive=True)
    if not (back_off is None or isinstance(back_off, BackOff)):
        raise SpecError(f"back_off: {back_off!r} is neither a BackOff nor None")


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """
    A supervisor and its children; OTP's ``sup_flags()`` and the list of child specs.

    Spawn it: ``system.spawn(Supervisor, SupervisorSpec([…]))``, or make it a child of another.

    :ivar children: :class:`ChildSpec` each, or what one can be made of: an
        Actor class, a coroutine function, a SupervisorSpec, an ``IService``.
    :ivar strategy: who is restarted when one ends: ``"one_for_one"`` (that
        one), ``"one_for_all"``, or ``"rest_for_one"`` (that one and those started after it).
    :ivar intensity: with more restarts than this within ``period`` seconds,
        the supervisor stops its children and ends.
    :ivar period: seconds.
    :ivar auto_shutdown: whether the supervisor ends with its significant
        children: ``"never"``, ``"any_significant"`` or ``"all_significant"``.
    :ivar back_off: how long to wait before a restart; None, as in OTP, is not at all.
    :raises SpecError: something is wrong; the error names the field and says what is right.
    """

    actor_class: ClassVar[Any]  # Supervisor; set where that is, as it comes after this

    children: Iterable[Any] = ()
    strategy: Strategy = field(default="one_for_one", kw_only=True)
    intensity: int = field(default=1, kw_only=True)
    period: float = field(default=5.0, kw_only=True)
    auto_shutdown: AutoShutdown = field(default="never", kw_only=True)
    back_off: BackOff | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _one_of("strategy", self.strategy, get_args(Strategy))
        _one_of("auto_shutdown", self.auto_shutdown, get_args(AutoShutdown))
        _check_intensity(self.intensity, self.period, self.back_off)
        if not isinstance(self.children, Iterable):
            raise SpecError(f"children: {self.children!r} is not a list of children")
        children = tuple(map(ChildSpec.of, self.children))
        seen = set()
        for child in children:
            if child.id in seen:
                raise SpecError(f"id: two children have the id {child.id!r}; give one of them another")
            seen.add(child.id)
            self.check(child)
        object.__setattr__(self, "children", children)

    def check(self, child: ChildSpec) -> None:
        """:raises SpecError: the child does not fit this supervisor."""
        if child.significant and self.auto_shutdown == "never":
            raise SpecError(
                f"significant: the child {child.id!r} can be none with auto_shutdown='never'; "
                "legal are 'any_significant' and 'all_significant'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicSupervisorSpec:
    """
    A supervisor whose children come and go, each for itself; Elixir's ``DynamicSupervisor``.

    :ivar max_children: how many there may be at a time; None for any number.
    :ivar intensity: see :class:`SupervisorSpec`, as for the others.
    """

    actor_class: ClassVar[Any]  # DynamicSupervisor; see SupervisorSpec

    max_children: int | None = None
    intensity: int = 1
    period: float = 5.0
    back_off: BackOff | None = None

    def __post_init__(self) -> None:
        if self.max_children is not None:
            _count("max_children", self.max_children, least=0)
        _check_intensity(self.intensity, self.period, self.back_off)
