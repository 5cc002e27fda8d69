"""What a program writes: an Actor class, or a coroutine function; and what either can do."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from enum import Enum
from types import FunctionType, coroutine
from typing import TYPE_CHECKING, Any, NoReturn, cast

from twisted.internet.defer import Deferred

from . import signals
from .address import Address
from .errors import ActorExit
from .mailbox import EMPTY
from .messages import Monitor, Timeout
from .timers import Timer, check_seconds

if TYPE_CHECKING:
    from .cell import Cell
    from .system import ActorSystem

__all__ = [
    "FIRST",
    "LOOK",
    "NEWS",
    "Actor",
    "ActorContext",
    "CoroutineActor",
    "Wants",
    "is_actor_class",
    "is_coroutine_function",
]


class ActorContext:
    """What an actor can do: the common part of both styles. Elixir: ``self()`` and the Process module."""

    __slots__ = ("_actor_cell",)
    _actor_cell: Cell

    @property
    def address(self) -> Address:
        """The actor's own address; Elixir: ``self()``."""
        return self._actor_cell.address

    @property
    def system(self) -> ActorSystem:
        """The system the actor lives in."""
        return cast("ActorSystem", self._actor_cell.system)

    def spawn(self, function: Callable[..., Any], *args: Any, **options: Any) -> Address:
        """
        Start another actor; see :meth:`ActorSystem.spawn <echoactor.ActorSystem.spawn>`.

        To be used in this actor's own steps, as it says *the current actor*.
        """
        return self.system.spawn(function, *args, **options)

    def start(self, function: Callable[..., Any], *args: Any, **options: Any) -> Deferred[Address]:
        """Start another actor and wait; see :meth:`ActorSystem.start <echoactor.ActorSystem.start>`."""
        return self.system.start(function, *args, **options)

    def exit(self, reason: object = "normal") -> NoReturn:
        """
        End this actor; Elixir: ``exit(reason)``.

        :param reason: ``"normal"``, ``"shutdown"``, ``Shutdown(detail)``, or any other value,
            which is then logged as an error.
        :raises ActorExit: always; let it pass.
        """
        raise ActorExit(reason)

    def link(self, address: Address) -> None:
        """
        Tie this actor's life to another's: when one ends, the other gets an exit signal.

        Linking twice is one link. To a dead address, the signal (reason ``"noproc"``) comes at once.
        """
        signals.link(self._actor_cell, address)

    def unlink(self, address: Address) -> None:
        """Remove the link to ``address``, if there is one."""
        signals.unlink(self._actor_cell, address)

    def monitor(self, address: Address) -> Monitor:
        """
        Watch another actor: ``Down(monitor, address, reason)`` comes when it ends.

        Each monitor counts for itself. For a dead address, it comes at once with reason ``"noproc"``.
        """
        return signals.monitor(self._actor_cell, address)

    def demonitor(self, monitor: Monitor, *, flush: bool = False) -> None:
        """
        Stop watching.

        :param flush: also take a ``Down`` out of the mailbox that waits there already; else it stays.
        """
        signals.demonitor(self._actor_cell, monitor, flush=flush)

    @property
    def trap_exits(self) -> bool:
        """
        Whether exit signals become messages, ``Exit(sender, reason)``, instead of ending this actor.

        Elixir: ``Process.flag(:trap_exit, true)``.
        """
        return self._actor_cell.traps_exits

    @trap_exits.setter
    def trap_exits(self, value: bool) -> None:
        self._actor_cell.traps_exits = value


class Actor(ActorContext):
    """
    An actor with a callback for each message, like a GenServer.

    1. ``system.spawn(Counter, 10)`` returns the address at once.
    2. In the actor's first step, ``Counter(10)`` is made; address, system and
       ``spawn`` work in the constructor already.
    3. ``receive`` is called with one message at a time. It may be a coroutine
       function: the mailbox waits until it is done.
    4. ``terminate`` is called when the actor ends by itself.
    """

    __slots__ = ()
    _is_actor_class = True  # what spawn asks for

    def started(self) -> Awaitable[None] | None:
        """
        Do what a constructor cannot: await. The mailbox waits until it is done.

        ``start`` waits for it, and so does a supervisor before it starts the next child.
        """

    def receive(self, message: Any) -> Awaitable[None] | None:
        """
        Handle one message. What it returns is awaited if it can be, else ignored.

        :param message: the first message that was not handled yet.
        """
        raise NotImplementedError(f"{type(self).__qualname__} needs a method receive(self, message)")

    def terminate(self, reason: object) -> Awaitable[None] | None:
        """
        Clean up, as the actor's last step. It may be a coroutine function;
        the actor has ended when it is done.

        OTP's rule: called when the actor ends by itself (``exit``, or an
        exception of ``receive``), not when a signal that it does not trap,
        or ``"kill"``, ends it, and not when its constructor failed.

        :param reason: the exit reason.
        """


def is_actor_class(function: Any) -> bool:
    """Whether it can be spawned as an Actor class. (A connection's class cannot: its factory makes it.)"""
    return isinstance(function, type) and getattr(function, "_is_actor_class", False)


def is_coroutine_function(function: Any) -> bool:
    """Whether it can be spawned as a coroutine function."""
    if type(function) is FunctionType and function.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # what the general test below finds out, ten times as fast
    return inspect.iscoroutinefunction(function)


class Wants(Enum):
    """What a coroutine actor yields to the runtime, besides Deferreds."""

    FIRST = "the first message, whatever it is"
    LOOK = "another step, to look through its mailbox"
    NEWS = "a new message, or the end of its time limit"


FIRST, LOOK, NEWS = Wants


def _refuse_foreign_driver() -> None:
    # Twisted's ensureDeferred hands what is yielded straight back: the caller
    # would receive a Wants, or look for ever.
    raise RuntimeError("me.receive() can be awaited in the actor's own coroutine only, not in a Deferred's")


def _receive(
    cell: Cell, wanted: Callable[[object], object] | None, timeout: float | None
) -> Generator[Wants, object, Any]:
    """
    Look, wait for news, look again.

    It runs in the actor's own coroutine, so that what a predicate raises is
    raised where the actor receives, and the time limit ends when the actor does.
    """
    looked = False
    timer: Timer | None = None
    try:
        # A step for each look: an actor that always finds something must not keep the turn.
        if (yield LOOK) is not None:
            _refuse_foreign_driver()
        while True:
            message = cell.take_first() if wanted is None else cell.take_match(wanted, news_only=looked)
            if message is not EMPTY:
                cell.handled += 1
                return message
            if timeout is not None:
                if timer is None and timeout > 0:
                    timer = cell.system.timers.schedule(timeout, cell.look_again)
                elif timer is None or timer.fired:
                    return Timeout()
            looked = True
            cell.gather()
            yield NEWS
    finally:
        if timer is not None:
            timer.cancel()


def _matcher(wanted: tuple[Any, ...]) -> Callable[[object], object]:
    """One predicate that stands for several classes and predicates."""
    for one in wanted:
        if not callable(one):
            raise TypeError(f"receive() takes classes and predicates, not {one!r}")
    classes = tuple(one for one in wanted if isinstance(one, type))
    predicates = [one for one in wanted if not isinstance(one, type)]
    if not predicates:
        return lambda message: isinstance(message, classes)
    return lambda message: isinstance(message, classes) or any(accepts(message) for accepts in predicates)


class CoroutineActor(ActorContext):
    """
    What a coroutine actor gets as its first argument, ``me``.

    ``async def counter(me, total=0)`` owns its receive loop, and ends when it returns.
    It may await ``me.receive()`` and Deferreds (``address.call(…)`` gives one).
    """

    __slots__ = ()

    @coroutine  # and not a function that makes one, which would cost every message a call more
    def receive(
        self, *wanted: type | Callable[[Any], object], timeout: float | None = None
    ) -> Generator[Wants, Any, Any]:
        """
        Wait for a message; Elixir: ``receive do … after … end``.

        :param wanted: classes, or predicates that take a message; the first
            message that fits any of them is taken, and those that do not fit
            stay queued, in order. With none given, every message fits.
        :param timeout: in seconds. 0 looks at what is there and does not wait.
            None waits for ever.
        :returns: an awaitable of the message, or of ``Timeout()``.
        :raises TypeError: ``wanted`` has something that is neither class nor predicate.
        :raises ValueError: ``timeout`` is no number of seconds.

        What a predicate raises is raised here; the message stays queued.
        """
        if not wanted and timeout is None:
            message = yield FIRST
            if message is FIRST:
                _refuse_foreign_driver()
            return message
        check_seconds("timeout", timeout)
        return (yield from _receive(self._actor_cell, _matcher(wanted) if wanted else None, timeout))
