"""The actors of one process: their run queue, their addresses, their end."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol, TypeGuard, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import BaseProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import signals
from .actor import Actor
from .address import Address
from .calls import start_call
from .cell import DEAD, RUNNABLE, WAITING, Cell
from .errors import NotAnActor, SystemStopped
from .events import ActorCrashed, ActorEnded, ActorSpawned, DeadLetter, Events, log_crash
from .messages import is_error
from .styles import CallbackCell, CoroutineCell
from .timers import Timer, Timers

__all__ = ["ActorSystem", "Resource", "RunQueue", "Runnable"]

_log = Logger()

TURN = 1000
"""Messages handled in one turn of the reactor: half a millisecond of small
ones. More would let sockets and timers wait, fewer would spend the time in the
reactor's own loop."""

SHUTDOWN_TIME = 5.0
"""Seconds that actors which trap exits have to end when the system stops, as
OTP's default for workers; then they are killed."""

_start_numbers = count(1)


class Runnable(Protocol):
    """What stands in the run queue: actors, and calls that have their outcome."""

    def run(self) -> int:
        """Have a turn; returns how many messages that cost."""


AnyCallbackCell = TypeVar("AnyCallbackCell", bound=CallbackCell)


class RunQueue(Protocol):
    """Which runnable is next. A deque is one; a simulation brings another."""

    def append(self, runnable: Runnable, /) -> None: ...
    def popleft(self) -> Runnable: ...
    def __len__(self) -> int: ...


class Resource(Protocol):
    """What has to be gone before a system has stopped: an open connection."""

    def abort(self) -> None:
        """Be gone at once."""


class ActorSystem(MultiService):
    """
    The actors of one process, and a Twisted service.

    It works from its construction on: a program that needs no services just
    spawns. As a service it starts and stops the services under it (listeners,
    say), and ``stopService`` ends its actors after them. A stopped system
    stays stopped.

    :param reactor: the reactor, or a ``task.Clock``.
    :param name: what addresses print, and the service's name.
    :param run_queue: chooses the order of turns; for simulations. With one
        given, what the reactor hands to a connection is never delivered at once.
    """

    def __init__(
        self, reactor: IReactorTime, name: str | None = None, *, run_queue: RunQueue | None = None
    ) -> None:
        super().__init__()
        if name is not None:
            self.setName(name)
        self.reactor = reactor
        self.label = name or "actors"
        self.start_number = next(_start_numbers)
        self.events = Events()
        self.events.subscribe(ActorCrashed, log_crash)
        self.timers = Timers(reactor)
        self.dead_letters = 0
        self.current: Cell | None = None
        self.delivers_at_once = run_queue is None
        self._run_queue: RunQueue = deque() if run_queue is None else run_queue
        self._awake = False  # a turn is scheduled, or going on
        self._cells: dict[int, Cell] = {}
        self._numbers = count(1)
        self._resources: dict[Resource, None] = {}
        self.is_stopping = False  # or has stopped
        self._deadline: Timer | None = None
        self._stopped: list[Deferred[None]] | None = []  # who waits for the end; None after it

    # Actors

    def spawn(self, function: Callable[..., Any], *args: Any) -> Address:
        """
        Start an actor; Elixir: ``spawn``.

        :param function: an Actor class, or a coroutine function that takes
            ``me`` first.
        :param args: for its constructor, or for the function after ``me``.
        :returns: its address, at once. The constructor and the coroutine run
            in the actor's first turn; if they fail, that is the actor's exit.
        :raises NotAnActor: ``function`` is neither.
        :raises SystemStopped: the system is stopping or has stopped.
        """
        if self.is_stopping:
            raise SystemStopped(f"{self.label} is stopping or has stopped, and spawns nothing")
        number = next(self._numbers)
        address = Address(self, number)
        cell: Cell
        if _is_actor_class(function):
            cell = CallbackCell(self, address, (function, args))
        elif inspect.iscoroutinefunction(function):
            cell = CoroutineCell(self, address, (function, args))
        else:
            raise NotAnActor(
                "spawn takes an Actor class or a coroutine function "
                f"(connections come from an ActorFactory), not {function!r}"
            )
        self._cells[number] = cell
        if ActorSpawned in self.events:
            self.events.emit(ActorSpawned(address))
        self.enqueue(cell)
        return address

    def adopt(self, actor: Actor, kind: type[AnyCallbackCell]) -> AnyCallbackCell:
        """
        Make an actor of an object that exists already; for connections.

        :param kind: the class of its cell.
        :raises SystemStopped: the system is stopping or has stopped.
        """
        if self.is_stopping:
            raise SystemStopped(f"{self.label} is stopping or has stopped, and takes nothing in")
        number = next(self._numbers)
        cell = kind(self, Address(self, number), None, actor)
        actor._actor_cell = cell
        self._cells[number] = cell
        if ActorSpawned in self.events:
            self.events.emit(ActorSpawned(cell.address))
        cell.life = WAITING  # only now: what a listener sends must not be its first step
        return cell

    def find(self, address: Address) -> Cell | None:
        """The living actor behind an address; for the runtime alone."""
        return self._cells.get(address.number) if address._system is self else None

    def is_alive(self, address: Address) -> bool:
        """Whether the actor lives; Elixir: ``Process.alive?``."""
        return self.find(address) is not None

    def count_actors(self) -> int:
        """How many actors live."""
        return len(self._cells)

    def deliver(self, number: int, message: object) -> None:
        """Put a message into a mailbox; what ``address.send`` does."""
        cell = self._cells.get(number)
        if cell is None:
            self.dead_letter(Address(self, number), message)
            return
        # mailbox.put, written out: this runs for every message.
        if cell.arrived is None:
            cell.arrived = [message]
        else:
            cell.arrived.append(message)
        if cell.life is WAITING:
            cell.life = RUNNABLE
            self._run_queue.append(cell)
            if not self._awake:
                self._wake()

    def dead_letter(self, address: Address, message: object) -> None:
        """Count a message that nobody will read."""
        self.dead_letters += 1
        if DeadLetter in self.events:
            self.events.emit(DeadLetter(address, message))

    def call(self, callee: Address, request: object, timeout: float | None) -> Deferred[Any]:
        """What ``address.call`` does."""
        return start_call(self, callee, request, timeout)

    def next_number(self) -> int:
        """A number for an actor, a monitor or a call, never used twice."""
        return next(self._numbers)

    def exit(self, address: Address, reason: object) -> None:
        """What ``address.exit`` does."""
        cell = self.find(address)
        if cell is not None:
            sender = None if self.current is None else self.current.address
            signals.send_exit(cell, sender, reason, linked=False)

    def end(
        self, cell: Cell, reason: object, failure: Failure | None = None, *, by_itself: bool = False
    ) -> None:
        """
        An actor ends. Its address is dead before anybody hears of it, and
        everybody has heard of it before what it held is let go.

        :param failure: the exception that ended it, for the log.
        :param by_itself: no signal ended it, so an error is its own and is reported.
        """
        cell.life = DEAD
        del self._cells[cell.address.number]
        signals.sever(cell, reason)
        if by_itself and is_error(reason) and ActorCrashed in self.events:
            self.events.emit(ActorCrashed(cell.address, reason, failure))
        if ActorEnded in self.events:
            self.events.emit(ActorEnded(cell.address, reason))
        cell.release(reason)

    # The run queue

    def enqueue(self, runnable: Runnable) -> None:
        """Give something a turn, after those that wait already."""
        self._run_queue.append(runnable)
        if not self._awake:
            self._wake()

    def _wake(self) -> None:
        self._awake = self.timers.is_busy = True
        self.reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        """Let runnable actors run until none is left or the turn's budget is spent."""
        queue = self._run_queue
        budget = TURN
        try:
            while queue and budget > 0:
                budget -= queue.popleft().run()
        finally:  # SystemExit and KeyboardInterrupt pass through here
            self.current = None
            self._awake = False
            if queue:
                self._wake()
            else:
                if self._deadline is not None and not self._cells and not self._resources:
                    self._conclude()
                self.timers.settle()

    # The service

    def privilegedStartService(self) -> None:
        """Open what needs privileges; see ``IService``."""
        self._refuse_if_stopped()
        super().privilegedStartService()

    def startService(self) -> None:
        """
        Start the services under this one. Starting a started system does nothing.

        :raises SystemStopped: it was stopped; make a new one.
        """
        self._refuse_if_stopped()
        if not self.running:
            try:
                super().startService()
            except BaseException:
                self.running = 0  # so that it can be tried again
                raise

    def stopService(self) -> Deferred[None]:
        """
        Stop the services under this one, then end all actors with the reason
        ``"shutdown"``, and kill those that are left after 5 seconds.

        :returns: a Deferred that fires when no actor, no timer and no
            connection is left. Stopping twice waits for the same end.
        """
        stopped: Deferred[None] = Deferred()
        if self._stopped is None:
            stopped.callback(None)
            return stopped
        self._stopped.append(stopped)
        if not self.is_stopping:
            self.is_stopping = True
            # Never fails: a service that fails to stop is logged by Twisted.
            super().stopService().addCallback(lambda _: self._end_actors())
        return stopped

    def abort(self) -> None:
        """End everything at once: kill all actors, abort all connections. For those who cannot wait."""
        for cell in list(self._cells.values()):
            signals.send_exit(cell, None, "kill", linked=False)
        for resource in list(self._resources):
            resource.abort()

    def hold(self, resource: Resource) -> None:
        """The system has not stopped before ``resource`` is let go."""
        self._resources[resource] = None

    def let_go(self, resource: Resource) -> None:
        """``resource`` is gone."""
        self._resources.pop(resource, None)
        if self.is_stopping and not self._awake:
            self._wake()  # its turn finds out whether that was the last

    def _refuse_if_stopped(self) -> None:
        if self.is_stopping:
            raise SystemStopped(f"{self.label} was stopped and stays stopped; make a new ActorSystem")

    def _end_actors(self) -> None:
        for cell in reversed(list(self._cells.values())):  # last started, first ended
            signals.send_exit(cell, None, "shutdown", linked=False)
        self._deadline = self.timers.schedule(SHUTDOWN_TIME, self._kill_actors)
        if not self._awake:
            self._wake()

    def _kill_actors(self) -> None:
        for cell in list(self._cells.values()):
            _log.error("actor {address} did not stop in time and is killed", address=str(cell.address))
            signals.send_exit(cell, None, "kill", linked=False)

    def _conclude(self) -> None:
        """Nothing is left: the system has stopped."""
        assert self._deadline is not None
        self._deadline.cancel()
        self._deadline = None
        self.timers.settle()
        waiting, self._stopped = self._stopped, None
        for stopped in waiting or ():
            stopped.callback(None)


def _is_actor_class(function: object) -> TypeGuard[type[Actor]]:
    return (
        isinstance(function, type) and issubclass(function, Actor) and not issubclass(function, BaseProtocol)
    )
