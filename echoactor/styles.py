"""How an actor of either style spends its turn: a callback for each message, or a coroutine that goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .actor import FIRST, LOOK, NEWS, Actor, CoroutineActor
from .address import Address
from .cell import RUNNABLE, RUNNING, WAITING, Cell, Plan
from .mailbox import EMPTY

if TYPE_CHECKING:
    from .system import ActorSystem

__all__ = ["SLICE", "CallbackCell", "CoroutineCell"]

SLICE = 100
"""Messages an actor handles before the next actor's turn. Large enough that
switching costs little, small enough that a flooded actor delays nobody by more
than some 50 microseconds."""


class CallbackCell(Cell):
    """An actor in class style."""

    __slots__ = ("actor",)

    def __init__(
        self,
        system: ActorSystem,
        address: Address,
        plan: Plan | None,
        actor: Actor | None = None,
    ) -> None:
        Cell.__init__(self, system, address, plan)
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
                handled = len(batch) or 1
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

    def await_begins(self) -> None:
        """What ``receive`` returned is being awaited, and messages wait."""

    def await_ends(self) -> None:
        """It is done."""

    def _begin(self) -> bool:
        """What comes before the next message: the constructor, or the rest of ``receive``."""
        if self.coroutine is not None:
            return self._resume()
        assert self.plan is not None
        kind: Any
        kind, args = self.plan
        self.plan = None
        # kind(*args) in two steps, so that self.address and self.spawn work in __init__.
        actor = kind.__new__(kind, *args)
        actor._actor_cell = self
        actor.__init__(*args)
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
        self.await_begins()
        return True

    def _resume(self) -> bool:
        """What was awaited has fired; True when ``receive`` is done."""
        self.awaited = None
        self._advance()
        if self.coroutine is not None:
            return False
        self.await_ends()
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

    __slots__ = ("wants",)

    def __init__(self, system: ActorSystem, address: Address, plan: Plan) -> None:
        Cell.__init__(self, system, address, plan)
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

    def _begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.plan = None
        me = CoroutineActor()
        me._actor_cell = self
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
