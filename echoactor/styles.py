"""How an actor of either style spends its turn: a callback for each message, or a coroutine that goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

from .actor import FIRST, LOOK, NEWS, CoroutineActor, Wants
from .cell import DOOMED, LOOKING, NEW, RUNNABLE, RUNNING, WAITING, Cell
from .mailbox import EMPTY

__all__ = ["SLICE", "CallbackCell", "CoroutineCell"]

SLICE = 100
"""Messages an actor handles before the next actor's turn. Large enough that
switching costs little, small enough that a flooded actor delays nobody by more
than some 50 microseconds."""


class CallbackCell(Cell):
    """An actor in class style."""

    __slots__ = ()

    def run(self) -> int:
        self.system.current = self
        handled = 1
        try:
            arrived = self.arrived
            if self.life is RUNNABLE and arrived is not None and self.backlog is None and len(arrived) == 1:
                # _handle_several, written out for the case that is hot: one message waits.
                self.life = RUNNING
                self.arrived = None
                self.handled += 1
                result = self.actor.receive(arrived[0])
                if result is not None:
                    self.take_result(result)
                if self.arrived is None and self.life is RUNNING:
                    self.life = WAITING  # end_step, written out
                    return 1
            else:
                handled = self._handle_several()
            self.end_step()
        except BaseException as error:
            self.raised(error)
        return handled

    def begin(self) -> None:
        """Take part, after an adoption: with what was sent meanwhile, by those who heard of it at once."""
        if self.arrived is None and self.life is NEW:
            self.life = WAITING
            return
        if self.life is NEW:
            self.life = RUNNABLE
        self.system.enqueue(self)  # one that is doomed ends in its turn

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
        self.handled += 1
        try:
            result = handle(message)
            if result is not None:
                self.take_result(result)
        except BaseException as error:
            self.raised(error)
        else:
            if self.arrived is None and self.life is RUNNING:
                self.life = WAITING  # end_step, written out for the case that is hot
            else:
                self.end_step()
        finally:
            system.current = None
        return True

    def finish(self, error: BaseException, reason: object) -> bool:
        # As in OTP, an actor that could not start is not told. But one that is stopped may have begun things.
        is_stopped = error is self.doom
        if self.is_finishing or isinstance(self.actor, type) or (self.args is not None and not is_stopped):
            return False
        self.is_finishing = True
        self.abandon()  # what it awaits when it is stopped
        finishing = self.actor.terminate(reason)
        if not hasattr(finishing, "__await__"):
            return False
        if not self.is_exiting:
            self.life = RUNNING
        self.take_result(_raise_after(finishing, error))
        return True

    def await_begins(self) -> None:
        """What ``receive`` returned is being awaited, and messages wait."""

    def await_ends(self) -> None:
        """It is done."""

    def _handle_several(self) -> int:
        """Handle what waits, after whatever comes before it."""
        handled = 0
        if self.life is RUNNABLE:
            self.life = RUNNING
        else:
            self._get_ready()
            if self.arrived is None and self.backlog is None:
                return 1
        unread = self.gather()
        if unread is not None:
            receive = self.actor.receive
            while unread and handled < SLICE and self.life is RUNNING:
                message = unread.popleft()
                handled += 1
                self.handled += 1
                result = receive(message)
                if result is not None:
                    self.take_result(result)
            if not unread and self.backlog is unread:
                self.backlog = None
        return handled or 1

    def _get_ready(self) -> None:
        """What comes before the next message: the constructor, or the rest of ``receive``."""
        life = self.life
        if life is DOOMED:
            return
        self.life = RUNNING
        if life is NEW:
            assert self.args is not None
            self.born = self.system.turn_time
            kind, args = self.actor, self.args
            # kind(*args) in two steps, so that self.address and self.spawn work in __init__.
            actor = kind.__new__(kind, *args)
            actor._actor_cell = self
            actor.__init__(*args)
            self.actor = actor
            starting = actor.started()
            if starting is not None:
                self.take_result(starting)
        else:
            self.awaited = None
            self._advance()
            if self.coroutine is None:
                self.await_ends()
        if self.args is not None and self.coroutine is None:
            self.has_started()

    def take_result(self, result: Any) -> None:
        """``receive`` returned something, which may have to be awaited."""
        if hasattr(result, "__await__"):
            steps = result.__await__()
            self.coroutine = steps if hasattr(steps, "send") else _as_generator(steps)
            self._advance()
            if self.coroutine is not None:
                self.await_begins()

    def _advance(self) -> None:
        """Go on with what ``receive`` returned, until it awaits a Deferred or is done."""
        coroutine = self.coroutine
        assert coroutine is not None
        try:
            wants = coroutine.send(None)
            while self.heed(wants) is not None:
                wants = coroutine.throw(TypeError("await me.receive() is for coroutine actors"))
        except StopIteration:
            self.coroutine = None

    def end_step(self) -> None:
        if self.life is DOOMED:
            self.meet_doom()
        elif self.life is RUNNING:
            if self.arrived is None and self.backlog is None:
                self.life = WAITING
            else:
                self.life = RUNNABLE
                self.system.enqueue(self)


def _as_generator(steps: Iterator[Any]) -> Generator[Any, Any, Any]:
    """What an ``__await__`` returns has to be an iterator, and no more (PEP 492)."""
    return (yield from steps)


async def _raise_after(finishing: Awaitable[None], error: BaseException) -> None:
    await finishing
    raise error


class CoroutineCell(Cell):
    """
    An actor in coroutine style.

    :ivar wants: what its coroutine waits for; LOOK when that is nothing but its next step.
    """

    __slots__ = ("wants",)
    wants: Wants

    def run(self) -> int:
        self.system.current = self
        steps = 1
        try:
            arrived = self.arrived
            if (
                self.life is RUNNABLE
                and self.wants is FIRST
                and arrived is not None
                and self.backlog is None
                and len(arrived) == 1
            ):
                # _take_steps, written out for the case that is hot: one message waits, and is all it wants.
                self.life = RUNNING
                self.arrived = None
                self.handled += 1
                wants = self.coroutine.send(arrived[0])  # type: ignore[union-attr]  # it has begun
                if wants is FIRST:
                    if self.arrived is None and self.life is RUNNING:
                        self.life = WAITING  # end_step, written out
                        return 1
                else:
                    self.wants = self.heed(wants) or LOOK
            else:
                steps = self._take_steps()
            self.end_step()
        except StopIteration:
            self._ended()
        except BaseException as error:
            self.raised(error)
        return steps

    def _take_steps(self) -> int:
        """Go on, until a message is wanted that is not there."""
        steps = 0
        if self.life is NEW:
            self._begin()
        elif self.life is not DOOMED:
            self.life = RUNNING
            self.awaited = None
            if self.wants is NEWS:
                self.wants = LOOK  # its turn is the news
        while self.life is RUNNING and steps < SLICE:
            value: object = None
            if self.wants is FIRST:
                value = self.take_first()
                if value is EMPTY:
                    break
                self.handled += 1
            elif self.wants is NEWS and self.arrived is None:
                break
            steps += 1
            wants = self.coroutine.send(value)  # type: ignore[union-attr]  # it has begun
            self.wants = self.heed(wants) or LOOK
        return steps or 1

    def _begin(self) -> None:
        """Its first step."""
        assert self.args is not None
        self.life = RUNNING
        self.born = self.system.turn_time
        me = CoroutineActor()
        me._actor_cell = self
        self.coroutine = self.actor(me, *self.args)
        self.wants = self.heed(self.coroutine.send(None)) or LOOK
        self.has_started()

    def _ended(self) -> None:
        """The coroutine has returned."""
        self.coroutine = None
        if self.args is not None:
            self.has_started()
        if self.life is DOOMED:
            self.meet_doom()
        else:
            self.system.end(self, "normal")

    def end_step(self) -> None:
        if self.life is DOOMED:
            self.meet_doom()
        elif self.life is RUNNING:
            if self.wants is NEWS and self.arrived is None:
                self.life = LOOKING
            elif self.wants is FIRST and self.arrived is None and self.backlog is None:
                self.life = WAITING
            else:
                self.life = RUNNABLE
                self.system.enqueue(self)
