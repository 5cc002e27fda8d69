"""A Twisted service as an actor, so that a supervisor can have it for a child."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import maybeDeferred

from .actor import Actor
from .messages import Exit

__all__ = ["ServiceActor"]


class ServiceActor(Actor):
    """
    Runs a service for as long as it lives.

    A service that cannot start is an actor that cannot start. One that does
    not stop in time is given up with its actor: what its ``stopService``
    returned is cancelled.
    """

    def __init__(self, service: IService) -> None:
        self._service = service

    @property
    def service(self) -> IService:
        """The service."""
        return self._service

    def started(self) -> Any:
        """Start the service, and wait when it says that it takes time."""
        self.trap_exits = True
        return self._service.startService()

    def receive(self, message: Any) -> None:
        """End when told to."""
        match message:
            case Exit(_, reason):
                self.exit(reason)

    async def terminate(self, reason: object) -> None:
        """Stop the service, and wait for it."""
        await maybeDeferred(self._service.stopService)
