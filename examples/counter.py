"""
One counter in both styles: a class with a callback, and a coroutine with a loop.

Run it: ``python examples/counter.py``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from echoactor import Actor, ActorSystem, Call, CoroutineActor


@dataclass(frozen=True)
class Add:
    """Adds to the total."""

    amount: int


@dataclass(frozen=True)
class Get:
    """Asks for the total; to be called, not sent."""


class Counter(Actor):
    """Class style, like a GenServer."""

    def __init__(self, total: int = 0) -> None:
        self.total = total

    def receive(self, message: Any) -> None:
        """Handle one message."""
        match message:
            case Add(amount):
                self.total += amount
            case Call(Get(), reply):
                reply(self.total)


async def counter(me: CoroutineActor, total: int = 0) -> None:
    """Coroutine style, like ``spawn(fn -> loop(total) end)``."""
    while True:
        match await me.receive():
            case Add(amount):
                total += amount
            case Call(Get(), reply):
                reply(total)


async def main(reactor: Any) -> None:
    """Count with both."""
    system = ActorSystem(reactor)
    for style in (Counter, counter):
        address = system.spawn(style, 40)
        address.send(Add(1))
        address.send(Add(1))
        print(style.__name__, await address.call(Get()))
    await system.stopService()


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
