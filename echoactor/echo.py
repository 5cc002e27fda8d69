"""The article's echo server: a process for each connection, that sends back what it receives."""

from typing import Any

from .protocol import ActorFactory, ActorProtocol

__all__ = ["EchoFactory", "EchoProtocol"]


class EchoProtocol(ActorProtocol):
    """One connection: whatever bytes come, go back (RFC 862)."""

    def receive(self, message: Any) -> None:
        match message:
            case bytes():
                self.transport.write(message)


class EchoFactory(ActorFactory):
    """One echo actor for each connection."""

    protocol = EchoProtocol
