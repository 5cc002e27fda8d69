"""A Twisted service as an actor, so that a supervisor can have it for a child."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .actor import Actor
from .calls import after
from .messages import Exit
from .specs import WORKER_SHUTDOWN

__all__ = ["ServiceActor"]

_log = Logger()

_stopping: dict[int, Deferred[None]] = {}
"""Services whose stop is not over yet, by ``id``: some cannot be hashed, and some are equal.
A new start has to wait for that: the port that a listener is about to open again may not be
closed yet."""


class ServiceActor(Actor):
    """
    Runs a service for as long as it lives.

    A service that cannot start is an actor that cannot start. One that does
    not stop in time is given up with its actor: what its ``stopService``
    returned is cancelled. One whose actor is killed is stopped all the same,
    and given up after 5 seconds.
    """

    def __init__(self, service: IService) -> None:
        self.trap_exits = True
        self._service = service
        self._runs = False
        self._over: Deferred[None] | None = None  # fires when its stop is over
        self.address.ended().addCallback(self._has_ended)

    async def started(self) -> None:
        """Start the service, and wait when it says that it takes time."""
        stopping = _stopping.get(id(self._service))
        if stopping is not None:
            await after(stopping)
        self._runs = True
        await maybeDeferred(self._service.startService)

    def receive(self, message: Any) -> None:
        """End when told to."""
        if type(message) is Exit:  # to match would be to ask it, and a dead weakref.proxy raises
            self.exit(message.reason)

    async def terminate(self, reason: object) -> None:
        """Stop the service, and wait for it."""
        if self._runs:
            await self._stop()

    def _stop(self) -> Deferred[Any]:
        self._runs = False
        self._over = _stopping[id(self._service)] = Deferred()

        def is_over(result: Any) -> Any:
            self._has_stopped()
            return result

        return maybeDeferred(self._service.stopService).addBoth(is_over)

    def _has_stopped(self) -> None:
        """The stop is over, or was given up: let who waits to start the service go on."""
        over, self._over = self._over, None
        if over is not None:
            del _stopping[id(self._service)]
            over.callback(None)

    def _has_ended(self, _: object) -> None:
        """The actor has; when it was killed, without a chance to stop the service."""
        if not self._runs:
            self._has_stopped()  # what was cancelled may go on all the same
            return
        stopping = self._stop().addErrback(self._log_failure)
        if self.system.is_stopping:
            return  # nobody will start it again, and no timer is to be left

        def give_up() -> None:
            stopping.cancel()
            self._has_stopped()

        # Nobody else gives it up, and the next start waits for it, and a supervisor for that.
        limit = self.system.timers.schedule(WORKER_SHUTDOWN, give_up)
        stopping.addBoth(lambda _: limit.cancel())

    def _log_failure(self, failure: Failure) -> None:
        _log.failure("service {service} failed to stop", failure, service=str(self._service))
