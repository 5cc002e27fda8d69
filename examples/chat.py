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

from echoactor import Actor, ActorFactory, ActorProtocol, ActorSystem, Address, Down

LONGEST_LINE = 4096


@dataclass(frozen=True)
class Join:
    """Somebody has told a name."""

    member: Address
    name: str


@dataclass(frozen=True)
class Say:
    """A member says something."""

    member: Address
    text: str


@dataclass(frozen=True)
class Show:
    """A line to show to one's user."""

    text: str


class Room(Actor):
    """Knows who is here. It watches the members, so that nobody has to say goodbye."""

    def __init__(self) -> None:
        self.names: dict[Address, str] = {}

    def receive(self, message: Any) -> None:
        """Handle one message."""
        match message:
            case Join(member, name):
                self.tell_all(f"{name} is here")
                self.names[member] = name
                self.monitor(member)
            case Say(member, text):
                self.tell_all(f"{self.names[member]}: {text}", but=member)
            case Down(_, member, _):
                self.tell_all(f"{self.names.pop(member)} has left")

    def tell_all(self, text: str, but: Address | None = None) -> None:
        """Show a line to everybody, or to all but one."""
        for member in self.names:
            if member != but:
                member.send(Show(text))


class Member(ActorProtocol):
    """One connection."""

    def __init__(self, room: Address) -> None:
        self.room = room
        self.name = ""
        self.unfinished = b""

    def connectionMade(self) -> None:
        """Greet."""
        self.transport.write(b"What is your name?\n")

    def receive(self, message: Any) -> None:
        """Handle bytes from the peer, and lines from the room."""
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
            self.room.send(Say(self.address, line))
        else:
            self.name = line or "somebody"
            self.room.send(Join(self.address, self.name))


class ChatFactory(ActorFactory):
    """Connections of one room."""

    def __init__(self, system: ActorSystem) -> None:
        super().__init__(system)
        room = system.spawn(Room)
        self.protocol = lambda: Member(room)


def main(reactor: Any, port: str = "8082") -> Deferred[Any]:
    """Serve until interrupted."""
    system = ActorSystem(reactor)
    reactor.addSystemEventTrigger("before", "shutdown", system.stopService)
    listening = serverFromString(reactor, f"tcp:{port}").listen(ChatFactory(system))
    listening.addCallback(lambda port: print(f"listening on {port.getHost().port}", flush=True))
    return listening.addCallback(lambda _: Deferred())


if __name__ == "__main__":
    react(main, sys.argv[1:])
