"""
Our own server without one of the steps that a message takes: what is left shows what the step costs.

usage: without.py nothing|match|write|turn|all PORT
"""

import sys
from typing import Any

from twisted.internet import reactor as global_reactor

from echoactor import ActorFactory, ActorSystem, EchoProtocol, Server, ServerOptions


class WithoutMatch(EchoProtocol):
    """``receive`` does not look at what the message is."""

    def receive(self, message: Any) -> None:
        self.transport.write(message)


class WithoutWrite(EchoProtocol):
    """Straight to the socket: no look at TLS, no count, no rest."""

    def connectionMade(self) -> None:
        self.send = self.transport.socket.send

    def receive(self, message: Any) -> None:
        match message:
            case bytes():
                self.send(message)


class WithoutTurn(EchoProtocol):
    """Straight to ``receive``: no look at whose turn it is, no count, and a crash would be the poller's."""

    def dataReceived(self, data: bytes) -> None:
        self.receive(data)


class WithoutAll(WithoutWrite):
    """The poller alone is left."""

    def dataReceived(self, data: bytes) -> None:
        self.send(data)


STEPS = {
    "nothing": EchoProtocol,
    "match": WithoutMatch,
    "write": WithoutWrite,
    "turn": WithoutTurn,
    "all": WithoutAll,
}
reactor: Any = global_reactor
system = ActorSystem(reactor)
factory = ActorFactory(system)
factory.protocol = STEPS[sys.argv[1]]
Server(factory, ServerOptions(port=int(sys.argv[2]), interface="127.0.0.1")).setServiceParent(system)
system.startService()
reactor.run()
