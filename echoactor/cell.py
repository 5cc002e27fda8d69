"""The runtime's side of one actor: its life, and what one turn on the run queue does with it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .actor import FIRST, LOOK, NEWS, Actor, CoroutineActor, Wants
from .address import Address
from .errors import ActorExit
from .mailbox import EMPTY, Mailbox
from .messages import Crash

if TYPE_CHECKING:
    from .signals import Ties
    from .system import ActorSystem

__all__ = ["CallbackCell", "Cell", "CoroutineCell", "Life"]

_log = Logger()

SLICE = 100
"""Messages an actor handles before the next actor's turn. Large enough that
switching costs little, small enough that a flooded actor delays nobody by more
than some 50 microseconds."""

STUBBORN = 100
"""How often GeneratorExit is thrown at a coroutine that catches everything."""

_unclosable: list[Any] = []
"""Coroutines that cannot be closed. Freeing one would make Python try again and complain on stderr."""


class Life(Enum):
    """Where an actor is between its first step and its last."""

    RUNNABLE = "runnable"  # in the run queue
    RUNNING = "running"  # current: its code runs now
    WAITING = "waiting"  # for a message
    AWAITING = "awaiting"  # a Deferred; messages wait
    DEAD = "dead"


RUNNABLE, RUNNING, WAITING, AWAITING, DEAD = Life


def _explain(error: BaseException) -> tuple[object, Failure | None]:
    """The exit reason an exception stands for, and what to log."""
    if isinstance(error, ActorExit):
        return error.reason, None
    failure = Failure(error)
    return Crash.of(failure), failure


class Cell(Mailbox):
    """
    One actor as the runtime sees it: a mailbox, and a life.

    :ivar doom: an exit signal that will end the actor when its current step
        is over, as a tuple of one reason; the first one counts.
    :ivar ties: links and monitors; None until there is one.
    :ivar coroutine: the actor's own (coroutine style), or the one that
        ``receive`` returned and that is not done (callback style).
    """

    __slots__ = ("address", "awaited", "coroutine", "doom", "life", "system", "ties", "traps_exits")

    def __init__(self, system: ActorSystem, address: Address) -> None:
        self.arrived = None
        self.backlog = None
        self.system = system
        self.address = address
        self.life = RUNNABLE
        self.doom: tuple[object] | None = None
        self.ties: Ties | None = None
        self.traps_exits = False
        self.coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any] | None = None
        self.awaited: Deferred[Any] | None = None

    def run(self) -> int:
        """Have one turn on the run queue; returns how many messages (at least 1) it cost."""
        raise NotImplementedError

    def finish(self, reason: object) -> None:
        """Have the last step of an actor that ends by itself."""

    def release(self, reason: object) -> None:
        """The address is dead and everybody knows: let go of what is held."""
        self.clear()
        coroutine, self.coroutine = self.coroutine, None
        awaited, self.awaited = self.awaited, None
        if awaited is not None:
            # Late results are nobody's: neither used nor "unhandled".
            awaited.addErrback(lambda _: None)
            try:
                awaited.cancel()
            except Exception:
                _log.failure("cancelling what {address} awaited failed", address=str(self.address))
        if coroutine is not None:
            self._close(coroutine)

    def _close(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
        """Run the ``finally`` blocks of a coroutine that will not go on."""
        complained = False
        for _ in range(STUBBORN):
            try:
                coroutine.close()
            except RuntimeError:
                # It awaited again. Whatever that was, nobody will resume it.
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

    def make_runnable(self) -> None:
        """Put the actor into the run queue, unless it is there, runs, or is dead."""
        if self.life is WAITING or self.life is AWAITING:
            self.life = RUNNABLE
            self.system.enqueue(self)

    def raised(self, error: BaseException) -> None:
        """The actor's code let an exception out: it ends."""
        reason, failure = _explain(error)
        try:
            self.finish(reason)
        except BaseException as last:  # as in OTP, the last failure is the reason
            error = last
            reason, failure = _explain(last)
        self.system.end(self, reason, failure, by_itself=True)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error

    def advance(self, value: object = None, error: Exception | None = None) -> Wants | None:
        """
        Go on with the coroutine until it wants something.

        :param value: what it gets for what it wanted.
        :param error: what is raised in it instead.
        :returns: None when it awaits a Deferred now, or has ended (``coroutine`` is None then).
        """
        coroutine = self.coroutine
        assert coroutine is not None
        while True:
            try:
                wants = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration:
                self.coroutine = None
                return None
            if isinstance(wants, Wants):
                return wants
            if isinstance(wants, Deferred):
                self.awaited = wants
                self.life = AWAITING
                wants.addBoth(self._fired)
                return None
            error = TypeError(f"an actor can await Deferreds and me.receive(), not {wants!r}")

    def _fired(self, result: object) -> object:
        """A Deferred that was awaited has a result, in whatever code that happened."""
        if self.awaited is None:
            return None
        # The result stays in the Deferred, where the coroutine will find it.
        self.make_runnable()
        return result


class CallbackCell(Cell):
    """An actor in class style."""

    __slots__ = ("actor", "plan")

    def __init__(
        self,
        system: ActorSystem,
        address: Address,
        plan: tuple[type[Actor], tuple[Any, ...]] | None,
        actor: Actor | None = None,
    ) -> None:
        Cell.__init__(self, system, address)
        self.plan = plan
        self.actor = actor

    def run(self) -> int:
        self.system.current = self
        if self.doom is not None:
            self.system.end(self, self.doom[0])
            return 1
        self.life = RUNNING
        handled = 1
        try:
            if (self.plan is None and self.coroutine is None) or self._begin():
                batch = self.take_batch(SLICE)
                handled = len(batch)
                unread = iter(batch)
                receive = self.actor.receive  # type: ignore[union-attr]  # it has begun
                for message in unread:
                    result = receive(message)
                    if (result is not None and self._await(result)) or self.doom is not None:
                        self.put_back(unread)
                        break
        except BaseException as error:
            self.raised(error)
            return handled
        if self.arrived is None and self.life is RUNNING and self.doom is None and self.backlog is None:
            self.life = WAITING  # _end_step, written out for the case that is hot
        else:
            self._end_step()
        return handled

    def handle_now(self, handle: Callable[[Any], Any], message: object) -> bool:
        """
        Let ``handle(message)`` be a step of this actor, within this call.

        What the reactor hands over takes this way past the run queue, when
        nothing is ahead of it: no actor is current, no message and no exit
        signal waits, and the actor awaits nothing.

        :returns: False when something is ahead, and nothing was done.
        """
        system = self.system
        if self.life is not WAITING or system.current is not None or not system.delivers_at_once:
            return False
        system.current = self
        self.life = RUNNING
        try:
            result = handle(message)
            if result is not None:
                self._await(result)
        except BaseException as error:
            self.raised(error)
        else:
            if self.arrived is None and self.doom is None and self.life is RUNNING:
                self.life = WAITING  # _end_step, written out for the case that is hot
            else:
                self._end_step()
        finally:
            system.current = None
        return True

    def finish(self, reason: object) -> None:
        if self.actor is not None:
            self.actor.terminate(reason)

    def release(self, reason: object) -> None:
        Cell.release(self, reason)
        self.plan = None
        if self.actor is not None:
            self.actor._ended(reason)

    def _begin(self) -> bool:
        """What comes before the next message: the constructor, or the rest of ``receive``."""
        if self.coroutine is not None:
            return self._resume()
        assert self.plan is not None
        kind, args = self.plan
        self.plan = None
        # kind(*args) in two steps, so that self.address and self.spawn work in __init__.
        actor = kind.__new__(kind, *args)
        actor._cell = self
        actor.__init__(*args)  # type: ignore[misc]
        self.actor = actor
        return self.doom is None

    def _await(self, result: Any) -> bool:
        """``receive`` returned something; True if it has to be awaited."""
        if not hasattr(result, "__await__"):
            return False
        self.coroutine = result.__await__()
        self._advance()
        if self.coroutine is None:
            return False
        self.actor._awaits()  # type: ignore[union-attr]
        return True

    def _resume(self) -> bool:
        """What was awaited has fired; True when ``receive`` is done."""
        self.awaited = None
        self._advance()
        if self.coroutine is not None:
            return False
        self.actor._awaited()  # type: ignore[union-attr]
        return self.doom is None

    def _advance(self) -> None:
        wants = self.advance()
        while wants is not None:
            wants = self.advance(error=TypeError("await me.receive() is for coroutine actors"))

    def _end_step(self) -> None:
        if self.doom is not None:
            self.system.end(self, self.doom[0])
        elif self.life is RUNNING:
            if self.arrived is None and self.backlog is None:
                self.life = WAITING
            else:
                self.life = RUNNABLE
                self.system.enqueue(self)


class CoroutineCell(Cell):
    """An actor in coroutine style."""

    __slots__ = ("plan", "wants")

    def __init__(
        self, system: ActorSystem, address: Address, plan: tuple[Callable[..., Any], tuple[Any, ...]]
    ) -> None:
        Cell.__init__(self, system, address)
        self.plan: tuple[Callable[..., Any], tuple[Any, ...]] | None = plan
        self.wants = LOOK

    def run(self) -> int:
        self.system.current = self
        if self.doom is not None:
            self.system.end(self, self.doom[0])
            return 1
        self.life = RUNNING
        self.awaited = None
        handled = 0
        try:
            if self.plan is not None:
                self._begin(*self.plan)
            value: object = None
            while handled < SLICE and self.doom is None:
                if self.wants is FIRST:
                    value = self.take_first()
                    if value is EMPTY:
                        break
                handled += 1
                wants = self.advance(value)
                value = None
                if wants is None:
                    self.wants = LOOK
                    break
                self.wants = wants
                if wants is NEWS:
                    break
        except BaseException as error:
            self.raised(error)
        else:
            self._end_step()
        return handled or 1

    def release(self, reason: object) -> None:
        self.plan = None
        Cell.release(self, reason)

    def _begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.plan = None
        me = CoroutineActor()
        me._cell = self
        self.coroutine = function(me, *args)

    def _end_step(self) -> None:
        if self.doom is not None:
            self.system.end(self, self.doom[0])
        elif self.coroutine is None:
            self.system.end(self, "normal")
        elif self.life is RUNNING:
            # For one that wants news, what is in the backlog is none.
            old = self.wants is NEWS or (self.wants is FIRST and self.backlog is None)
            if old and self.arrived is None:
                self.life = WAITING
            else:
                self.life = RUNNABLE
                self.system.enqueue(self)
