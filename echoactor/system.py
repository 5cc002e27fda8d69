"""The actors of one process as a Twisted service, and how it stops."""

from __future__ import annotations

from typing import Any, Protocol, overload

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr

from . import signals
from .address import Address
from .errors import SystemStopped
from .inspection import ActorInfo, SystemInfo, Tree, actor_info, system_info, tree_of
from .runtime import Runtime
from .specs import SupervisorSpec
from .supervisor import Supervisor
from .timers import Timer
from .turns import RunQueue

__all__ = ["ActorSystem", "Resource"]

_log = Logger()

SHUTDOWN_TIME = 5.0
"""Seconds that actors which trap exits have to end when the system stops, as
OTP's default for workers; then they are killed."""


class Resource(Protocol):
    """What has to be gone before a system has stopped: an open connection."""

    def abort(self) -> None:
        """Be gone at once."""


class SocketServer(Protocol):
    """A socket server, for its system and for those who look at it."""

    def drain(self) -> Deferred[None]:
        """Serve what is open on, and nobody else; fires when nothing is open any more."""

    @property
    def state(self) -> str:
        """Whether it listens; see :class:`~echoactor.Server`."""

    @property
    def max_connections(self) -> int:
        """How many connections may be open at once."""


class ActorSystem(Runtime, MultiService):
    """
    The actors of one process, and a Twisted service.

    It works from its construction on: a program that needs no services just
    spawns. As a service it starts and stops the services under it.
    ``stopService`` lets socket servers drain, then stops the services, then
    ends the actors: the tree below the top supervisor first. A stopped system
    stays stopped.

    :param reactor: the reactor, or a ``task.Clock``.
    :param name: what addresses print, and the service's name.
    :param supervisor: the top supervisor, with its children; if left out, it
        has none, and OTP's defaults.
    :param run_queue: chooses the order of turns; for simulations. With one
        given, what the reactor hands to a connection is never delivered at once.
    :ivar is_stopping: its stop has begun, and may be over: clients should go elsewhere.
    :ivar servers: the socket servers that run in it. They drain first when it stops, and not in a
        stop of their own: connections that are served on may need every service and every actor.
    :raises TypeError: ``reactor`` is neither.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        name: str | None = None,
        *,
        supervisor: SupervisorSpec | None = None,
        run_queue: RunQueue | None = None,
    ) -> None:
        if not IReactorTime.providedBy(reactor):
            raise TypeError(f"reactor: {reactor!r} is neither a reactor nor a task.Clock")
        Runtime.__init__(self, reactor, name or "actors", run_queue)
        MultiService.__init__(self)
        if name is not None:
            self.setName(name)
        self._resources: dict[Resource, None] = {}
        self.servers: list[SocketServer] = []
        self._supervisor: Address | None = None
        self._supervisor_spec = supervisor or SupervisorSpec()
        self.is_stopping = False
        self._deadline: Timer | None = None
        self._stopped: list[Deferred[None]] | None = []  # who waits for the end; None after it

    @property
    def supervisor(self) -> Address:
        """
        The top supervisor. It starts when it is first asked for, or with the
        service. When its limit is reached, it ends, and the system stops.
        """
        if self._supervisor is None:
            asking, self.current = self.current, None  # it is nobody's child, whoever asks for it first
            try:
                self._supervisor = self.spawn(Supervisor, self._supervisor_spec)
            finally:
                self.current = asking
            self._supervisor.ended().addCallback(self._supervisor_ended)
        return self._supervisor

    def is_supervised(self) -> bool:
        """Whether the top supervisor lives, or was never asked for."""
        return self._supervisor is None or self.is_alive(self._supervisor)

    def start_child(self, child: Any) -> Deferred[Address | None]:
        """
        Start a child of the top supervisor; see
        :meth:`Supervisor.start_child <echoactor.Supervisor.start_child>`.

        All of them share its limit: with more than one restart in 5 seconds,
        if nothing else was said, the system stops. Children that may crash
        more often belong below a :class:`~echoactor.SupervisorSpec` of their own.

        :raises SystemStopped: the system is stopping or has stopped.
        """
        self._refuse_if_stopped()
        return Supervisor.start_child(self.supervisor, child)

    @overload
    def info(self) -> SystemInfo: ...

    @overload
    def info(self, address: Address) -> ActorInfo | None: ...

    def info(self, address: Address | None = None) -> SystemInfo | ActorInfo | None:
        """
        What there is to know about an actor, or about the system as a whole.

        :returns: None for an actor that is dead.
        """
        if address is None:
            return system_info(self)
        cell = self.find(address)
        return None if cell is None else actor_info(cell)

    def tree(self) -> Tree:
        """All actors, each below its supervisor, else below who spawned it; print it."""
        return tree_of(self)

    def privilegedStartService(self) -> None:
        """Open what needs privileges; see ``IService``."""
        self._refuse_if_stopped()
        super().privilegedStartService()

    def startService(self) -> None:
        """
        Start the services under this one. Starting a started system does nothing.

        :raises SystemStopped: it was stopped; make a new one.
        """
        self._refuse_if_stopped()
        if not self.running:
            if self._supervisor_spec.children:
                self.supervisor  # noqa: B018  # starts it
            try:
                super().startService()
            except BaseException:
                self.running = 0  # so that it can be tried again
                raise

    def stopService(self) -> Deferred[None]:
        """
        Drain socket servers: their connections are served on until they end
        or a time is over. Then stop the services under this one, then the top
        supervisor and its tree, then all other actors: those have the reason
        ``"shutdown"`` and 5 seconds.

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
            stopping: Deferred[Any] = gatherResults([self._drain(server) for server in self.servers])
            # Never fails: a service that fails to stop is logged by Twisted.
            stopping.addCallback(lambda _: super(ActorSystem, self).stopService())
            stopping.addCallback(lambda _: self._end_tree()).addCallback(lambda _: self._end_actors())
        return stopped

    def abort(self) -> None:
        """End everything at once: kill all actors, abort all connections. For those who cannot wait."""
        for cell in self.cells():
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

    def _drain(self, server: SocketServer) -> Deferred[None]:
        return maybeDeferred(server.drain).addCallbacks(lambda _: None, self._log_drain)

    def _log_drain(self, failure: Failure) -> None:
        _log.failure("a drain failed", failure)

    def _refuse_if_stopped(self) -> None:
        if self.is_stopping:
            raise SystemStopped(f"{self.label} was stopped, and stays so; make a new ActorSystem")

    def _end_tree(self) -> Deferred[object] | None:
        if self._supervisor is None:
            return None
        self._supervisor.stop("shutdown").addErrback(lambda _: None)  # which it may do for another reason
        return self._supervisor.ended()

    def _end_actors(self) -> None:
        self.is_closed = True
        for cell in reversed(self.cells()):  # last started, first ended
            signals.send_exit(cell, None, "shutdown", linked=False)
        self._deadline = self.timers.schedule(SHUTDOWN_TIME, self._kill_actors)
        self.wake()

    def _kill_actors(self) -> None:
        for cell in self.cells():
            _log.error("actor {address} did not stop in time and is killed", address=str(cell.address))
            signals.send_exit(cell, None, "kill", linked=False)

    def _supervisor_ended(self, reason: object) -> None:
        if not self.is_stopping:
            _log.critical(
                "the top supervisor of {system} has ended ({reason}), and the system stops",
                system=self.label,
                reason=safe_repr(reason),
            )
            self.stopService()

    def _conclude(self) -> None:
        """Nothing is left: the system has stopped."""
        assert self._deadline is not None
        self._deadline.cancel()
        self._deadline = None
        self.timers.settle()
        waiting, self._stopped = self._stopped, None
        for stopped in waiting or ():
            stopped.callback(None)
