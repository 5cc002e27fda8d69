"""A server on a UNIX socket, with names and errors that do their worst to whoever shows them."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver

from echoactor import Actor, ActorSystem, ChildSpec, EchoFactory, Server, ServerOptions, SupervisorSpec
from echoactor.admin import Observer

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n\u202edeliah\udc80"
LONG = "long" * 10_000


class Hostile(Actor):
    def receive(self, message: Any) -> None:
        raise ValueError(f"{MARKUP}{ESCAPES}")


Hostile.__qualname__ = MARKUP


class Escaping(Hostile):
    pass


Escaping.__qualname__ = ESCAPES


async def run(reactor: Any, path: str) -> None:
    system = ActorSystem(reactor, f"</h1>{MARKUP}{ESCAPES}")
    server = Server(EchoFactory(system), ServerOptions(endpoints=(f"unix:{path}",)))
    server.setServiceParent(system)
    children = [ChildSpec(Hostile, id=MARKUP, name=ESCAPES), ChildSpec(Escaping, id=ESCAPES, name=LONG)]
    await system.start_child(ChildSpec(SupervisorSpec(children, intensity=100), id=LONG))
    system.send(ESCAPES, "crash")
    Observer(system, 0).setServiceParent(system)
    system.startService()
    await Deferred()


def main(reactor: Any, path: str) -> Deferred[None]:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    return ensureDeferred(run(reactor, path))


if __name__ == "__main__":
    react(main, sys.argv[1:])
