"""
A chat room: connections are actors that send to each other.

Run it: ``python examples/chat.py 8082``, then ``nc localhost 8082`` in several terminals.
The first line is your name, every other line goes to all the others.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from echoactor import ActorFactory, ActorProtocol, ActorSystem, Groups

LONGEST_LINE = 4096


@dataclass(frozen=True)
class Show:
    """A line to show to one's user."""

    text: str


class Member(ActorProtocol):
    """One connection. All that have told a name are a group, which whoever ends leaves by itself."""

    def __init__(self, room: Groups) -> None:
        self.room = room
        self.name = ""
        self.unfinished = b""

    def connectionMade(self) -> None:
        """Greet."""
        self.transport.write(b"What is your name?\n")

    def receive(self, message: Any) -> None:
        """Handle bytes from the peer, and lines from the others."""
        match message:
            case bytes():
                *lines, self.unfinished = (self.unfinished + message).split(b"\n")
                for line in lines:
                    self.line(line.decode(errors="replace").strip())
                if len(self.unfinished) > LONGEST_LINE:
                    self.exit("normal")
            case Show(text):
                self.transport.write(text.encode() + b"\n")

    def line(self, line: str) -> None:
        """Handle one line of the user's."""
        if self.name:
            self.tell_others(f"{self.name}: {line}")
        else:
            self.name = line or "somebody"
            self.room.join("members", self.address)
            self.tell_others(f"{self.name} is here")

    def terminate(self, reason: object) -> None:
        """Say goodbye; also after a crash."""
        if self.name:
            self.tell_others(f"{self.name} has left")

    def tell_others(self, text: str) -> None:
        """Show a line to everybody else."""
        self.room.send("members", Show(text), but=self.address)


def main(reactor: Any, port: str = "8082") -> Deferred[Any]:
    """Serve until interrupted."""
    system = ActorSystem(reactor)
    room = Groups(system)
    factory = ActorFactory(system)
    factory.protocol = lambda: Member(room)
    reactor.addSystemEventTrigger("before", "shutdown", system.stopService)
    listening = serverFromString(reactor, f"tcp:{port}").listen(factory)
    listening.addCallback(lambda port: print(f"listening on {port.getHost().port}", flush=True))
    return listening.addCallback(lambda _: Deferred())


if __name__ == "__main__":
    react(main, sys.argv[1:])
