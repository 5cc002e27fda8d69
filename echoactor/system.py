"""The actors of one process as a Twisted service, and how it stops."""

from __future__ import annotations

from typing import Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from . import signals
from .runtime import RunQueue, Runtime
from .timers import Timer

__all__ = ["ActorSystem", "Resource"]

_log = Logger()

SHUTDOWN_TIME = 5.0
"""Seconds that actors which trap exits have to end when the system stops, as
OTP's default for workers; then they are killed."""


class Resource(Protocol):
    """What has to be gone before a system has stopped: an open connection."""

    def abort(self) -> None:
        """Be gone at once."""


class ActorSystem(Runtime, MultiService):
    """
    The actors of one process, and a Twisted service.

    It works from its construction on: a program that needs no services just
    spawns. As a service it starts and stops the services under it (listeners,
    say), and ``stopService`` ends its actors after them. A stopped system
    stays stopped.

    :param reactor: the reactor, or a ``task.Clock``.
    :param name: what addresses print, and the service's name.
    :param run_queue: chooses the order of turns; for simulations. With one
        given, what the reactor hands to a connection is never delivered at once.
    """

    def __init__(
        self, reactor: IReactorTime, name: str | None = None, *, run_queue: RunQueue | None = None
    ) -> None:
        Runtime.__init__(self, reactor, name or "actors", run_queue)
        MultiService.__init__(self)
        if name is not None:
            self.setName(name)
        self._resources: dict[Resource, None] = {}
        self._deadline: Timer | None = None
        self._stopped: list[Deferred[None]] | None = []  # who waits for the end; None after it

    def privilegedStartService(self) -> None:
        """Open what needs privileges; see ``IService``."""
        self.refuse_if_stopping()
        super().privilegedStartService()

    def startService(self) -> None:
        """
        Start the services under this one. Starting a started system does nothing.

        :raises SystemStopped: it was stopped; make a new one.
        """
        self.refuse_if_stopping()
        if not self.running:
            try:
                super().startService()
            except BaseException:
                self.running = 0  # so that it can be tried again
                raise

    def stopService(self) -> Deferred[None]:
        """
        Stop the services under this one, then end all actors with the reason
        ``"shutdown"``, and kill those that are left after 5 seconds.

        :returns: a Deferred that fires when no actor, no timer and no
            connection is left. Stopping twice waits for the same end.
        """
        stopped: Deferred[None] = Deferred()
        if self._stopped is None:
            stopped.callback(None)
            return stopped
        self._stopped.append(stopped)
        if not self.is_stopping:
            self.is_stopping = True
            # Never fails: a service that fails to stop is logged by Twisted.
            super().stopService().addCallback(lambda _: self._end_actors())
        return stopped

    def abort(self) -> None:
        """End everything at once: kill all actors, abort all connections. For those who cannot wait."""
        for cell in list(self._cells.values()):
            signals.send_exit(cell, None, "kill", linked=False)
        for resource in list(self._resources):
            resource.abort()

    def hold(self, resource: Resource) -> None:
        """The system has not stopped before ``resource`` is let go."""
        self._resources[resource] = None

    def let_go(self, resource: Resource) -> None:
        """``resource`` is gone."""
        self._resources.pop(resource, None)
        if self.is_stopping:
            self.wake()  # its turn finds out whether that was the last

    def idle(self) -> None:
        """Nothing is left to do for now; when stopping, perhaps for good."""
        if self._deadline is not None and not self._cells and not self._resources:
            self._conclude()
        super().idle()

    def _end_actors(self) -> None:
        for cell in reversed(list(self._cells.values())):  # last started, first ended
            signals.send_exit(cell, None, "shutdown", linked=False)
        self._deadline = self.timers.schedule(SHUTDOWN_TIME, self._kill_actors)
        self.wake()

    def _kill_actors(self) -> None:
        for cell in list(self._cells.values()):
            _log.error("actor {address} did not stop in time and is killed", address=str(cell.address))
            signals.send_exit(cell, None, "kill", linked=False)

    def _conclude(self) -> None:
        """Nothing is left: the system has stopped."""
        assert self._deadline is not None
        self._deadline.cancel()
        self._deadline = None
        self.timers.settle()
        waiting, self._stopped = self._stopped, None
        for stopped in waiting or ():
            stopped.callback(None)
