"""
A bakery to look at: actors that work, wait, crash and are started again, and the page that shows it.

Run it: ``python examples/observed.py``, or with two other ports, ``python examples/observed.py 8086 9090``.
Then open http://localhost:9090/ in a browser, or ``echoactor-top http://localhost:9090`` in a terminal.
Customers come to port 8086, with ``nc localhost 8086``: the line ``bread`` buys a loaf, and ``cat`` lets a
cat into the ovens, which crash.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner, textFileLogObserver

from echoactor import (
    Actor,
    ActorFactory,
    ActorProtocol,
    ActorSystem,
    Call,
    ChildSpec,
    CoroutineActor,
    Server,
    ServerOptions,
    SupervisorSpec,
)
from echoactor.admin import Observer
from echoactor.errors import CallFailed
from echoactor.server import server_spec

OVENS = 3


class Oven(Actor):
    """Bakes one loaf after the other; while it bakes, orders wait in its mailbox."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def receive(self, message: Any) -> None:
        """Handle one message."""
        match message:
            case Call("bread", reply):
                await deferLater(self.system.reactor, self.seconds)
                reply("a loaf")
            case "cat":
                raise RuntimeError("a cat is in the oven")


async def baker(me: CoroutineActor, seconds: float) -> None:
    """Orders from one oven after the other, whether they keep up or not."""
    me.address.send_interval(seconds, "order")
    oven = 0
    while True:
        await me.receive()
        oven = oven % OVENS + 1
        me.system.send(f"oven {oven}", Call("bread", lambda loaf: None))


class Customer(ActorProtocol):
    """A customer; what it says is handled line by line."""

    unfinished = b""

    async def receive(self, message: Any) -> None:
        """Handle bytes from the peer. Nothing more is read from it until this is done."""
        match message:
            case bytes():
                *lines, self.unfinished = (self.unfinished + message).split(b"\n")
                for line in lines:
                    await self.serve(line.strip())

    async def serve(self, line: bytes) -> None:
        if line == b"bread":
            try:
                loaf = await self.system.call("oven 1", "bread")
            except CallFailed as error:
                loaf = f"sorry: {error}"
            self.transport.write(loaf.encode() + b"\n")
        elif line == b"cat":
            for number in range(OVENS):
                self.system.send(f"oven {number + 1}", "cat")


async def run(reactor: Any, port: int, admin: int) -> None:
    system = ActorSystem(reactor, "bakery")
    factory = ActorFactory(system)
    factory.protocol = Customer
    shop = Server(factory, ServerOptions(port=port, interface="127.0.0.1"))
    ovens = [
        ChildSpec(Oven, 0.06 + 0.05 * number, id=f"oven {number + 1}", name=f"oven {number + 1}")
        for number in range(OVENS)
    ]
    bakers = [ChildSpec(baker, 0.07 + 0.03 * number, id=name) for number, name in enumerate(("Ann", "Bob"))]
    await system.start_child(ChildSpec(SupervisorSpec(ovens, intensity=100), id="kitchen"))
    await system.start_child(ChildSpec(SupervisorSpec(bakers), id="bakers"))
    await system.start_child(ChildSpec(server_spec(shop), id="shop"))
    Observer(system, admin).setServiceParent(system)
    system.startService()
    reactor.addSystemEventTrigger("before", "shutdown", system.stopService)
    await Deferred()  # until Ctrl-C


def main(reactor: Any, port: str = "8086", admin: str = "9090") -> Deferred[None]:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    return ensureDeferred(run(reactor, int(port), int(admin)))


if __name__ == "__main__":
    react(main, sys.argv[1:])
