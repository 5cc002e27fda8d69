"""
The article's program in Elixir's style: spawn, send and receive by hand.

In Elixir::

    greeter = spawn(fn -> greet() end)
    send(greeter, {:greet, self(), "world"})
    receive do
      {:greeting, text} -> IO.puts(text)
    after
      1000 -> IO.puts("nobody answers")
    end

Run it: ``python examples/article.py``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from echoactor import ActorSystem, Address, CoroutineActor, Timeout


@dataclass(frozen=True)
class Greet:
    """Asks for a greeting, to be sent to ``sender``."""

    sender: Address
    name: str


@dataclass(frozen=True)
class Greeting:
    """The answer."""

    text: str


async def greeter(me: CoroutineActor) -> None:
    """Answers every Greet, for ever."""
    while True:
        match await me.receive():
            case Greet(sender, name):
                sender.send(Greeting(f"Hello, {name}!"))


async def program(me: CoroutineActor, done: Deferred[None]) -> None:
    """What the article types into iex."""
    address = me.spawn(greeter)
    address.send(Greet(me.address, "world"))
    match await me.receive(Greeting, timeout=1.0):
        case Greeting(text):
            print(text)
        case Timeout():
            print("nobody answers")

    # A process that is not there: the message goes nowhere, and the program goes on.
    address.exit("kill")
    address.send(Greet(me.address, "anybody"))
    match await me.receive(Greeting, timeout=0.1):
        case Greeting(text):
            print(text)
        case Timeout():
            print("nobody answers")
    done.callback(None)


def main(reactor: Any) -> Deferred[None]:
    """Run the program, then stop."""
    system = ActorSystem(reactor)
    done: Deferred[None] = Deferred()
    system.spawn(program, done)
    return done.addCallback(lambda _: system.stopService())


if __name__ == "__main__":
    react(main)
