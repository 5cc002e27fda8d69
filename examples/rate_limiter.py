"""
A rate limiter: a bucket of tokens, and an actor that guards it.

Run it: ``python examples/rate_limiter.py``

Who wants to do something calls the limiter first, and goes on when the reply comes. That is at once
while there are tokens; then with each tick, which brings a new token, one of those who wait goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import react

from echoactor import Actor, ActorSystem, Address, Call


@dataclass(frozen=True)
class Take:
    """Asks for a token; to be called. The reply is the number of ticks so far."""


@dataclass(frozen=True)
class Tick:
    """Time for one more token."""


class RateLimiter(Actor):
    """
    A token bucket.

    :param rate: tokens a second.
    :param burst: how many tokens there may be at a time.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self.burst = burst
        self.tokens = burst
        self.waiting: deque[Callable[[object], None]] = deque()
        self.ticks = 0
        self.address.send_interval(1 / rate, Tick())  # ends with the actor

    def receive(self, message: Any) -> None:
        """Handle one message."""
        match message:
            case Call(Take(), reply):
                self.waiting.append(reply)
            case Tick():
                self.ticks += 1
                self.tokens = min(self.burst, self.tokens + 1)
        while self.tokens and self.waiting:
            self.tokens -= 1
            self.waiting.popleft()(self.ticks)


async def client(limiter: Address, name: str) -> None:
    """Does something three times, no faster than it may."""
    for number in (1, 2, 3):
        ticks = await limiter.call(Take(), timeout=None)
        print(f"{name}: request {number} after {ticks} ticks")


async def main(reactor: Any) -> None:
    """Let two clients share three tokens, and ten more a second."""
    system = ActorSystem(reactor)
    limiter = system.spawn(RateLimiter, 10, 3)
    await gatherResults([ensureDeferred(client(limiter, name)) for name in ("Ann", "Bob")])
    await system.stopService()


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
