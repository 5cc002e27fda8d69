"""What several test modules need."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoactor import Actor, ActorSystem, Address, Call


class StepClock(Clock):
    """A Clock that runs one due call at a time, for actors that never come to rest."""

    def step(self) -> None:
        """Run the first due call."""
        call = self.calls.pop(0)
        assert call.getTime() <= self.seconds(), "nothing is due"
        call.called = 1
        call.func(*call.args, **call.kw)


class ActorTestCase(SynchronousTestCase):
    """A test with a system on a Clock: no real time passes."""

    def setUp(self) -> None:
        self.clock = StepClock()
        self.system = ActorSystem(self.clock, "test")

    def settle(self) -> None:
        """Run turns until nothing is due; fails when that never happens."""
        for _ in range(1000):
            self.clock._sortCalls()
            if not self.clock.calls or self.clock.calls[0].getTime() > self.clock.seconds():
                return
            self.clock.step()
        self.fail("the actors do not come to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, then settle."""
        self.clock.advance(seconds)
        self.settle()

    def spawn(self, function: Any, *args: Any) -> Address:
        """Spawn an actor and let it take its first steps."""
        address = self.system.spawn(function, *args)
        self.settle()
        return address

    def ask(self, address: Address, request: object) -> Any:
        """Call an actor and return the reply."""
        reply: Deferred[Any] = address.call(request)
        self.settle()
        return self.successResultOf(reply)

    def recorder(self) -> tuple[Address, list[Any]]:
        """An actor that keeps what it receives, and the list it keeps it in."""
        received: list[Any] = []
        return self.spawn(Recorder, received), received


class Recorder(Actor):
    """Keeps what it receives."""

    def __init__(self, received: list[Any], traps: bool = False) -> None:
        self.received = received
        self.trap_exits = traps

    def receive(self, message: Any) -> None:
        self.received.append(message)


class Adder(Actor):
    """A counter in class style."""

    def __init__(self, total: int = 0) -> None:
        self.total = total

    def receive(self, message: Any) -> None:
        match message:
            case int(amount):
                self.total += amount
            case Call("total", reply):
                reply(self.total)
            case BaseException() as error:
                raise error


async def adder(me: Any, total: int = 0) -> None:
    """A counter in coroutine style."""
    while True:
        match await me.receive():
            case int(amount):
                total += amount
            case Call("total", reply):
                reply(total)
            case BaseException() as error:
                raise error
