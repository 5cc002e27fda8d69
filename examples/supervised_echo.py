"""
An echo server that outlives its crashes: connections, and a supervised counter beside them.

Run it: ``python examples/supervised_echo.py 8084``, then ``nc localhost 8084`` in several terminals.
Every line comes back, with its number. The line ``crash`` crashes the connection it came from, and no
other. The line ``reset`` crashes the counter, which is restarted and counts from 1 again.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver

from echoactor import (
    Actor,
    ActorFactory,
    ActorProtocol,
    ActorSystem,
    Call,
    ChildSpec,
    Server,
    ServerOptions,
    SupervisorSpec,
)
from echoactor.errors import CallFailed

LONGEST_LINE = 4096


class Counter(Actor):
    """Counts the lines of all connections. It begins anew after a crash: that is what a restart is for."""

    def __init__(self) -> None:
        self.lines = 0

    def receive(self, message: Any) -> None:
        """Handle one message."""
        match message:
            case Call("next", reply):
                self.lines += 1
                reply(self.lines)
            case "reset":
                raise RuntimeError("the counter was told to crash")


class Echo(ActorProtocol):
    """One connection."""

    unfinished = b""

    async def receive(self, message: Any) -> None:
        """Handle bytes from the peer. Nothing more is read from it until this is done."""
        match message:
            case bytes():
                *lines, self.unfinished = (self.unfinished + message).split(b"\n")
                for line in lines:
                    await self.line(line)
                if len(self.unfinished) > LONGEST_LINE:
                    self.exit("normal")

    async def line(self, line: bytes) -> None:
        """Handle one line."""
        if line == b"crash":
            raise RuntimeError("this connection was told to crash")
        if line == b"reset":
            self.system.send("counter", "reset")
        try:
            number = await self.system.call("counter", "next")
        except CallFailed:  # by name one finds the new counter, once it runs
            number = 0
        self.transport.write(b"%d %s\n" % (number, line))


async def main(reactor: Any, port: str = "8084") -> None:
    """Serve until interrupted."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    system = ActorSystem(reactor)
    reactor.addSystemEventTrigger("before", "shutdown", system.stopService)
    await system.start_child(SupervisorSpec([ChildSpec(Counter, name="counter")], intensity=10))
    factory = ActorFactory(system)
    factory.protocol = Echo
    Server(factory, ServerOptions(port=int(port))).setServiceParent(system)
    system.startService()
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, *arguments: ensureDeferred(main(reactor, *arguments)), sys.argv[1:])
