"""The runtime's side of one actor: its mailbox, its life, what it awaits, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .actor import Wants
from .address import Address
from .errors import ActorExit
from .mailbox import Mailbox
from .messages import Crash

if TYPE_CHECKING:
    from .signals import Ties
    from .system import ActorSystem

__all__ = ["DEAD", "RUNNABLE", "RUNNING", "WAITING", "Cell", "Life", "Plan"]

_log = Logger()

STUBBORN = 100
"""How often GeneratorExit is thrown at a coroutine that catches everything."""

_unclosable: list[Any] = []
"""Coroutines that cannot be closed. Freeing one would make Python try again and complain on stderr."""


Plan = tuple[Callable[..., Any], tuple[Any, ...]]
"""What was given to spawn: an Actor class or a coroutine function, and its arguments."""


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

    :ivar plan: what its first step makes or calls; None after it.
    :ivar doom: an exit signal that will end the actor when its current step
        is over, as a tuple of one reason; the first one counts.
    :ivar ties: links and monitors; None until there is one.
    :ivar coroutine: the actor's own (coroutine style), or the one that
        ``receive`` returned and that is not done (callback style).
    """

    __slots__ = ("address", "awaited", "coroutine", "doom", "life", "plan", "system", "ties", "traps_exits")

    def __init__(self, system: ActorSystem, address: Address, plan: Plan | None) -> None:
        self.arrived = None
        self.backlog = None
        self.plan = plan
        self.system = system
        self.address = address
        self.life = RUNNABLE
        self.doom: tuple[object] | None = None
        self.ties: Ties | None = None
        self.traps_exits = False
        self.coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any] | None = None
        self.awaited: Deferred[Any] | None = None

    def run(self) -> int:
        """Have one turn on the run queue; returns how many messages that cost, at least 1."""
        raise NotImplementedError

    def finish(self, reason: object) -> None:
        """Have the last step of an actor that ends by itself."""

    def release(self, reason: object) -> None:
        """The address is dead and everybody knows: let go of what is held."""
        self.clear()
        self.plan = None
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
