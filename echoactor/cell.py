"""The runtime's side of one actor: its mailbox, its life, what it awaits, and how it ends."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .actor import Actor, Wants
from .address import Address
from .calls import Reply
from .errors import ActorError, ActorExit, MailboxFull
from .mailbox import EMPTY, Mailbox
from .messages import Call, Crash

if TYPE_CHECKING:
    from .runtime import Runtime
    from .signals import Ties

__all__ = [
    "AWAITING",
    "DEAD",
    "DOOMED",
    "LOOKING",
    "NEW",
    "RESUMABLE",
    "RUNNABLE",
    "RUNNING",
    "WAITING",
    "Cell",
    "Life",
]

_log = Logger()

STUBBORN = 100
"""How often GeneratorExit is thrown at a coroutine that catches everything."""

_unclosable: list[Any] = []
"""Coroutines that cannot be closed. Freeing one would make Python try again and complain on stderr."""


class Life(Enum):
    """
    Where an actor is between its first step and its last.

    Only RUNNABLE and WAITING are on the path of every message; whatever is
    out of the ordinary has a state of its own, so that a message costs one
    look at this one.
    """

    NEW = "new"  # in the run queue, for its first step
    RUNNABLE = "runnable"  # in the run queue: messages wait
    RUNNING = "running"  # current: its code runs now
    WAITING = "waiting"  # for any message
    LOOKING = "looking"  # for a message that fits; what did not fit waits in the backlog
    AWAITING = "awaiting"  # a Deferred; messages wait
    RESUMABLE = "resumable"  # in the run queue: what it awaited has fired
    DOOMED = "doomed"  # ends when its current step is over, or at its next turn
    DEAD = "dead"


NEW, RUNNABLE, RUNNING, WAITING, LOOKING, AWAITING, RESUMABLE, DOOMED, DEAD = Life


def _explain(error: BaseException) -> tuple[object, Failure | None]:
    """The exit reason an exception stands for, and what to log."""
    if issubclass(type(error), ActorExit):
        return cast(ActorExit, error).reason, None
    try:
        failure = Failure(error)
        return Crash.of(failure), failure
    except Exception:  # one that hides its class, or the name of it, and may raise its own kind for that
        return Crash("unknown", "", ""), Failure(ActorError("an exception that hides its class"))


def _passes_on(error: BaseException) -> bool:
    # Not isinstance, which would ask the exception for its class.
    return issubclass(type(error), (SystemExit, KeyboardInterrupt))


class Cell(Mailbox):
    """
    One actor as the runtime sees it: a mailbox, and a life.

    :ivar actor: what was given to spawn, an Actor class or a coroutine
        function; from its first step on, the Actor that was made of the class.
    :ivar args: its arguments; None once it has started.
    :ivar doom: what ends the actor, once it is doomed: the reason of an exit
        signal, or an ActorExit when it is to end as by itself.
    :ivar ties: links, monitors, name; None until there is one.
    :ivar coroutine: the actor's own (coroutine style), or the one that
        ``receive`` returned and that is not done (callback style).
    :ivar parent: who spawned it; None from outside any actor.
    :ivar born: when it took its first step, in the reactor's seconds; None before.
    :ivar is_finishing: whether its ``terminate`` was called.
    :ivar handled: how many messages it has taken.
    """

    __slots__ = (
        "actor",
        "address",
        "args",
        "awaited",
        "born",
        "coroutine",
        "doom",
        "handled",
        "is_finishing",
        "life",
        "parent",
        "system",
        "ties",
        "traps_exits",
    )

    life: Life

    def __init__(self, system: Runtime, address: Address, actor: Any, args: tuple[Any, ...] | None) -> None:
        self.arrived = self.backlog = self.bound = None
        self.system = system
        self.address = address
        self.actor: Any = actor
        self.args = args
        self.life = NEW
        self.handled = 0
        self.traps_exits = self.is_finishing = False
        self.ties: Ties | None = None
        self.doom: object = None
        self.awaited: Deferred[Any] | None = None
        self.coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any] | None = None
        current = system.current
        self.parent: Address | None = None if current is None else current.address
        self.born: float | None = None

    @property
    def kind(self) -> str:
        """What it is, for people: the name of its class or function."""
        actor, kind = self.actor, type(self.actor)
        if issubclass(kind, Actor):  # which is not asked: its own __getattr__ may raise anything
            return kind.__qualname__
        return str(getattr(actor, "__qualname__", kind.__qualname__))

    @property
    def is_exiting(self) -> bool:
        """Whether an exit signal has arrived that ends it: what comes now comes too late."""
        # Not isinstance, which would ask an exit's reason for its class: that raises where it is hostile.
        return self.life is DOOMED and type(self.doom) is not ActorExit

    def run(self) -> int:
        """Have one turn on the run queue; returns how many messages that cost, at least 1."""
        raise NotImplementedError

    def finish(self, error: BaseException, reason: object) -> bool:
        """
        Have the last step of an actor that ends by itself.

        :returns: whether it takes longer; ``error`` is raised again when it is done.
        """
        return False

    def release(self, reason: object) -> None:
        """The address is dead and everybody knows: let go of what is held."""
        self.clear()
        self.args = None
        self.abandon()

    def abandon(self) -> None:
        """Cancel what the coroutine awaits, and close it."""
        coroutine, self.coroutine = self.coroutine, None
        awaited, self.awaited = self.awaited, None
        if awaited is not None:
            # Late results are nobody's: neither used nor "unhandled".
            awaited.addErrback(lambda _: None)
            try:
                awaited.cancel()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                _log.failure("cancelling what {address} awaited failed", address=str(self.address))
        if coroutine is not None:
            self._close(coroutine)

    def _close(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
        """Run the ``finally`` blocks of a coroutine that will not go on."""
        complained = False
        for _ in range(STUBBORN):
            try:
                coroutine.close()
            except ActorExit:
                return  # it ends, as it says
            except RuntimeError as error:
                if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                    _log.failure("actor {address} failed while it was closed", address=str(self.address))
                    return
                # Python's own complaint: it awaited again. Whatever that was, nobody will resume it.
                if not complained:
                    complained = True
                    _log.error(
                        "actor {address} has ended and awaits in a finally or except block; "
                        "cleanup that awaits needs trap_exits",
                        address=str(self.address),
                    )
            except BaseException as error:
                if isinstance(error, (SystemExit, KeyboardInterrupt)):
                    raise
                _log.failure("actor {address} failed while it was closed", address=str(self.address))
                return
            else:
                return
        _unclosable.append(coroutine)

    def put(self, message: object, *, signal: bool = False) -> None:
        """
        Put a message into the mailbox, whatever the actor's state; ``address.send`` knows a shorter way.

        :param signal: an exit or a Down, which no bound keeps out.
        """
        dropped = self.insert(message, signal=signal)
        if self.life is WAITING or self.life is LOOKING:
            self.life = RUNNABLE
            self.system.enqueue(self)
        if dropped is not EMPTY:
            self.system.dead_letter(self.address, dropped)
            if type(dropped) is Call and isinstance(dropped.reply, Reply):
                # Who waits for it would wait in vain.
                dropped.reply.settle(Failure(MailboxFull(self.address)))

    def look_again(self) -> None:
        """The time limit of a receive has passed."""
        if self.life is LOOKING:
            self.life = RUNNABLE
            self.system.enqueue(self)

    def end_soon(self, doom: object) -> None:
        """
        End the actor when its current step is over; of several, the first one counts.

        But a signal comes before a stop, which would let ``terminate`` run, and await.

        :param doom: see the attribute.
        """
        life = self.life
        if life is DOOMED and not self.is_exiting and type(doom) is not ActorExit:
            self.doom = doom
        elif life is not DOOMED and life is not DEAD:
            self.doom = doom
            self.life = DOOMED
            if life is WAITING or life is LOOKING or life is AWAITING:
                self.system.enqueue(self)

    def meet_doom(self) -> None:
        """End now."""
        if type(self.doom) is ActorExit:
            self.raised(self.doom)
        else:
            self.system.end(self, self.doom)

    def has_started(self) -> None:
        """Whoever waits for the actor's start may go on; unless an exit signal has come, and it ends now."""
        if self.is_exiting:
            return
        self.args = None
        if self.ties is not None and self.ties.starting is not None:
            starting, self.ties.starting = self.ties.starting, None
            starting()

    def raised(self, error: BaseException) -> None:
        """The actor's code let an exception out: it ends."""
        if self.life is DEAD:  # SystemExit, from its very end
            raise error
        reason, failure = _explain(error)
        last = error
        try:
            if self.finish(error, reason) and not _passes_on(error):
                if self.is_exiting:  # the signal came meanwhile, and what awaits would not hear of it
                    self.system.end(self, self.doom)
                return
        except BaseException as its_own:  # as in OTP, the last failure is the reason
            last = its_own
            reason, failure = _explain(last)
        self.system.end(self, reason, failure, by_itself=True)
        for one in (error, last):
            if _passes_on(one):
                raise one

    def heed(self, wants: object) -> Wants | None:
        """
        Do what the coroutine wants, if that is not the style's own business.

        :param wants: what it yielded.
        :returns: what it wants of its style; None when it awaits a Deferred now.
        :raises StopIteration: it has returned.
        """
        while not isinstance(wants, Wants):
            if isinstance(wants, Deferred):
                self.awaited = wants
                if self.life is RUNNING:  # and is not doomed since
                    self.life = AWAITING
                wants.addBoth(self._fired, wants)
                return None
            assert self.coroutine is not None
            wants = self.coroutine.throw(
                TypeError(f"an actor can await Deferreds and me.receive(), not {wants!r}")
            )
        return wants

    def _fired(self, result: object, deferred: Deferred[Any]) -> object:
        """A Deferred that was awaited has a result, in whatever code that happened."""
        if self.awaited is not deferred:
            return None  # it came too late, and is nobody's
        # The result stays in the Deferred, where the coroutine will find it.
        if self.life is AWAITING:
            self.life = RESUMABLE
            self.system.enqueue(self)
        return result
