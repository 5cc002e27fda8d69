"""What actors live in: addresses and who is behind them, spawning, deliveries, ends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from . import signals
from .actor import Actor, is_actor_class, is_coroutine_function
from .address import Address
from .calls import Reply, start_call, wait_for_end, wait_for_start
from .cell import DEAD, RUNNABLE, WAITING, Cell
from .delayed import MessageTimer
from .errors import (
    ActorExit,
    CalleeExited,
    CallingSelf,
    NameTaken,
    NoCurrentActor,
    NotAnActor,
    SystemStopped,
)
from .events import (
    ActorCrashed,
    ActorEnded,
    ActorRestarted,
    ActorSpawned,
    DeadLetter,
    Events,
)
from .logs import log_crash, log_restart
from .mailbox import MailboxBound
from .messages import is_error, is_same
from .names import Names, check_name
from .styles import CallbackCell, CoroutineCell
from .timers import check_seconds
from .turns import RunQueue, Turns

__all__ = ["Runtime"]

_start_numbers = count(1)

AnyCallbackCell = TypeVar("AnyCallbackCell", bound=CallbackCell)


class _LocalAddress(Address):
    """An address that knows a shorter way to its own runtime's mailboxes."""

    __slots__ = ()

    def send(self, message: object) -> None:
        # Runtime.deliver and Cell.put, written out: this runs for every message.
        system = self._system
        cell = system._cells.get(self.number)
        if cell is None:
            system.dead_letter(self, message)
        elif cell.life is WAITING:
            cell.arrived = [message]
            cell.life = RUNNABLE
            system.enqueue(cell)
        elif cell.arrived is not None and cell.bound is None:
            cell.arrived.append(message)
        else:
            cell.put(message)


class Runtime(Turns):
    """
    The actors of one process; :class:`~echoactor.ActorSystem` makes a service of it.

    :cvar address_class: what their addresses are; a simulation has its own.
    :ivar label: what addresses print.
    :ivar start_number: tells this system from others of its name, in this process.
    """

    address_class: ClassVar[type[Address]] = _LocalAddress

    def __init__(self, reactor: IReactorTime, label: str, run_queue: RunQueue | None) -> None:
        super().__init__(reactor, run_queue)
        self.label = label
        self.start_number = next(_start_numbers)
        self.events = Events()
        self.events.subscribe(ActorCrashed, log_crash)
        self.events.subscribe(ActorRestarted, log_restart)
        self.dead_letters = 0
        self.is_closed = False  # nothing is spawned any more
        self._handled_by_ended = 0
        self._cells: dict[int, Cell] = {}
        self._names = Names()
        self._numbers = count(1)

    # Actors

    def spawn(
        self,
        function: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        link: bool = False,
        monitor: bool = False,
        mailbox: MailboxBound | None = None,
    ) -> Address:
        """
        Start an actor; Elixir: ``spawn``, ``spawn_link``, ``spawn_monitor``.

        :param function: an Actor class, or a coroutine function that takes
            ``me`` first.
        :param args: for its constructor, or for the function after ``me``.
        :param name: register it under this name.
        :param link: also link it to the current actor, before its first step.
        :param monitor: also let the current actor watch it: it will receive a ``Down``.
        :param mailbox: how many messages may wait; None for any number.
        :returns: its address, at once. The constructor and the coroutine run
            in the actor's first turn; if they fail, that is the actor's exit.
        :raises NotAnActor: ``function`` is neither.
        :raises NameTaken: the name is another actor's.
        :raises NoCurrentActor: ``link`` or ``monitor`` outside of any actor.
        :raises SystemStopped: the system is stopping or has stopped.
        """
        if self.is_closed:
            self.refuse_if_closed()
        number = next(self._numbers)
        address = self.address_class(self, number)
        cell: Cell
        if is_actor_class(function):
            cell = CallbackCell(self, address, function, args)
        elif is_coroutine_function(function):
            cell = CoroutineCell(self, address, function, args)
        else:
            raise NotAnActor(
                "spawn takes an Actor class or a coroutine function, not "
                f"{function!r}; connections come from an ActorFactory, specs go to start_child"
            )
        if name is not None or link or monitor or mailbox is not None:
            self._furnish(cell, name, link, monitor, mailbox)
        else:
            self._cells[number] = cell
        self.enqueue(cell)
        if ActorSpawned in self.events:
            self.events.emit(ActorSpawned(address))
        return address

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        timeout: float | None = None,
        name: str | None = None,
        link: bool = False,
        monitor: bool = False,
        mailbox: MailboxBound | None = None,
    ) -> Deferred[Address]:
        """
        Start an actor and wait until it has started; OTP: ``GenServer.start``, ``start_link``.

        An Actor has started when its constructor has returned and ``started()``
        is done; a coroutine actor, when its first step is over.

        :param timeout: seconds it may take, before it is killed; None for any time.
        :returns: a Deferred of its address. It fails with
            :exc:`~echoactor.errors.StartFailed` when the actor ends before, and with
            the errors of :meth:`spawn`; the parameters are the same.
        :raises TypeError, ValueError: ``timeout`` is no number of seconds, or ``name`` no name.
        """
        check_seconds("timeout", timeout)
        try:
            address = self.spawn(function, *args, name=name, link=link, monitor=monitor, mailbox=mailbox)
            return wait_for_start(self, address, timeout)
        except (NameTaken, NotAnActor, NoCurrentActor, SystemStopped):
            return fail()

    def adopt(self, actor: Actor, kind: type[AnyCallbackCell]) -> AnyCallbackCell:
        """
        Make an actor of an object that exists already; for connections. It waits for its cell's ``begin``.

        :param kind: the class of its cell.
        :raises SystemStopped: the system is stopping or has stopped.
        """
        self.refuse_if_closed()
        number = next(self._numbers)
        cell = kind(self, self.address_class(self, number), actor, ())
        actor._actor_cell = cell
        cell.born = self.reactor.seconds()
        self._cells[number] = cell
        try:
            if ActorSpawned in self.events:
                self.events.emit(ActorSpawned(cell.address))
        except BaseException:  # SystemExit: whoever adopts it will not let it begin, and it could not end
            cell.begin()
            raise
        return cell

    def _furnish(
        self, cell: Cell, name: str | None, link: bool, monitor: bool, mailbox: MailboxBound | None
    ) -> None:
        """Give a new actor what few have; what can fail comes first."""
        if (link or monitor) and self.current is None:
            option = "link" if link else "monitor"
            raise NoCurrentActor(f"{option}=True needs a current actor as the other end")
        if not (mailbox is None or isinstance(mailbox, MailboxBound)):
            raise TypeError(f"mailbox: {mailbox!r} is neither a MailboxBound nor None")
        if name is not None:
            check_name(name)
            self._names.register(name, cell)
        self._cells[cell.address.number] = cell
        cell.bound = mailbox
        if self.current is not None:
            if link:
                signals.link(self.current, cell.address)
            if monitor:
                signals.monitor(self.current, cell.address)

    def find(self, address: Address) -> Cell | None:
        """The living actor behind an address; for the runtime alone."""
        return self._cells.get(address.number) if address._system is self else None

    def is_alive(self, address: Address) -> bool:
        """Whether the actor lives; Elixir: ``Process.alive?``."""
        return self.find(address) is not None

    def count_actors(self) -> int:
        """How many actors live."""
        return len(self._cells)

    def count_handled(self) -> int:
        """How many messages were taken so far, by those that have ended too."""
        return self._handled_by_ended + sum(cell.handled for cell in self._cells.values())

    def cells(self) -> list[Cell]:
        """The living actors, in the order of their start; for the runtime alone."""
        return list(self._cells.values())

    def end(
        self, cell: Cell, reason: object, failure: Failure | None = None, *, by_itself: bool = False
    ) -> None:
        """
        An actor ends. Its address is dead and its name free before anybody
        hears of it, and everybody has heard of it before what it held is let go.

        :param failure: the exception that ended it, for the log.
        :param by_itself: no signal ended it, so an error is its own and is reported.
        """
        cell.life = DEAD
        del self._cells[cell.address.number]
        self._handled_by_ended += cell.handled
        try:
            if cell.ties is not None:
                if cell.ties.name is not None:
                    self._names.unregister(cell.ties.name)
                signals.sever(cell, reason)
            if by_itself and is_error(reason) and ActorCrashed in self.events:
                self.events.emit(ActorCrashed(cell.address, reason, failure))
            if ActorEnded in self.events:
                self.events.emit(ActorEnded(cell.address, reason))
        finally:  # a listener may let SystemExit out
            cell.release(reason)

    def refuse_if_closed(self) -> None:
        """:raises SystemStopped: it is."""
        if self.is_closed:
            raise SystemStopped(
                f"{self.label} is stopping or has stopped, and stays so; make a new ActorSystem"
            )

    # Names

    def register(self, name: str, address: Address) -> None:
        """
        Give a living actor a name, until it ends; Elixir: ``Process.register``.

        :raises NameTaken: it is another's already (the error says whose), or the actor has a name.
        :raises ValueError: the actor is dead, or the name is empty.
        :raises TypeError: the name is no string.
        """
        check_name(name)
        cell = self.find(address)
        if cell is None:
            raise ValueError(f"address: {address} is dead, and can have no name")
        self._names.register(name, cell)

    def unregister(self, name: str) -> None:
        """Free a name, if it is taken; Elixir: ``Process.unregister``."""
        owner = self._names.unregister(name)
        cell = None if owner is None else self.find(owner)
        if cell is not None and cell.ties is not None:
            cell.ties.name = None

    def whereis(self, name: str) -> Address | None:
        """Who has this name, if anybody; Elixir: ``Process.whereis``."""
        return self._names.whereis(name)

    def names(self) -> dict[str, Address]:
        """All names and who has them, in the order registered; Elixir: ``Process.registered``."""
        return self._names.all()

    # Messages and signals, to an address or a name

    def send(self, target: Address | str, message: object) -> None:
        """
        Send to an address, or to whoever has a name.

        To a name that nobody has it is a dead letter, as with ``GenServer.cast``.
        """
        address = self._names.whereis(target) if isinstance(target, str) else target
        if address is None:
            self.dead_letter(target, message)
        else:
            address.send(message)

    def call(self, target: Address | str, request: object, timeout: float | None = 5.0) -> Deferred[Any]:
        """
        Call an address, or whoever has a name; see :meth:`Address.call <echoactor.Address.call>`.

        A name that nobody has is as a dead address: reason ``"noproc"``.
        """
        address = self._names.whereis(target) if isinstance(target, str) else target
        if address is None:
            check_seconds("timeout", timeout)
            return Reply(self, target, None, None).deferred  # type: ignore[arg-type]  # it only tells the name
        return address.call(request, timeout)

    call_actor = start_call  # what ``address.call`` does

    def deliver(self, address: Address, message: object, *, signal: bool = False) -> None:
        """
        Put a message into a mailbox.

        :param signal: an Exit or a Down, which no bound keeps out.
        """
        cell = self._cells.get(address.number)
        if cell is None:
            self.dead_letter(address, message)
        else:
            cell.put(message, signal=signal)

    def send_later(self, address: Address, message: object, delay: float, *, repeat: bool) -> MessageTimer:
        """What ``address.send_after`` and ``address.send_interval`` do."""
        return MessageTimer(self, address, message, delay, repeat)

    def dead_letter(self, target: Address | str, message: object) -> None:
        """Count a message that nobody will read."""
        self.dead_letters += 1
        if DeadLetter in self.events:
            self.events.emit(DeadLetter(target, message))

    def send_exit(self, address: Address, reason: object) -> None:
        """What ``address.exit`` does."""
        cell = self.find(address)
        if cell is not None:
            sender = None if self.current is None else self.current.address
            signals.send_exit(cell, sender, reason, linked=False)

    def wait_for_end(self, address: Address) -> Deferred[Any]:
        """What ``address.ended`` does."""
        return wait_for_end(self, address, None)

    def stop_actor(self, address: Address, reason: object, timeout: float | None) -> Deferred[None]:
        """What ``address.stop`` does."""
        cell = self.find(address)
        if cell is not None and cell is self.current:
            return fail(CallingSelf(address))

        def ended(actual: object) -> None:
            if not is_same(actual, reason):
                raise CalleeExited(address, actual)

        end = wait_for_end(self, address, timeout)
        if cell is not None and not cell.is_finishing:
            cell.end_soon(ActorExit(reason))
        return end.addCallback(ended)

    def next_number(self) -> int:
        """A number for an actor, a monitor or a timer, never used twice."""
        return next(self._numbers)
